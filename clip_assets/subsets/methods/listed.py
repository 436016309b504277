"""Rows whose uids or urls a text file lists, one a line."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from clip_assets import schemas
from clip_assets.errors import SourceFormatError
from clip_assets.files import opening
from clip_assets.settings.choices import ListedUids, ListedUrls
from clip_assets.storage import uids
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.matched_rows import MatchedRows
from clip_assets.subsets.selection import UID, Judge, Method, Selection
from clip_assets.subsets.sorted_uids import stored
from clip_assets.subsets.sorting import Sorter

BATCH_LINES = 2**16


def _uids(selection: Selection, settings: ListedUids, _candidates: Judge) -> Judge:
    """By a list of uids.

    Raises:
        SourceFormatError: a line is no uid.
        SourceError: the file cannot be read.
    """
    sorter = Sorter(selection.folder, schemas.UID_PAIR)
    for number, lines in _batches(settings.uids):
        sorter.add(listed_uids(lines, settings.uids, number))
    return _listed(selection, settings.uids, sorter, UID, _uids_of)


def _urls(selection: Selection, settings: ListedUrls, _candidates: Judge) -> Judge:
    """By a list of urls, which are compared by their md5.

    Raises:
        SourceFormatError: a line is no url.
        SourceError: the file cannot be read.
    """
    sorter = Sorter(selection.folder, schemas.UID_PAIR)
    for number, lines in _batches(settings.urls):
        _check_urls(lines, settings.urls, number)
        sorter.add(_digests(lines))
    return _listed(selection, settings.urls, sorter, "url", _digests_of)


def _listed(
    selection: Selection,
    where: str,
    sorter: Sorter,
    column: str,
    uids_of: Callable[[pa.Table], uids.UidPairs],
) -> Judge:
    members = stored(sorter, selection.folder, schemas.UID_PAIR)
    matches = MatchedRows(selection, members, [column], uids_of)

    def decide(piece: str, table: pa.Table) -> Judgement:
        return passing(len(table), {"not_listed": matches.times(piece, len(table)) > 0})

    selection.told.append(lambda: matches.told(where))
    return Judge(frozenset([column]), decide)


def _uids_of(table: pa.Table) -> uids.UidPairs:
    return uids.pairs(table[UID])


def _digests_of(table: pa.Table) -> uids.UidPairs:
    return _digests(map(str, table["url"].to_pylist()))


def listed_uids(lines: Iterable[str], where: str, first: int = 1) -> uids.UidPairs:
    """Uids of a text's lines.

    Raises:
        SourceFormatError: a line is none.
    """
    for number, line in enumerate(lines, first):
        try:
            is_uid = len(bytes.fromhex(line)) * 2 == len(line) == uids.DIGITS
        except ValueError:
            is_uid = False
        if not is_uid:
            raise SourceFormatError(
                f"{where}, line {number:,}",
                repr(line[:50]),
                f"a uid of {uids.DIGITS} hex digits",
                "Write one uid a line, and nothing else.",
            )
    return uids.pairs(pa.chunked_array([pa.array(list(lines), pa.string())]))


def _check_urls(lines: Iterable[str], where: str, first: int) -> None:
    for number, line in enumerate(lines, first):
        if "://" not in line or "\t" in line:
            raise SourceFormatError(
                f"{where}, line {number:,}",
                repr(line[:50]),
                "a url",
                "Write one url a line, and nothing else; of a table its column of urls.",
            )


def _digests(urls: Iterable[str]) -> uids.UidPairs:
    digests = b"".join(hashlib.md5(url.encode(), usedforsecurity=False).digest() for url in urls)
    halves = np.frombuffer(digests, dtype=">u8").reshape(-1, 2)
    numbers = np.empty(len(halves), dtype=schemas.UID_PAIR)
    numbers["f0"], numbers["f1"] = halves[:, 0], halves[:, 1]
    return numbers


def _batches(uri: str) -> Iterator[tuple[int, list[str]]]:
    """Lines of a text that are not blank, with the number of the first of them."""
    number = 1
    with opening.opened(uri) as file:
        while lines := list(islice(file, BATCH_LINES)):
            try:
                texts = [line.decode("utf-8-sig").strip() for line in lines]
            except UnicodeDecodeError as error:
                raise SourceFormatError(
                    uri, str(error), "a text in UTF-8", "Write one a line."
                ) from error
            yield number, [text for text in texts if text]
            number += len(lines)


UIDS = Method(ListedUids, _uids)
URLS = Method(ListedUrls, _urls)
