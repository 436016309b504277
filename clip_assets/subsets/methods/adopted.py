"""Rows of a subset that somebody published as DataComp's ``.npy``, joined by uid."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from clip_assets import schemas
from clip_assets.files import opening
from clip_assets.files.filesystem import filesystem
from clip_assets.settings.choices import Adopted
from clip_assets.storage import uid_files, uids
from clip_assets.subsets.judgement import Judgement
from clip_assets.subsets.matched_rows import MatchedRows
from clip_assets.subsets.selection import UID, Account, Judge, Method, Selection
from clip_assets.subsets.sorted_uids import BLOCK_ROWS, SortedUids, is_sorted, stored
from clip_assets.subsets.sorting import Records, Sorter


def judge(selection: Selection, settings: Adopted, _candidates: Judge) -> Judge:
    """By the published uids, each as often as it stands there; they need not be sorted.

    Raises:
        SourceFormatError: the file is not of DataComp's form.
        SourceError: it cannot be read.
    """
    records = published(settings.published, selection.folder)
    in_order = is_sorted(records)
    listed = SortedUids(records) if in_order else _sorted(records, selection.folder)
    matches = MatchedRows(selection, listed, [UID], lambda table: uids.pairs(table[UID]))

    def decide(piece: str, table: pa.Table) -> Judgement:
        times = matches.times(piece, len(table))
        return Judgement(times, {"not_listed": times == 0})

    def told() -> Account:
        where = settings.published
        figures = matches.told(where).facts[where]
        return Account({where: figures | {"rows": len(records), "was_sorted": in_order}})

    selection.told.append(told)
    return Judge(frozenset([UID]), decide)


def published(uri: str, folder: Path) -> Records:
    """Uids of a published subset, (n,) mapped from a file, in their order there.

    Args:
        uri: a path or url.
        folder: where a copy of a remote file goes.

    Raises:
        SourceFormatError: it is no array of pairs of unsigned integers.
        SourceError: it cannot be read.
    """
    return uid_files.mapped(_local(uri, folder), uri)


def _local(uri: str, folder: Path) -> Path:
    fs, path = filesystem(uri)
    if "file" in fs.protocol:
        with opening.opened(uri):  # so that what is wrong with it is told alike
            return Path(path)
    copy = folder / f"published-{len(list(folder.iterdir()))}.npy"
    with opening.opened(uri) as source, copy.open("wb") as part:
        shutil.copyfileobj(source, part, 2**20)
    return copy


def _sorted(records: Records, folder: Path) -> SortedUids:
    sorter = Sorter(folder, schemas.UID_PAIR)
    for start in range(0, len(records), BLOCK_ROWS):
        sorter.add(np.asarray(records[start : start + BLOCK_ROWS]).astype(schemas.UID_PAIR))
    return stored(sorter, folder, schemas.UID_PAIR)


METHOD = Method(Adopted, judge)
