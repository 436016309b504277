"""Rows by id and by uid from mapped files, against clip-retrieval's metadata providers.

A version with so many rows in ten ranges of ids, made up: a url of some 60 characters and a caption
of some 45 for each. Ours are read with the class that searches use, opened for each measurement.
Ordered rows come as an Arrow table whose every text is gone through once, so that nothing is left
unread. With ``--peer`` the same rows are read by clip-retrieval's own classes, in an environment of
their own: a python that has clip-retrieval. Their ``get`` reads row by row and is asked for fewer
rows of the hdf5 file; of their hdf5 file and Arrow table, all columns are read as one slice too,
which no code of theirs does.

    python benchmarks/id_mapping.py [--rows 1000000] [--peer /path/to/python]
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.index import mapped_rows
from clip_assets.index.slots import Content, Slot
from clip_assets.index.versions import Version
from clip_assets.retrieval.rows import Rows
from clip_assets.storage.store import Store

RANGES = 10
RANDOM_ROWS, UIDS = 10_000, 1_000
COLUMNS = ["url", "caption"]
TIMES = 5

PEER = """
import importlib.util, json, sys, time, types
import numpy as np
# Not the package itself, which imports what its other parts need.
package = types.ModuleType("clip_retrieval")
package.__path__ = importlib.util.find_spec("clip_retrieval").submodule_search_locations
sys.modules["clip_retrieval"] = package
from clip_retrieval.clip_back import ArrowMetadataProvider, Hdf5MetadataProvider, parquet_to_hdf5
folder, rows, few = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
cols = ["url", "caption"]
parquet_to_hdf5(folder + "/parquet", folder + "/rows.hdf5", cols)
def told(name, what, count, read):
    began = time.perf_counter()
    read()
    took = round(time.perf_counter() - began, 4)
    print(json.dumps({"reader": name, "what": what, "rows": count, "s": took}), flush=True)
ids = np.random.default_rng(0).integers(0, rows, few).tolist()
for name, make in (("hdf5", lambda: Hdf5MetadataProvider(folder + "/rows.hdf5")),
                   ("arrow", lambda: ArrowMetadataProvider(folder + "/arrow"))):
    told(name, "ordered by get", few, lambda: make().get(range(few), cols))
    told(name, "random by get", few, lambda: make().get(ids, cols))
arrow = lambda: ArrowMetadataProvider(folder + "/arrow")
told("arrow", "ordered by get", rows, lambda: arrow().get(range(rows), cols))
def hdf5_slice():
    ds = Hdf5MetadataProvider(folder + "/rows.hdf5").ds
    return sum(sum(map(len, ds[name][:rows])) for name in cols)
def arrow_slice():
    table = ArrowMetadataProvider(folder + "/arrow").table.slice(0, rows).select(cols)
    return table.to_pandas().to_dict("list")
told("hdf5", "ordered as a slice, by hand", rows, hdf5_slice)
told("arrow", "ordered as a slice, by hand", rows, arrow_slice)
"""


def batches(start: int, count: int) -> Sequence[pa.RecordBatch]:
    """Made-up rows of a range of ids."""
    made: list[pa.RecordBatch] = []
    for first in range(start, start + count, mapped_rows.BATCH_ROWS):
        ids = range(first, min(first + mapped_rows.BATCH_ROWS, start + count))
        columns: dict[str, Any] = {
            "uid": [f"{i * 0x9E3779B97F4A7C15 % 2**128:032x}" for i in ids],
            "url": [
                f"https://images.example.org/media/albums/{i % 997:04d}/{i:012d}.jpg" for i in ids
            ],
            "caption": [f"a photo of a thing of the kind {i % 9973} at place {i}" for i in ids],
        }
        arrays = [
            pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(len(ids), field.type)
            for field in schemas.INDEX_ROWS
        ]
        made.append(pa.RecordBatch.from_arrays(arrays, schema=schemas.INDEX_ROWS))
    return made


def write(folder: Path, rows: int) -> Version:
    """A version's mapped rows, and the same for the peer as parquet and as Arrow."""
    each = rows // RANGES
    slots = [
        Slot(n * each, each, Content(layout.partition_key(n), "d", each)) for n in range(RANGES)
    ]
    for name in ("parquet", "arrow"):
        (folder / name).mkdir()
    for number, slot in enumerate(slots):
        made = batches(slot.start, slot.count)
        path = folder / layout.mapped_rows("v", number)
        path.parent.mkdir(parents=True, exist_ok=True)
        uids = mapped_rows.write(path, made)
        mapped_rows.write_uids(folder / layout.mapped_uids("v", number), uids)
        table = pa.Table.from_batches(made).select(["uid", *COLUMNS])
        pq.write_table(table, folder / f"parquet/metadata_{number:05d}.parquet")
        with pa.ipc.new_file(str(folder / f"arrow/{number:05d}.arrow"), table.schema) as writer:
            writer.write_table(table)
    keys = [slot.content.partition for slot in slots if slot.content]
    model = ("m", "model", 1, "IDMap2,Flat", "r", rows)
    is_renumbered = False
    return Version("v", None, is_renumbered, *model, slots, keys, [], [])


def fastest(read: Callable[[Rows], object], store: Store, version: Version) -> float:
    """Seconds of the fastest of some times; files are opened in each."""
    seconds: list[float] = []
    for _ in range(TIMES):
        with ExitStack() as stack:
            began = time.perf_counter()
            read(Rows(store, version, stack))
            seconds.append(time.perf_counter() - began)
    return min(seconds)


def gone_through(table: pa.Table) -> int:
    """Characters of all texts."""
    return sum(pc.sum(pc.utf8_length(column)).as_py() for column in table.columns)


def main() -> None:
    """Write, read, print json lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer", help="A python that has clip-retrieval.")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        version, store = write(Path(name), options.rows), Store(name)
        ordered = np.arange(options.rows)
        drawn = random.integers(0, options.rows, RANDOM_ROWS)
        with ExitStack() as stack:
            some = Rows(store, version, stack).table(drawn[:UIDS], ["uid"])
        asked = some["uid"].to_pylist()
        for what, count, read in (
            ("ordered", options.rows, lambda rows: gone_through(rows.table(ordered, COLUMNS))),
            ("random", RANDOM_ROWS, lambda rows: gone_through(rows.table(drawn, COLUMNS))),
            ("random as dicts", RANDOM_ROWS, lambda rows: rows.table(drawn, COLUMNS).to_pylist()),
            ("ids of uids", UIDS, lambda rows: rows.find(asked)),
        ):
            seconds = round(fastest(read, store, version), 4)
            told = {"reader": "ours", "what": what, "rows": count, "s": seconds}
            print(json.dumps(told), flush=True)
        if options.peer:
            words = [options.peer, "-c", PEER, name, str(options.rows), str(RANDOM_ROWS)]
            subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
