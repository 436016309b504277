"""A partition's sources, one after the other, each by the fastest reader that copes with it.

Clean csv and parquet files are read by DuckDB; what it refuses, or would misread, goes through
``records`` and ``tables``. Both ways give the same rows.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from clip_assets.files.opening import has_ranges, opened
from clip_assets.pairs import dialect, opening, records, tables
from clip_assets.pairs.relations import CsvFile
from clip_assets.pairs.staging import Staging
from clip_assets.partitions.ledger import SourceRange
from clip_assets.partitions.listing import file_format

TOGETHER = 64
"""Csv files that are read at once; one that is not clean has all of them read again."""


def stage(
    staging: Staging, ranges: Sequence[SourceRange], understood: Collection[str], folder: Path
) -> Iterator[SourceRange]:
    """Append the rows of sources, in order.

    Args:
        staging: takes the rows.
        ranges: what to read.
        understood: column names in lower case that mean something.
        folder: where remote files are fetched to, one at a time. Parquet files are read where
            they are, unless their server only sends them whole.

    Yields:
        Every source, once its rows are there.
    """
    waiting: list[CsvFile] = []
    for number, source in enumerate(ranges):
        suffix, _ = file_format(source.uri)
        is_csv = suffix in {".csv", ".tsv"}
        is_plain = is_plain_csv(source)
        if is_plain:
            waiting.append(detected(number, source.uri, Path(source.uri), understood))
            if len(waiting) < TOGETHER:
                continue
        yield from _add_all(staging, waiting, ranges)
        waiting = []
        if is_plain:
            continue
        if suffix == ".parquet":
            _add_parquet(staging, number, source, folder)
        else:
            with opening.local(source, folder) as path:
                if is_csv:
                    file = detected(number, source.uri, path, understood)
                    list(_add_all(staging, [file], ranges))
                else:
                    _add_lines(staging, number, source, path)
        yield source
    yield from _add_all(staging, waiting, ranges)


def is_plain_csv(source: SourceRange) -> bool:
    """Whether a source is a local csv file that is not compressed."""
    suffix, compression = file_format(source.uri)
    return suffix in {".csv", ".tsv"} and not compression and "://" not in source.uri


def detected(number: int, where: str, path: Path, understood: Collection[str]) -> CsvFile:
    """A csv file and how it is written."""
    with opened(str(path)) as file:
        found = dialect.detect(file.read(dialect.HEAD_BYTES), understood, where)
    return CsvFile(number, where, path, found)


def _add_all(
    staging: Staging, waiting: Sequence[CsvFile], ranges: Sequence[SourceRange]
) -> Iterator[SourceRange]:
    """Append csv files: together if all are clean, else one by one."""
    if len(waiting) > 1 and not _add_clean(staging, waiting):
        for file in waiting:
            yield from _add_all(staging, [file], ranges)
        return
    if len(waiting) == 1 and not _add_clean(staging, waiting):
        (file,) = waiting
        with file.path.open("rb") as content:
            for batch in tables.from_records(records.csv_records(content, file.dialect)):
                staging.add_batch(file.number, batch, file.where)
    for file in waiting:
        yield ranges[file.number]


def _add_clean(staging: Staging, files: Sequence[CsvFile]) -> bool:
    with_content = [file for file in files if file.dialect.columns]
    are_plain = all(dialect.has_plain_lines(file.path) for file in with_content)
    return not with_content or (are_plain and staging.add_clean_csv(with_content))


def _add_parquet(staging: Staging, number: int, source: SourceRange, folder: Path) -> None:
    part, place = (source.first_row_group, source.row_groups), source.uri
    with ExitStack() as stack:
        if not has_ranges(source.uri):
            place = str(stack.enter_context(opening.local(source, folder)))
        file = stack.enter_context(opened(place))
        found = tables.row_groups_of(file, *part, source.uri)
        is_local = "://" not in place
        if is_local and staging.add_parquet(number, Path(place), found, source.uri):
            return
        for batch in tables.from_parquet(file, *part, source.uri):
            staging.add_batch(number, batch, source.uri)


def _add_lines(staging: Staging, number: int, source: SourceRange, path: Path) -> None:
    suffix, _ = file_format(source.uri)
    read = records.jsonl_records if suffix == ".jsonl" else records.txt_records
    with path.open("rb") as file:
        for batch in tables.from_records(read(file)):
            staging.add_batch(number, batch, source.uri)
