r"""Searching a published data set on a hub: ranges, bytes and seconds of a query.

A pool of the demo's model is made, see ``served_pool``, and published into a folder. A process of
its own serves the folder by the hub's protocol, each of its answers after ``--latency`` seconds;
a hub sends every request for a file on to another address, which is one answer more. Captions of
scenes that the pool has not are searched for, one after the other, each in a searcher that keeps
what it has read, and, as ``cold``, each when lists and vectors are forgotten before. Ranges and
bytes are those of the ids, and those with the rows of all results.

    python benchmarks/far_search.py build/far --rows 200000 --queries 100
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from clip_assets import layout, schemas

NAME = "we/pairs"

Ids = list[int]
Counted = tuple[int, int, int]
"""Requests, ranges and bytes."""


def published(folder: Path, rows: int, index_bytes: int | None) -> Path:
    """A pool's published folder, made if it is not there."""
    import served_pool

    from clip_assets import graph, settings
    from clip_assets.layout import WHOLE
    from clip_assets.pool.pool import Pool
    from clip_assets.publishing.hub_dataset import hub_dataset
    from clip_assets.stats.metadata_stats import metadata_stats

    if not folder.exists():
        served_pool.pool(folder, rows, index_bytes=index_bytes)
    opened = graph.open_pool(str(folder))
    hub = settings.HubSettings(repository=NAME)
    pool = Pool(opened.store, opened.settings.model_copy(update={"hub": hub}), graph.ASSETS)
    metadata_stats(pool, WHOLE)
    hub_dataset(pool.renewed(), WHOLE)
    return folder / layout.HUB


def serve(files: dict[str, Path], latency_s: float, asked: Connection) -> None:
    """A hub in a process of its own; tells its address, then requests, ranges and bytes."""
    from clip_assets_tests import servers

    with servers.hub() as hub:
        hub.files[NAME] = {name: path.read_bytes() for name, path in files.items()}
        hub.latency_s = latency_s
        asked.send(hub.url)
        while asked.recv():
            ranges = sum("/stored/" in told and "bytes=" in told for told in hub.requests)
            asked.send((len(hub.requests), ranges, hub.sent_bytes))
            hub.requests.clear()
            hub.sent_bytes = 0


def measured(
    searcher: Any, query: str, nearest: Ids, recall: float | None, count: Callable[[], Counted]
) -> tuple[float, ...]:
    """Seconds, requests, ranges and bytes of the ids, those with rows, and recall of a query."""
    k = len(nearest)
    count()
    began = time.monotonic()
    vector = searcher.vector(query)[None]
    ids = searcher.search_many(vector, k, kind="text", recall_target=recall).ids[0]
    requests, ranges, sent = count()
    searcher.values(ids, schemas.INDEX_ROWS.names)
    seconds = time.monotonic() - began
    more_requests, more_ranges, more_sent = count()
    assert len(ids) == k
    assert (ids >= 0).all()
    of_all = requests + more_requests, ranges, sent, ranges + more_ranges, sent + more_sent
    return (seconds, *of_all, len(set(nearest) & set(ids.tolist())) / k)


def forget(kept: Any) -> None:
    """Lists and vectors, but not footers."""
    for key in [key for key in kept._others if key[0] in ("list", "vector")]:
        kept._forget(kept._others, key)


def truth(folder: Path, searcher: Any, texts: Sequence[str], k: int) -> list[Ids]:
    """The ids of the nearest images of each text, best first, by comparing all."""
    partitions = [partition for _, partition in searcher.version.used]
    files = [folder.parent / layout.img_emb(partition) for partition in partitions]
    images = np.concatenate([np.load(file) for file in files]).astype(np.float32)
    similar = np.stack([searcher.vector(text) for text in texts]) @ images.T
    return [np.argsort(-row, kind="stable")[:k].tolist() for row in similar]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--results", type=int, nargs="+", default=[10])
    parser.add_argument("--recalls", type=float, nargs="+", default=[0.95])
    parser.add_argument("--index-bytes", type=int, help="memory of the index; few: short codes")
    parser.add_argument("--codes-alone", action="store_true", help="no whole vectors are found")
    parser.add_argument("--latency", type=float, default=0.05)
    return parser.parse_args()


def main() -> None:
    """Read the command line, measure, and print."""
    chosen = arguments()
    import fsspec
    import served_pool

    from clip_assets.publishing.vector_places import hub_places
    from clip_assets.publishing.version_file import as_published
    from clip_assets.retrieval.published_search import PublishedSearcher

    folder = published(chosen.folder.absolute(), chosen.rows, chosen.index_bytes)
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    if chosen.codes_alone:
        del files[as_published(hub_places())]
    context.Process(target=serve, args=(files, chosen.latency, theirs), daemon=True).start()
    fsspec.config.conf["hf"] = {"endpoint": ours.recv()}

    def count() -> tuple[int, int, int]:
        ours.send("count")
        return ours.recv()

    texts, _ = served_pool.queries(chosen.queries)
    began = time.monotonic()
    searcher = PublishedSearcher.at(f"hf://datasets/{NAME}")
    searcher.search("the model is loaded", 1)
    opening = (time.monotonic() - began, *count())
    print(f"opened, model loaded, first query: {opening[0]:.2f} s, {opening[1]} requests, ", end="")
    print(f"{opening[2]} ranges, {opening[3] / 1e6:.2f} MB")
    side = searcher._sides["image"]
    lists = side._far()
    nearest = truth(folder, searcher, texts, max(chosen.results))
    print("| k | recall asked | | p50 s | p95 s | most requests | most ranges, MB to find ", end="")
    print("| with rows | recall | told | of |")
    for k, target, name in product(chosen.results, chosen.recalls, ("kept", "cold")):
        told = []
        for text, near in zip(texts, nearest, strict=True):
            if name == "cold":
                forget(searcher._kept)
            told.append(measured(searcher, text, near[:k], target, count))
        seconds, requests, ranges, sent, all_ranges, all_sent, recall = np.array(told).T
        p50, p95 = np.quantile(seconds, [0.5, 0.95])
        reach = searcher.reach(k, "image", kind="text", recall_target=target)
        print(f"| {k} | {target} | {name} | {p50:.2f} | {p95:.2f} | {requests.max():.0f} ", end="")
        print(f"| {ranges.max():.0f}, {sent.max() / 1e6:.2f} ", end="")
        print(f"| {all_ranges.max():.0f}, {all_sent.max() / 1e6:.2f} ", end="")
        print(f"| {recall.mean():.3f} | {reach.recall_afar} | {reach.k} |", flush=True)
    print(f"kept: {searcher._kept.size_bytes / 1e6:.2f} MB")
    version = searcher.version
    if lists is not None:
        sizes = lists._sizes
        gap = searcher.reach(10, "image", kind="text").gap
        looked = [len(lists.looked_into(searcher.vector(text), gap)) for text in texts]
        print(
            f"{version.key}, {version.vectors:,} x {version.dim}: {len(sizes):,} lists of "
            f"{sizes.mean():.0f} vectors of {lists._code_size} + 8 bytes, a query looks into "
            f"{np.mean(looked):.1f}, at most {max(looked)}; head {lists._start / 1e6:.2f} MB"
        )
    ours.send("")


if __name__ == "__main__":
    main()
