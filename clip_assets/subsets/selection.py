"""Choosing rows by a definition: candidates, methods, and passes over the rows.

A definition becomes a judge, which decides on the rows of one piece at a time. Methods are modules
of ``subsets.methods``; what they choose is written by ``subset_files``.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.pool import takedowns
from clip_assets.settings.bases import ScoreSettings, SubsetSettings
from clip_assets.settings.choices import Chosen
from clip_assets.subsets import models_of_scores
from clip_assets.subsets.candidates import Candidates
from clip_assets.subsets.judgement import Judgement, Mask, passing, within

if TYPE_CHECKING:
    from clip_assets.storage.sql import Database

Decide = Callable[[str, pa.Table], Judgement]
"""What is said of the rows of a piece: from its name and a table with the columns asked for."""

Kind = TypeVar("Kind", bound=SubsetSettings)

Floats = npt.NDArray[np.floating]

UID = "uid"

HAD = "success"


@dataclass(frozen=True, slots=True)
class Judge:
    """What a definition became.

    Args:
        columns: that it reads.
        decide: on a piece's rows; asked again of the same piece it says the same.
    """

    columns: frozenset[str]
    decide: Decide


@dataclass(frozen=True, slots=True)
class Score:
    """A number for each row, the greater the better.

    Args:
        name: for people.
        columns: that it is made from.
        of: from a piece's name and its table to (n,) floats, nan where a row has none.
        told: what else is to be said once the least score is known that is kept.
        models: the names of the model that made it; none where that is not known.
    """

    name: str
    columns: frozenset[str]
    of: Callable[[str, pa.Table], Floats]
    told: "Callable[[float], Account] | None" = None
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Method(Generic[Kind]):
    """One way of choosing.

    Args:
        settings: the definitions that it is for.
        judge: from a selection, a definition and the judge of its candidates; it may look at all
            rows to find what it needs, with ``Selection.tables``.
        score: likewise, by which it chooses; None for a method that has none.
    """

    settings: type[Kind]
    judge: "Callable[[Selection, Kind, Judge], Judge]"
    score: "Callable[[Selection, Kind, Judge], Score] | None" = None


@dataclass
class Selection:
    """One choice of rows, while it is made.

    Args:
        rows: what is chosen from.
        named: definitions that others may name.
        methods: by the class of definitions that each is for.
        folder: for what does not fit into memory; it goes with the selection.
        database: of methods that ask in SQL; opened when it is first asked for.

    Attributes:
        told: what methods say when all rows were seen: figures, and pictures by title.
        reads_captions: whether a method chooses by what the pool's model makes of captions.
    """

    rows: Candidates
    named: Mapping[str, SubsetSettings]
    methods: Mapping[type[SubsetSettings], Method[Any]]
    folder: Path
    database: "Callable[[], Database]"
    progress: Callable[[int, int, str], None] = lambda _done, _total, _unit: None
    told: list[Callable[[], "Account"]] = field(default_factory=list["Callable[[], Account]"])
    reads_captions: bool = False
    _judges: dict[str, Judge] = field(default_factory=dict[str, Judge])

    def judge(self, chosen: Chosen) -> Judge:
        """The judge of a definition, or of a name; the same one for the same name."""
        if isinstance(chosen, str):
            if chosen not in self._judges:
                self._judges[chosen] = self.judge(self.named[chosen])
            return self._judges[chosen]
        candidates = self._candidates(chosen)
        method = self.methods[type(chosen)].judge(self, chosen, candidates)

        def decide(piece: str, table: pa.Table) -> Judgement:
            return within(candidates.decide(piece, table), method.decide(piece, table))

        return _once(Judge(candidates.columns | method.columns, decide))

    def score(self, settings: ScoreSettings, candidates: Judge) -> Score:
        """The score of a definition, without its bound.

        Raises:
            ModelMismatchError: it is known to be by another model than the one that is wanted.
        """
        score = self.methods[type(settings)].score
        assert score is not None, f"{type(settings).__name__} has a bound, so it has a score"
        made = score(self, settings, candidates)
        models = made.models or models_of_scores.of_settings(self.rows, settings)
        models_of_scores.check(made.name, models, settings.model)
        return made

    def new_folder(self) -> Path:
        """An empty folder of a method's own: the same method may stand in a definition twice."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def tables(self, columns: Iterable[str]) -> Iterator[tuple[str, pa.Table]]:
        """Every piece with some of its columns; with its uids if none is asked for.

        The next one is read while one is looked at, so two are in memory.
        """
        asked = sorted(columns) or [UID]
        pieces = self.rows.pieces
        with ThreadPoolExecutor(1, "clip-assets-rows") as reader:
            reading = [reader.submit(self.rows.read, piece, asked) for piece in pieces[:1]]
            for number, piece in enumerate(pieces):
                table = reading.pop().result()
                if number + 1 < len(pieces):
                    reading.append(reader.submit(self.rows.read, pieces[number + 1], asked))
                yield piece, table
                self.progress(number + 1, len(pieces), "partitions")

    def _candidates(self, definition: SubsetSettings) -> Judge:
        """What a method may choose from."""
        above = self.judge(definition.of) if definition.of is not None else None
        columns = above.columns if above else frozenset[str]()
        gone = self.rows.taken_down
        asks_image = definition.with_image and self.rows.has_outcomes
        asks_free = definition.leave_out_opt_outs and self.rows.has_outcomes
        columns |= {"status"} if asks_image else set()
        columns |= {"opt_outs"} if asks_free else set()
        columns |= {UID} if len(gone) else set()
        columns |= {"url"} if len(gone.urls) else set()

        def decide(piece: str, table: pa.Table) -> Judgement:
            rules: dict[str, Mask] = {}
            if len(gone):
                urls = table["url"] if len(gone.urls) else None
                rules[takedowns.REASON] = ~gone.mask(_texts(table[UID]), urls)
            if asks_image:
                rules["no_image"] = _had(table["status"])
            if asks_free:
                rules["opt_out"] = _is_free(table["opt_outs"])
            own = passing(len(table), rules)
            return within(above.decide(piece, table), own) if above else own

        return _once(Judge(columns, decide))


@dataclass(frozen=True, slots=True)
class Account:
    """What a method says of how it chose: for people.

    Args:
        facts: json values by name.
        pictures: what draws a PNG, by its title.
        groups: rows of ``schemas.SUBSET_GROUPS``, where it finds what is alike.
    """

    facts: Mapping[str, Any]
    pictures: Mapping[str, Callable[[], bytes]] = field(
        default_factory=dict[str, Callable[[], bytes]]
    )
    groups: Callable[[], Iterator[pa.RecordBatch]] | None = None


def _had(status: pa.ChunkedArray) -> Mask:
    # What a folder of metadata is chosen by needs it not, and it takes a while to load.
    import pyarrow.compute as pc

    return np.asarray(pc.is_in(status, pa.array([HAD])), dtype=bool)


def _is_free(opt_outs: pa.ChunkedArray) -> Mask:
    import pyarrow.compute as pc

    # Null where nothing was heard, which is nan here.
    return ~(np.asarray(pc.list_value_length(opt_outs), dtype=np.float64) > 0)


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def _once(judge: Judge) -> Judge:
    """A judge that is asked once for each table, by however many others."""
    last: list[tuple[pa.Table, Judgement]] = []

    def decide(piece: str, table: pa.Table) -> Judgement:
        if not last or last[0][0] is not table:
            last[:] = [(table, judge.decide(piece, table))]
        return last[0][1]

    return Judge(judge.columns, decide)
