"""Write ``docs/life-of-a-row.md``: one url of a pool, with what each file says of it.

    clip-assets demo --pairs 200
    python docs/life.py demo-pool

A test compares files and columns of the page with those of another pool.
"""

import json
import re
import sys
import tarfile
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets import Searcher, layout, open_pool
from clip_assets.index import versions
from clip_assets.layout import Key
from clip_assets.pool.pool import Pool
from clip_assets.storage import uids

PAGE = Path(__file__).with_name("life-of-a-row.md")

HEAD = """# The life of a row

One url of the demo, from its csv file to a search result, with what each file says of it: written
by `python docs/life.py demo-pool` after `clip-assets demo --pairs 200`. Paths and columns are those
of [the layout](layout.md), words those of [the vocabulary](vocabulary.md), and the order is that of
[the graph](architecture.md#the-graph). Columns that are null are left out."""

TAIL = """
Every step left a manifest too, written last, with the digests of what it was made from. Were one
byte of them another, this step and those after it would be stale, and the next run would make
them again ([states](architecture.md#states)). What becomes of rows that fall out on the way is
told in [sources.md](sources.md#rows-that-are-no-pairs) and
[download.md](download.md#failures-and-retries).
"""

SHOWN = 3
"""Numbers of a vector that are shown."""

WIDTH = 70
"""Characters of a value that are shown."""


class Step(NamedTuple):
    """A file, and what it says of the row: named values, or lines as they stand there."""

    title: str
    path: str
    text: str
    said: dict[str, Any] | list[str]

    def lines(self, number: int) -> list[str]:
        """As markdown."""
        said = self.said if isinstance(self.said, list) else _aligned(self.said)
        return [
            f"\n## {number}. {self.title}\n",
            textwrap.fill(f"`{self.path}`: {self.text}", 110, break_long_words=False) + "\n",
            "```text",
            *said,
            "```",
        ]


class Place(NamedTuple):
    """Where the row that is followed stands in its source and in ``raw``."""

    partition: Key
    number: int
    source: Path
    line: int


def page(pool: Pool) -> str:
    """The whole page."""
    lines = [HEAD]
    for number, step in enumerate(steps(pool), 1):
        lines += step.lines(number)
    return "\n".join([*lines, TAIL])


def steps(pool: Pool) -> Iterator[Step]:
    """Every file that knows the row, in the order in which they are made."""
    place = followed(pool)
    key = place.partition
    text = place.source.read_text().splitlines()
    header_and_line = [text[0], text[place.line]]
    yield Step(
        "A line of a csv file", place.source.name, "its header and the line.", header_and_line
    )
    plan = json.loads(pool.store.read_bytes(layout.plan(key)))
    [planned] = [one for one in plan["ranges"] if Path(one["uri"]).name == place.source.name]
    said = {"uri": f".../{place.source.name}"} | {n: planned[n] for n in ("size_bytes", "etag")}
    about = "the partition that it belongs to; by size and etag the file is known again."
    yield Step("Planned", layout.plan(key), about, said)
    raw = row_of(pool, layout.raw(key), number=place.number)
    about = "canonical columns, and the uid by which everything after knows the pair."
    yield Step("A pair", layout.raw(key), about, raw)
    keys = row_of(pool, layout.pair_keys(key), column="row", value=place.number)
    about = "what is compared with the keys of all earlier partitions."
    yield Step("A key for deduplication", layout.pair_keys(key), about, keys)
    unique = row_of(pool, layout.unique(key), uid=raw["uid"])
    about = "nobody had the pair before, so it stays, with all its columns."
    yield Step("Kept", layout.unique(key), about, {n: unique[n] for n in ("uid", "url", "caption")})
    yield from downloaded(pool, key, raw["uid"])
    yield from embedded(pool, key, raw["uid"])
    yield from indexed(pool, key, raw["uid"])


def followed(pool: Pool) -> Place:
    """A row in the middle of those that come from a line of a csv file and end in the index.

    Raises:
        LookupError: there is none.
    """
    places = [place for key in pool.partitions for place in _places(pool, key)]
    if not places:
        raise LookupError("no line of a csv file became a search result")
    return places[len(places) // 2]


def _places(pool: Pool, key: Key) -> Iterator[Place]:
    embedded_uids = set(_column(pool, layout.embedding_rows(key), "uid"))
    pairs = _table(pool, layout.raw(key)).select(["uid", "url", "caption"]).to_pylist()
    numbers = {
        (pair["url"], pair["caption"]): number
        for number, pair in enumerate(pairs)
        if pair["uid"] in embedded_uids
    }
    for source in [Path(one.uri) for one in pool.plan(key).ranges if one.uri.endswith(".csv")]:
        for line, text in enumerate(source.read_text().splitlines()):
            cells = set(re.split(r"[|,;\t]", text))
            for pair in [pair for pair in numbers if cells.issuperset(pair)]:
                yield Place(key, numbers[pair], source, line)


def downloaded(pool: Pool, key: Key, uid: str) -> Iterator[Step]:
    """The row in the files of its shard."""
    manifest = pool.catalog.require(layout.IMAGE_SHARDS, key)
    for number, output in enumerate(manifest.of_kind(layout.shard_rows)):
        if uid in _column(pool, output.path, "uid"):
            row = row_of(pool, output.path, uid=uid)
            about = "how the fetch went, and sizes before and after."
            yield Step("Fetched", output.path, about, row)
            tar = layout.shard_tar(key, number)
            with pool.store.local(tar) as file, tarfile.open(file) as members:
                named = [m for m in members.getmembers() if m.name.startswith(f"{row['key']}.")]
                said = {member.name: f"{member.size:,} bytes" for member in named}
            about = "image, caption and json under the row's `key`: a sample of a webdataset."
            yield Step("A sample", tar, about, said)
            index = layout.tar_index(key, number)
            about = "where the image begins in the tar, so that it is read without the others."
            yield Step("A place in the tar", index, about, row_of(pool, index, uid=uid))


def embedded(pool: Pool, key: Key, uid: str) -> Iterator[Step]:
    """The row in the files of embeddings, and where they are joined to what is known of it."""
    number = _column(pool, layout.embedding_rows(key), "uid").index(uid)
    about = f"row {number} says what row {number} of both vector files is."
    said = row_of(pool, layout.embedding_rows(key), number=number)
    yield Step("Embedded", layout.embedding_rows(key), about, said)
    for side, path in (("image", layout.img_emb(key)), ("text", layout.text_emb(key))):
        with pool.store.local(path) as file:
            vectors = np.load(file, mmap_mode="r")
            shown = ", ".join(f"{float(x):.4f}" for x in vectors[number, :SHOWN])
            said = {f"row {number}": f"{shown}, ... ({vectors.shape[1]} numbers, {vectors.dtype})"}
        yield Step(f"The vector of its {side}", path, "a unit row.", said)
    said = row_of(pool, layout.pool_rows(key), uid=uid)
    about = "pair, fetch and embedding in one row, with DataComp's columns."
    yield Step("Described", layout.pool_rows(key), about, said)
    path = layout.subset("no_filter")
    with pool.store.local(path) as file:
        listed = np.load(file)
    place = uids.texts(listed).index(uid)
    said = {f"element {place:,} of {len(listed):,}": str(listed[place])}
    about = "every pair with an image, sorted: the halves of its uid as two integers."
    yield Step("Listed in a subset", path, about, said)


def indexed(pool: Pool, key: Key, uid: str) -> Iterator[Step]:
    """The row in the files of the index, and as a search result."""
    number = _column(pool, layout.embedding_rows(key), "uid").index(uid)
    served = versions.current(pool.store)
    assert served is not None
    version = versions.read(pool.store, served)
    [(slot, start)] = [
        (place, slot.start)
        for place, slot in enumerate(version.slots)
        if slot.content and slot.content.partition == key
    ]
    said = {"id in the segment": number, "kind of index": version.key}
    about = "its image vector, encoded."
    yield Step("Encoded", layout.segment("image", key), about, said)
    said = {"slot": f"{slot}, ids from {start:,} on", "vector id": start + number}
    about = "in the merged index the ids of its partition begin where the slot begins."
    yield Step("Merged", layout.index_manifest(served), about, said)
    path = layout.id_mapping(served, slot)
    about = "from vector id back to pair."
    yield Step("Mapped", path, about, row_of(pool, path, column="i", value=start + number))
    path = layout.index_rows(served, slot)
    said = row_of(pool, path, number=number)
    about = "what a search tells of it."
    yield Step("Told", path, about, {n: said[n] for n in ("uid", "caption", "image_path")})
    caption = said["caption"]
    with Searcher.open(pool) as searcher:
        hits = searcher.search(caption, k=10)
    asked = f"clip-assets search {json.dumps(caption)}"
    about = f"names the version that `{asked}` looks into, here among images."
    lines = [f"{hit.similarity:.4f}  {hit.uid}  {hit.caption!r}" for hit in hits[:SHOWN]]
    own = [f"rank {n}" for n, hit in enumerate(hits, 1) if hit.uid == uid] or ["not among ten"]
    yield Step("Found", layout.CURRENT, about, [*lines, f"...this pair: {own[0]}"])


def row_of(
    pool: Pool,
    path: str,
    *,
    uid: str = "",
    number: int | None = None,
    column: str = "uid",
    value: int = 0,
) -> dict[str, Any]:
    """One row of a table, without its nulls: that of a uid, of a number, or of another column."""
    table = _table(pool, path)
    if number is None:
        table = table.filter(pc.equal(table[column], pa.scalar(uid or value)))
        number = 0
    [row] = table.slice(number, 1).to_pylist()
    return {name: cell for name, cell in row.items() if cell is not None}


def _table(pool: Pool, path: str) -> Any:
    with pool.store.local(path) as file:
        return pq.read_table(file)


def _column(pool: Pool, path: str, name: str) -> list[Any]:
    return _table(pool, path)[name].to_pylist()


def _aligned(said: dict[str, Any]) -> Sequence[str]:
    width = max(map(len, said))
    return [f"{name:<{width}}  {_short(value)}" for name, value in said.items()]


def _short(value: object) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."


def main(root: str) -> None:
    """Write the page over a pool."""
    PAGE.write_text(page(open_pool(root)))


if __name__ == "__main__":
    main(*sys.argv[1:])
