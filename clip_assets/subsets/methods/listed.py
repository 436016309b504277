"""Rows whose uids or urls a text file lists, one a line."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from clip_assets import schemas
from clip_assets.errors import SourceFormatError
from clip_assets.files import opening
from clip_assets.settings.choices import ListedUids, ListedUrls
from clip_assets.storage import uids
from clip_assets.subsets.judgement import Judgement, passing
from clip_assets.subsets.selection import UID, Account, Judge, Method, Selection
from clip_assets.subsets.sorted_uids import Places, SortedUids, distinct, stored
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
    listed = _members(selection, sorter)

    def decide(_piece: str, table: pa.Table) -> Judgement:
        return passing(len(table), {"not_listed": listed.has(uids.pairs(table[UID]))})

    selection.told.append(lambda: listed.told(settings.uids))
    return Judge(frozenset([UID]), decide)


def _urls(selection: Selection, settings: ListedUrls, _candidates: Judge) -> Judge:
    """By a list of urls, which are compared by their md5.

    Raises:
        SourceError: the file cannot be read.
    """
    sorter = Sorter(selection.folder, schemas.UID_PAIR)
    for _, lines in _batches(settings.urls):
        sorter.add(_digests(lines))
    listed = _members(selection, sorter)

    def decide(_piece: str, table: pa.Table) -> Judgement:
        asked = _digests(map(str, table["url"].to_pylist()))
        return passing(len(table), {"not_listed": listed.has(asked)})

    selection.told.append(lambda: listed.told(settings.urls))
    return Judge(frozenset(["url"]), decide)


class Listed:
    """What a list has, and what of it was asked for.

    Args:
        members: the list.
    """

    def __init__(self, members: SortedUids) -> None:
        self.members = members
        self._is_seen = np.zeros(len(members.records), dtype=bool)

    def times(self, asked: uids.UidPairs) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """(m,) how often each is listed."""
        places, times = self.members.find(asked)
        self.see(places[times > 0])
        return times

    def see(self, places: Places) -> None:
        """Remember that uids at these places were asked for."""
        self._is_seen[places] = True

    def has(self, asked: uids.UidPairs) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(m,) whether each is listed."""
        return self.times(asked) > 0

    def told(self, where: str) -> Account:
        """How much of the list is in the pool."""
        count, seen = distinct(self.members.records), int(np.count_nonzero(self._is_seen))
        return Account({where: {"listed": count, "not_in_the_pool": count - seen}})


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


def _members(selection: Selection, sorter: Sorter) -> Listed:
    file = selection.folder / f"listed-{len(selection.told)}-{id(sorter)}"
    return Listed(stored(sorter, file, schemas.UID_PAIR))


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
