"""What a training may download while it runs: lists of urls, each with its name, the best first.

What a list has is known before anything is asked for; whether its urls answer is the matter of
``url_window``, how much of each list is wanted that of ``url_streaming``.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from clip_assets.bricks.datum import Datum
from clip_assets.pool.takedowns import Takedowns, TakenDown
from clip_assets.storage import uids
from clip_assets.streaming.decoded import QUERY
from clip_assets.streaming.permutation import Rows

if TYPE_CHECKING:
    from clip_assets.retrieval.queries import Query
    from clip_assets.retrieval.search import Searcher
    from clip_assets.storage.store import Store

COLUMNS = ("uid", "url", "caption")

SIMILARITY = "similarity"

FOUND = ("uid", "url", "caption", "sha256")
"""What an index tells of what it finds; ``sha256`` is of the file as it was."""


class UrlList:
    """Urls with their captions, in the order in which they are to be tried.

    Args:
        name: for messages, shares and the ``queries`` of batches.
        table: ``uid``, ``url`` and ``caption``; other columns become fields of samples.
        store: of the pool that they are of, whose takedowns are obeyed from then on.

    Attributes:
        digest: another one where other urls stand.
    """

    def __init__(self, name: str, table: pa.Table, store: "Store | None" = None) -> None:
        self.name, self.table, self.store = name, table.combine_chunks(), store
        told = hashlib.sha256(name.encode())
        for column in ("uid", "url"):
            for value in self.table[column].to_pylist():
                told.update(f"{value}\n".encode(errors="surrogatepass"))
        self.digest = told.hexdigest()

    @classmethod
    def of(cls, name: str, data: Iterable[Datum]) -> "UrlList":
        """The urls of data, such as ``bricks.from_table`` reads; data with a fault are left out.

        Memory: the rows.
        """
        rows: dict[str, list[Any]] = {column: [] for column in (*COLUMNS, "further")}
        for datum in data:
            if datum.fault:
                continue
            said = dict(datum.fields)
            rows["uid"].append(said.pop("uid", None))
            rows["url"].append(said.pop("url", None))
            rows["caption"].append(datum.caption)
            rows["further"].append(json.dumps(said, default=str))
        return cls(name, pa.table({column: pa.array(v, pa.string()) for column, v in rows.items()}))

    def __len__(self) -> int:
        """How many urls."""
        return len(self.table)

    def datum(self, row: int) -> Datum:
        """One of them, not yet asked for."""
        told = {name: self.table[name][row].as_py() for name in self.table.column_names}
        told |= json.loads(told.pop("further", None) or "{}")
        uid, caption = str(told["uid"] or told["url"]), told.pop("caption")
        return Datum(uid, caption, told | {QUERY: self.name})


def url_lists(
    searcher: "Searcher",
    queries: "Iterable[Query]",
    k: int,
    *,
    threshold: float | None = None,
    side: str = "image",
) -> list[UrlList]:
    """What each query finds in an index, the nearest first. No image has to be stored for it.

    Args:
        searcher: of a pool's served index, or of an index folder of clip-retrieval.
        queries: texts, images, vectors or uids; a text is the name of its list, others are called
            by their number.
        k: of each at most.
        threshold: least similarity.
        side: ``image`` to compare with images, ``text`` to compare with captions.

    Returns:
        A list of each query. One that finds nothing has no urls, and no share of a ``UrlStream``.

    Raises:
        ConfigurationError: a query means nothing.
        ModelLoadError: a query needs the model of the vectors, which cannot be loaded.
    """
    asked = list(queries)
    if not asked:
        return []
    answer = searcher.search_many(searcher.vectors_of(asked), k, side)
    least = -np.inf if threshold is None else threshold
    lists: list[UrlList] = []
    for number, query in enumerate(asked):
        is_close = (answer.ids[number] >= 0) & (answer.similarities[number] >= least)
        table = searcher.rows(answer.ids[number][is_close], FOUND)
        close = pa.array(answer.similarities[number][is_close], pa.float32())
        name = query if isinstance(query, str) else f"query {number}"
        lists.append(UrlList(name, table.append_column(SIMILARITY, close), searcher.pool.store))
    return lists


class TakenDownNow:
    """Whether pairs were taken down of some pools, at any moment.

    Args:
        stores: of the pools.
    """

    def __init__(self, stores: "Iterable[Store]") -> None:
        self._tables = [Takedowns(store) for store in stores]
        self._seen: list[TakenDown] = []
        self._uids: set[str] = set()
        self._urls: set[str] = set()

    def __call__(self, datum: Datum) -> bool:
        """Whether a datum may not be shown any more."""
        now = [table.now() for table in self._tables]
        if now != self._seen:
            self._seen = now
            self._uids = {uid for one in now for uid in uids.texts(one.pairs)}
            self._urls = {str(url) for one in now for url in one.urls.to_pylist()}
        return datum.uid in self._uids or datum.fields.get("url") in self._urls


def kept_rows(lists: Sequence[UrlList]) -> list[Rows]:
    """The rows of each list whose url no list has before: none is asked for twice.

    A url of several lists stays in the one in which it stands highest. Rows without a url go.
    """
    counts = [len(one) for one in lists]
    numbers = np.repeat(np.arange(len(lists)), counts)
    places = np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)])
    columns = [one.table["url"].cast(pa.string()) for one in lists]
    urls = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    codes = urls.combine_chunks().dictionary_encode("encode")
    is_url = np.array([bool(url) for url in codes.dictionary.to_pylist()], np.bool_)
    which = codes.indices.to_numpy(zero_copy_only=False)
    order = np.lexsort((numbers, places))
    _, firsts = np.unique(which[order], return_index=True)
    kept = np.zeros(len(which), np.bool_)
    kept[order[firsts]] = True
    kept &= is_url[which] if len(which) else kept
    return [places[kept & (numbers == number)] for number in range(len(lists))]
