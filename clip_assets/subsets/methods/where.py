"""Rows for which a condition is true."""

import pyarrow as pa

from clip_assets.settings.choices import Where
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.selection import Judge, Method, Selection

SECONDS = 600.0
"""Of one piece, which may have a million rows and wait for other work of the machine."""


def judge(selection: Selection, settings: Where, _candidates: Judge) -> Judge:
    """The condition, parsed once.

    Raises:
        ConfigurationError: it is none, see ``Condition.parse``.
    """
    # It loads DuckDB, which other methods are done without.
    from clip_assets.storage.condition import Condition

    condition = Condition.parse(settings.where, selection.rows.schema)

    def decide(_piece: str, table: pa.Table) -> Judgement:
        return passing(len(table), {"where": condition.mask(table, SECONDS)})

    return Judge(frozenset(condition.columns), decide)


METHOD = Method(Where, judge)
