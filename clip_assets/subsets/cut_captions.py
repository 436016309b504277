"""How many of the captions that a subset was chosen by the model reads the beginning of alone.

A text tower reads so many tokens; scores and vectors of longer captions are of their beginnings.
Whether a caption is cut is found out when it is embedded.
"""

import pyarrow as pa

from clip_assets.subsets.judgement import Mask, as_arrow
from clip_assets.subsets.selection import Account, Selection

COLUMN = "is_caption_cut"


class CutCaptions:
    """Counts pairs whose captions are cut, for people.

    Args:
        selection: whose judges were made; rows without the column, or methods that read no
            captions by the pool's model, are not counted.
    """

    def __init__(self, selection: Selection) -> None:
        is_asked = selection.reads_captions and COLUMN in selection.rows.schema.names
        self.columns = frozenset([COLUMN] if is_asked else [])
        self._counts = {"listed": 0, "not_listed": 0, "listed_not_known": 0}

    def add(self, table: pa.Table, kept: Mask) -> None:
        """Count the rows of a piece; those that were not embedded are not known."""
        if not self.columns:
            return
        import pyarrow.compute as pc

        cut, is_kept = table[COLUMN], as_arrow(kept)
        total, listed = (int(pc.sum(one).as_py() or 0) for one in (cut, cut.filter(is_kept)))
        self._counts["listed"] += listed
        self._counts["not_listed"] += total - listed
        self._counts["listed_not_known"] += cut.filter(is_kept).null_count

    def told(self) -> Account:
        """The counts; nothing where none was asked for."""
        return Account({"captions cut": self._counts} if self.columns else {})
