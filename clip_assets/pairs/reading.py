"""A partition's sources, one after the other, each by the fastest reader that copes with it.

Clean csv and parquet files are read by DuckDB; what it refuses, or would misread, goes through
``formats``. Both ways give the same rows.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from clip_assets.files.opening import has_ranges, opened
from clip_assets.files.packed import is_packed
from clip_assets.pairs import columns, opening
from clip_assets.pairs.formats import csv, dialect, jsonl, parquet, txt
from clip_assets.pairs.formats.batches import from_records
from clip_assets.pairs.relations import CsvFile
from clip_assets.pairs.staging import Staging
from clip_assets.partitions.ledger import SourceRange
from clip_assets.partitions.listing import file_format

CSV = {".csv", ".tsv"}

TOGETHER = 64
"""Csv files that are read at once; one that is not clean has all of them read again."""


def append_all(
    staging: Staging,
    ranges: Sequence[SourceRange],
    understood: Collection[str],
    folder: Path,
    progress: Callable[[int], object],
) -> None:
    """Append the rows of sources, in order.

    Args:
        staging: takes the rows.
        ranges: what to read.
        understood: column names in lower case that mean something.
        folder: where remote files are fetched to, one at a time. Parquet files are read where
            they are, unless their server only sends them whole.
        progress: told how many sources are done.
    """
    waiting: list[CsvFile] = []
    for number, source in enumerate(ranges):
        if is_plain_csv(source):
            waiting.append(detected(number, source.uri, Path(source.uri), understood))
            if len(waiting) < TOGETHER:
                continue
        _append_csv(staging, waiting)
        waiting = []
        if not is_plain_csv(source):
            _append(staging, number, source, understood, folder)
        progress(number + 1)
    if waiting:
        _append_csv(staging, waiting)
        progress(len(ranges))


def _append(
    staging: Staging, number: int, source: SourceRange, understood: Collection[str], folder: Path
) -> None:
    """Append one source that is not read where it lies."""
    suffix, _ = file_format(source.uri)
    if suffix == ".parquet":
        _append_parquet(staging, number, source, understood, folder)
        return
    with opening.local(source, folder) as path:
        if suffix in CSV:
            _append_csv(staging, [detected(number, source.uri, path, understood)])
            return
        with path.open("rb") as file:
            dialect.refuse_bytes(file.read(dialect.HEAD_BYTES), source.uri)
            file.seek(0)
            plain = columns.plain(staging.settings.columns)
            is_json = suffix == ".jsonl"
            records = jsonl.jsonl_records(file, plain) if is_json else txt.txt_records(file)
            for batch in from_records(records, source.uri):
                staging.add_batch(number, batch, source.uri)


def _is_read_where_it_lies(uri: str) -> bool:
    """Whether any part of a file can be asked for, by its own name."""
    if "://" in uri:
        return has_ranges(uri)
    # Neither DuckDB nor Arrow opens a name that is no UTF-8.
    return uri.isprintable() and not is_packed(Path(uri))


def is_plain_csv(source: SourceRange) -> bool:
    """Whether a source is a local csv file that can be read where it lies."""
    suffix, compression = file_format(source.uri)
    is_near = suffix in CSV and not compression and "://" not in source.uri
    return is_near and _is_read_where_it_lies(source.uri)


def detected(number: int, where: str, path: Path, understood: Collection[str]) -> CsvFile:
    """A csv file and how it is written."""
    with opened(str(path)) as file:
        head = file.read(dialect.HEAD_BYTES)
    dialect.refuse_bytes(head, where)
    return CsvFile(number, where, path, dialect.detect(head, understood, where))


def _append_csv(staging: Staging, files: Sequence[CsvFile]) -> None:
    """Append csv files: together if all are clean, else one by one."""
    if not files or _append_clean(staging, files):
        return
    if len(files) > 1:
        for file in files:
            _append_csv(staging, [file])
        return
    (file,) = files
    with file.path.open("rb") as content:
        for batch in from_records(csv.csv_records(content, file.dialect), file.where):
            staging.add_batch(file.number, batch, file.where)


def _append_clean(staging: Staging, files: Sequence[CsvFile]) -> bool:
    with_content = [file for file in files if file.dialect.columns]
    are_plain = all(dialect.is_plain(file.path, file.dialect) for file in with_content)
    return not with_content or (are_plain and staging.add_clean_csv(with_content))


def _append_parquet(
    staging: Staging, number: int, source: SourceRange, understood: Collection[str], folder: Path
) -> None:
    chosen, place = (source.first_row_group, source.row_groups), source.uri
    with ExitStack() as stack:
        if not _is_read_where_it_lies(source.uri):
            place = str(stack.enter_context(opening.local(source, folder)))
        file = stack.enter_context(opened(place))
        row_groups = parquet.row_groups_of(file, *chosen, source.uri, understood)
        is_local = "://" not in place
        if is_local and staging.add_parquet(number, Path(place), row_groups, source.uri):
            return
        for batch in parquet.batches(file, *chosen, source.uri, understood):
            staging.add_batch(number, batch, source.uri)
