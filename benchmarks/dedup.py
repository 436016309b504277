"""Our ingest and deduplication against Spark's and DuckDB's, and their cost as a pool grows.

Contestants read the same ``|`` csv files in LAION's form (50 files, three header layouts,
15 % duplicates) and write every row, then the unique ones, as parquet with zstd:

* ``ours``: ``raw_pairs`` and ``unique_pairs`` over partitions of a million rows, the functions
  that the assets call, one process for each core;
* ``duckdb``: the same two files by ``read_csv`` and ``SELECT DISTINCT ON (url, text)``, with its
  defaults for memory and threads;
* ``spark``: pyspark, the steps of LAION's cah_stats_spark.py: align the columns of each header
  layout by name, cast, union, write, ``dropDuplicates(["URL", "TEXT"])``, write.

Rounds go through the contestants one after the other; the sources are read once before each, so
that they come from memory. A contestant that keeps another number of rows than there are unique
ones stops the benchmark. Wall time includes the start of the processes. Peak memory is the
largest sum over a contestant's processes, sampled five times a second, with pages of files and
libraries counted once. Every run is a line of a file beside the folder of sources, and the table is
made from all of them, so that contestants can be measured one by one:

    python benchmarks/dedup.py generate build/dedup-5M --rows 5000000
    python benchmarks/dedup.py compare build/dedup-5M --rounds 3
    python benchmarks/dedup.py compare build/dedup-50M --contestants spark --rounds 1

``trend`` measures ``unique_pairs`` alone on synthetic keys for pools of more and more
partitions: the whole pool, and one new partition.

    python benchmarks/dedup.py trend --partitions 10 50 200 --rows 100000
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

FILES = 50
DUPLICATES = 0.15
CONTESTANTS = ("ours", "duckdb", "spark")
LAYOUTS = (
    ("SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity"),
    ("SAMPLE_ID", "URL", "TEXT", "LICENSE", "similarity"),
    ("URL", "TEXT", "WIDTH", "HEIGHT", "similarity", "hash"),
)
WORDS = """
a photo of the red blue car house dog cat sunset beach city vintage old new poster print
canvas wall art for sale men women shoes dress kids toy handmade wooden table lamp
""".split()  # noqa: SIM905

VALUES = {
    "SAMPLE_ID": "hash(row, 4) >> 24",
    "URL": "format('https://cdn{}.example.com/img/{:016x}.jpg',"
    " hash(pair, 5) % 5000, hash(pair, 6))",
    "TEXT": "array_to_string(list_transform(range(3 + (hash(pair, 7) % 12)::BIGINT), lambda x:"
    f" {WORDS}[1 + (hash(pair, x) % {len(WORDS)})::BIGINT]), ' ')"
    " || CASE WHEN pair % 1000 = 0 THEN chr(10) || 'said \"so\"' ELSE '' END",
    "HEIGHT": "50 + hash(row, 8) % 1950",
    "WIDTH": "50 + hash(row, 9) % 1950",
    "LICENSE": "'?'",
    "NSFW": "'UNLIKELY'",
    "hash": "hash(row, 10) >> 4",
    "similarity": "round(0.2 + (hash(row, 11) % 300000)::DOUBLE / 1e6, 6)",
}
"""Columns of a source file from a row's number and that of its pair."""

PAIR = """CASE WHEN row >= 20 AND row % 20 IN (7, 13, 19)
    THEN (hash(row, 1) % (row // 20)::UBIGINT)::BIGINT * 20
        + place + (place >= 7)::INT + (place >= 12)::INT
    ELSE row END"""
"""Three rows of every twenty repeat a pair of any row before."""

OURS = """
import sys
from concurrent.futures import ProcessPoolExecutor
from clip_assets import open_pool
from clip_assets.dedup.unique_pairs import unique_pairs
from clip_assets.pairs.raw_pairs import raw_pairs
from clip_assets.partitions.ledger import add_sources

def raw(key):
    raw_pairs(open_pool(sys.argv[2]), key)

def unique(key):
    unique_pairs(open_pool(sys.argv[2]), key)

if __name__ == "__main__":
    pool = open_pool(sys.argv[2], create=True)
    add_sources(pool.store, [sys.argv[1]], pool.settings.sources)
    with ProcessPoolExecutor(int(sys.argv[3])) as workers:
        list(workers.map(raw, pool.partitions))
        list(workers.map(unique, pool.partitions))
"""

DUCKDB = """
import glob, sys
import duckdb
database = duckdb.connect(f"{sys.argv[2]}.db")
files = sorted(glob.glob(sys.argv[1] + "/*.csv"))
source = f"read_csv({files}, delim='|', quote='\\"', escape='\\"', header=true, union_by_name=true)"
compressed = "(FORMAT parquet, COMPRESSION zstd)"
database.execute(f"COPY (SELECT * FROM {source}) TO '{sys.argv[2]}-all.parquet' {compressed}")
database.execute(f\"\"\"COPY (SELECT DISTINCT ON (URL, TEXT) * FROM '{sys.argv[2]}-all.parquet')
    TO '{sys.argv[2]}-unique.parquet' {compressed}\"\"\")
"""

SPARK = """
import glob, sys
from collections import defaultdict
from pyspark.sql import SparkSession, functions as F
spark = (SparkSession.builder.master("local[*]").config("spark.driver.memory", "12g")
    .config("spark.ui.enabled", "false").config("spark.sql.ansi.enabled", "false")
    .config("spark.sql.parquet.compression.codec", "zstd")
    .config("spark.local.dir", sys.argv[2] + ".tmp")
    .config("spark.driver.host", "127.0.0.1").getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
types = {"SAMPLE_ID": "long", "URL": "string", "TEXT": "string", "HEIGHT": "int", "WIDTH": "int",
    "LICENSE": "string", "NSFW": "string", "similarity": "double"}
groups = defaultdict(list)
for path in sorted(glob.glob(sys.argv[1] + "/*.csv")):
    with open(path) as file:
        groups[file.readline()].append(path)
union = None
for paths in groups.values():
    # LAION's script leaves out the last two options and splits rows at quoted newlines.
    found = (spark.read.option("header", "true").option("sep", "|")
        .option("multiLine", "true").option("escape", '"').csv(paths))
    aligned = found.select([
        (F.col(name) if name in found.columns else F.lit("")).cast(kind).alias(name)
        for name, kind in types.items()])
    union = aligned if union is None else union.union(aligned)
union.repartition(32).write.mode("overwrite").parquet(sys.argv[2] + "-all")
rows = spark.read.parquet(sys.argv[2] + "-all")
rows.dropDuplicates(["URL", "TEXT"]).repartition(32).write.mode("overwrite").parquet(
    sys.argv[2] + "-unique")
"""

SCRIPTS = {"ours": OURS, "duckdb": DUCKDB, "spark": SPARK}
FOUND = {
    "ours": ("/raw/*.parquet", "/unique/*.parquet"),
    "duckdb": ("-all.parquet", "-unique.parquet"),
    "spark": ("-all/*.parquet", "-unique/*.parquet"),
}
"""All rows and unique rows, after the output's name."""

PYSPARK = "pyspark==4.0.1"
SPARK_ENVIRONMENT = Path("build/spark")


def generate(arguments: argparse.Namespace) -> None:
    """Write the csv files; one row in 1,000 has a newline and quotes in its caption."""
    import duckdb

    arguments.folder.mkdir(parents=True)
    rows = arguments.rows // FILES
    with duckdb.connect() as database:
        for number in range(FILES):
            values = [f'{VALUES[name]} AS "{name}"' for name in LAYOUTS[number % len(LAYOUTS)]]
            numbers = f"range({number * rows}, {(number + 1) * rows})"
            database.execute(
                f"COPY (SELECT {', '.join(values)} FROM (SELECT row, {PAIR} AS pair FROM"
                f" (SELECT range AS row, (hash(range, 2) % 17)::BIGINT AS place FROM {numbers})))"
                f" TO '{arguments.folder}/{number:03d}.csv' (DELIMITER '|', HEADER true)"
            )


def compare(arguments: argparse.Namespace) -> None:
    """Run the contestants, and print a table of all runs there were."""
    results = arguments.folder.with_suffix(".jsonl")
    for number in range(arguments.rounds):
        for kind in arguments.contestants:
            for path in arguments.folder.iterdir():
                path.read_bytes()
            with tempfile.TemporaryDirectory(dir=arguments.folder.parent) as folder:
                found = run(kind, arguments, Path(folder, "output"))
            print(f"round {number + 1}: {found}", file=sys.stderr, flush=True)
            with results.open("a") as file:
                file.write(json.dumps(found) + "\n")
    print_table([json.loads(line) for line in results.read_text().splitlines()])


def run(kind: str, arguments: argparse.Namespace, output: Path) -> dict:
    """One run of a contestant."""
    import duckdb

    python = str(spark_python()) if kind == "spark" else sys.executable
    script = output.with_name("contestant.py")
    script.write_text(SCRIPTS[kind])
    command = [python, str(script), str(arguments.folder), str(output), str(os.cpu_count())]
    wall_s, peak = measured(command)
    rows, kept = (
        duckdb.execute(f"SELECT count(*) FROM '{output}{files}'").fetchall()[0][0]
        for files in FOUND[kind]
    )
    if kept != rows - 3 * (rows // 20 - 1):
        sys.exit(f"{kind} kept {kept:,} of {rows:,} rows")
    return {
        "contestant": kind,
        "versions": versions(kind, python),
        "rows": rows,
        "wall_s": round(wall_s, 1),
        "peak_bytes": peak,
    }


def versions(kind: str, python: str) -> str:
    """Of what a contestant is made of."""
    packages = {"ours": ["duckdb", "pyarrow"], "duckdb": ["duckdb"], "spark": ["pyspark"]}[kind]
    script = f"from importlib.metadata import version; print(*map(version, {packages}))"
    found = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True)
    pairs = zip(packages, found.stdout.split(), strict=True)
    return ", ".join(f"{name} {number}" for name, number in pairs)


def print_table(runs: list[dict]) -> None:
    """Medians of all runs of each contestant, and ratios to ours."""
    by_kind = {kind: [run for run in runs if run["contestant"] == kind] for kind in CONTESTANTS}
    print(f"{runs[0]['rows']:,} rows, {os.cpu_count()} cores\n")
    print("| | rounds | wall | rows/s | peak memory | wall of ours | memory of ours |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    medians = {
        kind: [statistics.median(run[name] for run in found) for name in ("wall_s", "peak_bytes")]
        for kind, found in by_kind.items()
        if found
    }
    for kind, (wall_s, peak) in medians.items():
        ratios = [
            f"{value / ours:.1f} times"
            for value, ours in zip((wall_s, peak), medians.get("ours", []), strict=False)
        ]
        cells = [
            f"{kind} ({by_kind[kind][-1]['versions']})",
            str(len(by_kind[kind])),
            f"{wall_s:.1f} s",
            f"{runs[0]['rows'] / wall_s:,.0f}",
            f"{peak / 2**30:.2f} GiB",
            *(ratios or ["", ""]),
        ]
        print(f"| {' | '.join(cells)} |")


def measured(command: list[str]) -> tuple[float, int]:
    """Run a command; wall seconds, and peak bytes of memory of all its processes."""
    begin, peak = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, resident_bytes(process.pid))
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)[:200]}")
    return time.monotonic() - begin, peak


def resident_bytes(pid: int) -> int:
    """Memory of a process and its descendants; pages of files count once."""
    found = list(statm(pid))
    own = sum(resident - shared for resident, shared in found)
    return own + max((shared for _, shared in found), default=0)


def statm(pid: int) -> Iterator[tuple[int, int]]:
    """Resident bytes, and those of them that are pages of files, of each process."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    size = os.sysconf("SC_PAGE_SIZE")
    yield int(pages[1]) * size, int(pages[2]) * size
    for child in children:
        yield from statm(int(child))


def spark_python() -> Path:
    """The interpreter of an environment with pyspark, made on first use."""
    python = SPARK_ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", SPARK_ENVIRONMENT], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PYSPARK], check=True)
    return python


def trend(arguments: argparse.Namespace) -> None:
    """Measure pools of synthetic keys."""
    rows = arguments.rows
    print(f"{rows:,} keys for each partition, {DUPLICATES:.0%} of them seen before\n")
    print("| partitions | whole pool | keys a second | keys read | one further one | keys read |")
    print("|---:|---:|---:|---:|---:|---:|")
    for partitions in arguments.partitions:
        with tempfile.TemporaryDirectory() as folder:
            pool, new = one_pool(Path(folder), partitions, rows)
        print(
            f"| {partitions} | {pool.wall_s:.1f} s | {partitions * rows / pool.wall_s:,.0f}"
            f" | {pool.read_bytes / 1e6:,.0f} MB, {pool.read_files / partitions:.1f} times"
            f" | {new.wall_s:.2f} s | {new.read_bytes / 1e6:,.0f} MB |",
            flush=True,
        )


@dataclass
class Cost:
    """What deduplication took: seconds, key files opened, and their bytes."""

    wall_s: float = 0
    read_files: int = 0
    read_bytes: int = 0


def one_pool(root: Path, partitions: int, rows: int) -> tuple[Cost, Cost]:
    """The cost of a whole pool, and of one further partition."""
    import numpy as np

    from clip_assets import layout
    from clip_assets.dedup import passes, unique_pairs
    from clip_assets.graph import open_pool
    from clip_assets.partitions.ledger import PartitionPlan

    pool, generator = open_pool(str(root), create=True), np.random.default_rng(0)
    store = pool.store
    keys = [layout.partition_key(number) for number in range(partitions + 1)]
    seen = np.zeros((0, 2), np.uint64)
    for key in keys:
        fresh = generator.integers(0, 2**64 - 1, (rows, 2), np.uint64)
        again = min(int(rows * DUPLICATES), len(seen))
        fresh[:again] = seen[:again]
        seen = generator.permutation(fresh)[: rows // 2]
        write_raw(pool, key, fresh)
    compare_keys = passes.first_owners
    cost = Cost()

    def counting(run, earlier, targets):
        before = [*earlier, *targets[:-1]]
        for key in [*before, *targets] if before else []:
            cost.read_files += 1
            cost.read_bytes += store.size(layout.pair_keys(key))
        return compare_keys(run, earlier, targets)

    passes.first_owners = counting
    found = []
    for chosen in (range(partitions), [partitions]):
        begin, cost = time.monotonic(), Cost()
        for number in chosen:
            plan = PartitionPlan(keys[number], ())
            store.write_bytes(layout.plan(plan.partition), plan.content())
        seen_now = pool.renewed()
        for number in chosen:
            unique_pairs.unique_pairs(seen_now, keys[number])
        cost.wall_s = time.monotonic() - begin
        found.append(cost)
    passes.first_owners = compare_keys
    return found[0], found[1]


def write_raw(pool, key, digests) -> None:
    """A partition as ``raw_pairs`` leaves it, with short rows."""
    import numpy as np
    import pyarrow as pa

    from clip_assets import layout, schemas
    from clip_assets.pairs.raw_pairs import RAW_PAIRS
    from clip_assets.pool.stages import materialize
    from clip_assets.storage import tables
    from clip_assets.storage.manifests import Report

    order = np.lexsort((digests[:, 1], digests[:, 0]))
    columns = [digests[order, 0], digests[order, 1], order]
    key_table = pa.table([pa.array(column) for column in columns], schema=schemas.PAIR_KEYS)
    urls = pa.array([f"http://x/{number}" for number in range(len(digests))])
    rows = pa.table({"uid": urls, "url": urls, "caption": pa.nulls(len(digests), pa.string())})

    def work(run):
        with run.publish(layout.raw(key)) as part:
            tables.write_batches(part, rows.schema, rows.to_batches())
        with run.publish(layout.pair_keys(key)) as part:
            batches = key_table.to_batches(max_chunksize=16_384)
            tables.write_numbers(part, schemas.PAIR_KEYS, batches)
        return Report(len(digests), len(digests))

    materialize(pool, replace(RAW_PAIRS, inputs=lambda *_: {}), key, work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(required=True)
    generating = actions.add_parser("generate")
    generating.add_argument("folder", type=Path)
    generating.add_argument("--rows", type=int, default=5_000_000)
    generating.set_defaults(action=generate)
    comparing = actions.add_parser("compare")
    comparing.add_argument("folder", type=Path)
    comparing.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    comparing.add_argument("--rounds", type=int, default=3)
    comparing.set_defaults(action=compare)
    trending = actions.add_parser("trend")
    trending.add_argument("--partitions", type=int, nargs="+", default=[10, 50, 200])
    trending.add_argument("--rows", type=int, default=100_000)
    trending.set_defaults(action=trend)
    arguments = parser.parse_args()
    arguments.action(arguments)


if __name__ == "__main__":
    main()
