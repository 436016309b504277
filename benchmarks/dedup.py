"""Our ingest and deduplication against Spark's and DuckDB's, and their cost as a pool grows.

Contestants read the same ``|`` csv files in LAION's form (50 files, three header layouts,
15 % duplicates) and write every row, then the unique ones, as parquet:

* ``ours``: ``raw_pairs`` and ``unique_pairs`` over partitions of a million rows;
* ``spark``: pyspark, the steps of LAION's cah_stats_spark.py: align the columns of each header
  layout by name, cast, union, write, ``dropDuplicates(["URL", "TEXT"])``, write;
* ``duckdb``: the same two files by ``read_csv`` and ``SELECT DISTINCT ON (url, text)``.

Peak memory is the largest sum of resident memory over a contestant's processes, sampled five
times a second. pyspark comes from an environment of its own, made on first use.

``trend`` measures ``unique_pairs`` alone on synthetic keys for pools of more and more
partitions: the whole pool, and one new partition.

    python benchmarks/dedup.py compare --rows 5000000
    python benchmarks/dedup.py compare --rows 50000000 --only ours duckdb
    python benchmarks/dedup.py trend --partitions 10 50 200 --rows 100000
"""

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

FILES = 50
DUPLICATES = 0.15
LAYOUTS = (
    ("SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity"),
    ("SAMPLE_ID", "URL", "TEXT", "LICENSE", "similarity"),
    ("URL", "TEXT", "WIDTH", "HEIGHT", "similarity", "hash"),
)
PYSPARK = "pyspark==4.0.1"

OURS = """
import sys
from concurrent.futures import ProcessPoolExecutor
from clip_assets.dedup.unique import unique_pairs
from clip_assets.pairs.ingest import raw_pairs
from clip_assets.partitions.ledger import add_sources
from clip_assets.settings import Sources
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

def raw(key):
    raw_pairs(Catalog(Store.open(sys.argv[2])), key, Sources())

def unique(number):
    unique_pairs(Catalog(Store.open(sys.argv[2])), keys[number], keys[:number])

if __name__ == "__main__":
    store = Store.open(sys.argv[2])
    keys = [p.partition for p in add_sources(store, [sys.argv[1]], Sources()).plans]
    with ProcessPoolExecutor(int(sys.argv[3])) as pool:
        list(pool.map(raw, keys))
    with ProcessPoolExecutor(int(sys.argv[3])) as pool:
        list(pool.map(unique, range(len(keys))))
"""

DUCKDB = """
import glob, sys
import duckdb
database = duckdb.connect(f"{sys.argv[2]}.db")
database.execute("SET temp_directory = '" + sys.argv[2] + ".tmp'")
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

WORDS = """
a photo of the red blue car house dog cat sunset beach city vintage old new poster print
canvas wall art for sale men women shoes dress kids toy handmade wooden table lamp
""".split()  # noqa: SIM905


def generate(folder: Path, rows: int) -> None:
    """Write the csv files; one row in 1,000 has a newline and quotes in its caption."""
    seeded = random.Random(0)
    recent: list[tuple[str, str]] = []
    for number in range(FILES):
        names = LAYOUTS[number % len(LAYOUTS)]
        with (folder / f"{number:03d}.csv").open("w", newline="") as file:
            writer = csv.writer(file, delimiter="|", lineterminator="\n")
            writer.writerow(names)
            for row in range(rows // FILES):
                if recent and seeded.random() < DUPLICATES:
                    url, text = recent[seeded.randrange(len(recent))]
                else:
                    url = f"https://cdn{seeded.randrange(5000)}.example.com/img/"
                    url += f"{seeded.getrandbits(64):016x}.jpg"
                    text = " ".join(seeded.choices(WORDS, k=seeded.randint(3, 14)))
                    text += '\nsaid "so"' if row % 1000 == 0 else ""
                    if len(recent) < 200_000:
                        recent.append((url, text))
                    else:
                        recent[seeded.randrange(len(recent))] = (url, text)
                values = {
                    "SAMPLE_ID": seeded.getrandbits(40), "URL": url, "TEXT": text,
                    "HEIGHT": seeded.randint(50, 2000), "WIDTH": seeded.randint(50, 2000),
                    "LICENSE": "?", "NSFW": "UNLIKELY", "hash": seeded.getrandbits(60),
                    "similarity": f"{seeded.uniform(0.2, 0.5):.6f}",
                }  # fmt: skip
                writer.writerow([values[name] for name in names])


def measured(command: list[str]) -> tuple[float, int]:
    """Run a command; wall seconds, and peak bytes of resident memory of all its processes."""
    begin, peak = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, resident_bytes(process.pid))
        time.sleep(0.2)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)[:200]}")
    return time.monotonic() - begin, peak


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident_bytes(int(c)) for c in children)


def spark_python(folder: Path) -> str:
    """The interpreter of an environment with pyspark, made on first use."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PYSPARK], check=True)
    return str(python)


def unique_rows(kind: str, output: Path) -> int:
    """Rows that a contestant kept."""
    import duckdb

    pattern = {
        "ours": f"{output}/unique/*.parquet",
        "duckdb": f"{output}-unique.parquet",
        "spark": f"{output}-unique/*.parquet",
    }[kind]
    return duckdb.execute(f"SELECT count(*) FROM '{pattern}'").fetchall()[0][0]


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    sources = folder / "sources"
    sources.mkdir()
    generate(sources, arguments.rows)
    size = sum(path.stat().st_size for path in sources.iterdir())
    print(f"{arguments.rows:,} rows, {size / 1e6:,.0f} MB of csv, {os.cpu_count()} cores")
    scripts: dict[str, Callable[[], tuple[str, str]]] = {
        "ours": lambda: (sys.executable, OURS),
        "duckdb": lambda: (sys.executable, DUCKDB),
        "spark": lambda: (spark_python(arguments.spark_environment), SPARK),
    }
    for kind in arguments.only:
        python, script = scripts[kind]()
        path, output = folder / f"run_{kind}.py", folder / kind
        path.write_text(script)
        command = [python, str(path), str(sources), str(output), str(arguments.workers)]
        wall_s, peak = measured(command)
        kept = unique_rows(kind, output)
        print(
            f"{kind:8} {wall_s:8.1f} s {arguments.rows / wall_s:12,.0f} rows/s"
            f" {peak / 2**30:6.2f} GiB {kept:,} unique rows",
            flush=True,
        )


def trend(arguments: argparse.Namespace, folder: Path) -> None:
    print(f"{arguments.rows:,} keys for each partition, {DUPLICATES:.0%} of them seen before")
    for partitions in arguments.partitions:
        pool_s, new_s, read = one_pool(folder / str(partitions), partitions, arguments.rows)
        print(
            f"{partitions:5} partitions: whole pool {pool_s:8.1f} s"
            f" ({partitions * arguments.rows / pool_s:11,.0f} rows/s,"
            f" key files read {read / partitions:.2f} times),"
            f" one new partition {new_s:6.2f} s",
            flush=True,
        )


def one_pool(root: Path, partitions: int, rows: int) -> tuple[float, float, int]:
    """Seconds for a pool, seconds for a further partition, and key files that the pool opened."""
    import numpy as np

    from clip_assets import layout
    from clip_assets.dedup import passes, unique
    from clip_assets.storage.manifests import Catalog
    from clip_assets.storage.store import Store

    store, generator = Store.open(str(root)), np.random.default_rng(0)
    keys = [layout.partition_key(number) for number in range(partitions + 1)]
    seen = np.zeros((0, 2), np.uint64)
    for key in keys:
        fresh = generator.integers(0, 2**64 - 1, (rows, 2), np.uint64)
        again = min(int(rows * DUPLICATES), len(seen))
        fresh[:again] = seen[:again]
        seen = generator.permutation(fresh)[: rows // 2]
        write_raw(store, key, fresh)
    opened = 0
    compare_keys = passes.first_owners

    def counting(run, earlier, targets):
        nonlocal opened
        opened += len(earlier) + 2 * len(targets) - 1
        return compare_keys(run, earlier, targets)

    passes.first_owners = counting
    seconds = []
    for chosen in (range(partitions), [partitions]):
        begin = time.monotonic()
        for number in chosen:
            store.write_bytes(layout.plan(keys[number]), b"")
        catalog = Catalog(store)
        for number in chosen:
            unique.unique_pairs(catalog, keys[number], keys[:number])
        seconds.append(time.monotonic() - begin)
    passes.first_owners = compare_keys
    return seconds[0], seconds[1], opened - partitions - 1


def write_raw(store, key, digests) -> None:
    """A partition as ``raw_pairs`` leaves it, with short rows."""
    import numpy as np
    import pyarrow as pa

    from clip_assets import layout
    from clip_assets.pairs.ingest import RAW_PAIRS
    from clip_assets.storage import tables
    from clip_assets.storage.manifests import Catalog, Report
    from clip_assets.storage.stages import materialize

    order = np.lexsort((digests[:, 1], digests[:, 0]))
    columns = [digests[order, 0], digests[order, 1], order]
    key_table = pa.table([pa.array(column) for column in columns], schema=layout.PAIR_KEYS)
    urls = pa.array([f"http://x/{number}" for number in range(len(digests))])
    rows = pa.table({"uid": urls, "url": urls, "caption": pa.nulls(len(digests), pa.string())})

    def work(run):
        with run.publish(layout.raw(key)) as part:
            tables.write_batches(part, rows.schema, rows.to_batches())
        with run.publish(layout.pair_keys(key)) as part:
            batches = key_table.to_batches(max_chunksize=16_384)
            tables.write_batches(part, layout.PAIR_KEYS, batches, "none")
        return Report(len(digests), len(digests))

    materialize(Catalog(store), RAW_PAIRS, key, {}, work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary one")
    actions = parser.add_subparsers(required=True)
    comparing = actions.add_parser("compare")
    comparing.add_argument("--rows", type=int, default=5_000_000)
    comparing.add_argument("--only", nargs="+", default=["ours", "duckdb", "spark"])
    comparing.add_argument("--workers", type=int, default=os.cpu_count())
    comparing.add_argument("--spark-environment", type=Path, default=Path(".tools/spark"))
    comparing.set_defaults(action=compare)
    trending = actions.add_parser("trend")
    trending.add_argument("--partitions", type=int, nargs="+", default=[10, 50, 200])
    trending.add_argument("--rows", type=int, default=100_000)
    trending.set_defaults(action=trend)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dedup-", dir=arguments.folder) as folder:
        arguments.action(arguments, Path(folder))


if __name__ == "__main__":
    main()
