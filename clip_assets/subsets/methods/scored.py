"""Rows by scores that somebody published in a parquet by uid."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets.errors import SchemaError, SourceFormatError
from clip_assets.files import opening
from clip_assets.settings.choices import Scored
from clip_assets.storage import uids
from clip_assets.subsets.cuts import by_score
from clip_assets.subsets.matched_rows import MatchedRows
from clip_assets.subsets.methods.ranked import is_number, values
from clip_assets.subsets.models_of_scores import Models, in_file
from clip_assets.subsets.selection import UID, Floats, Judge, Score, Selection
from clip_assets.subsets.sorted_uids import SortedUids, stored
from clip_assets.subsets.sorting import Sorter

RECORD = np.dtype([("f0", "<u8"), ("f1", "<u8"), ("score", "<f8")])


def score(selection: Selection, settings: Scored, _candidates: Judge) -> Score:
    """The published score of each uid; of several the first one counts.

    Raises:
        SourceFormatError: the file is no parquet, or lacks a column.
        SourceError: it cannot be read.
    """
    listed, models = _read(selection, settings)
    matches = MatchedRows(selection, listed, [UID], lambda table: uids.pairs(table[UID]), "score")

    def of(piece: str, table: pa.Table) -> Floats:
        scores = np.full(len(table), np.nan)
        hits = matches.of(piece)[::-1]  # so that the first one is put in last
        scores[hits["row"]] = hits["value"]
        return scores

    selection.told.append(lambda: matches.told(settings.scores))
    return Score(settings.column, frozenset([UID]), of, models=models)


def _read(selection: Selection, settings: Scored) -> tuple[SortedUids, Models]:
    sorter = Sorter(selection.folder, RECORD)
    try:
        with opening.opened(settings.scores) as file:
            stored_file = pq.ParquetFile(file)
            _check(settings, stored_file.schema_arrow)
            models = in_file(stored_file.schema_arrow.metadata, settings.column)
            for batch in stored_file.iter_batches(columns=[UID, settings.column]):
                table = pa.Table.from_batches([batch])
                pairs = uids.pairs(table[UID].cast(pa.string()))
                records = np.empty(len(pairs), RECORD)
                records["f0"], records["f1"] = pairs["f0"], pairs["f1"]
                records["score"] = values(table[settings.column])
                sorter.add(records)
    except (pa.ArrowInvalid, SchemaError) as error:
        raise _unfit(settings, str(error).partition("\n")[0]) from error
    return stored(sorter, selection.folder, RECORD), models


def _check(settings: Scored, schema: pa.Schema) -> None:
    names = schema.names
    if UID not in names or settings.column not in names:
        raise _unfit(settings, f"columns {', '.join(names)}")
    if not is_number(schema.field(settings.column).type):
        raise _unfit(settings, f"{settings.column} of {schema.field(settings.column).type}")


def _unfit(settings: Scored, found: str) -> SourceFormatError:
    return SourceFormatError(
        settings.scores,
        found,
        f"a parquet with {UID} of {uids.DIGITS} hex digits and numbers in {settings.column}",
        "Name its column of scores by column.",
    )


METHOD = by_score(Scored, score)
