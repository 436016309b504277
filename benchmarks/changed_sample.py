"""What one changed sample of a partition costs: samples encoded and CPU seconds of every stage.

Two partitions of made-up tars are embedded and indexed; then a tar of one of them gains a sample,
as by a retry, and both are brought up to date. CPU seconds, as the wall tells of other work too.
Peers embed the whole again; the figures stand beside those of the first time.

    python benchmarks/changed_sample.py [--samples 1000] [--tars 10] [--model ViT-B-32]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from clip_assets import graph, layout
from clip_assets.layout import WHOLE, Key
from clip_assets.settings import InferenceSettings
from clip_assets.storage.store import Store
from clip_assets_tests.inference.shards import Pair, image_shards_of, made_up
from clip_assets_tests.upstream import MadeUp

STAGES = {
    layout.EMBEDDINGS: True,
    layout.INDEX_RECIPE: False,
    layout.INDEX_SEGMENTS: True,
    layout.FAISS_INDEX: False,
    layout.ID_MAPPING: False,
}
"""In order, and whether each is made for every partition."""

PARTITIONS = [layout.partition_key(number) for number in range(2)]


def settings(model: str, folder: Path) -> InferenceSettings:
    """The settings of the demo's model, or of an untrained one of open_clip's."""
    if model == "demo":
        return InferenceSettings(model=model)
    import open_clip
    import torch

    torch.manual_seed(0)
    weights = folder / "untrained.pt"
    torch.save(open_clip.create_model(model).state_dict(), weights)
    return InferenceSettings(model=model, pretrained=str(weights))


def shards(partition: int, samples: int, tars: int) -> list[list[Pair]]:
    """Samples of a partition, tar by tar."""
    pairs = [Pair(partition * samples + number) for number in range(samples)]
    return [pairs[first::tars] for first in range(tars)]


def round_of(made: MadeUp) -> dict[str, float]:
    """CPU seconds of every stage, and what was encoded."""
    pool = made.pool
    # Loading is not of a sample.
    pool.encoder()
    seconds: dict[str, float] = {}
    for name, is_partitioned in STAGES.items():
        start = time.process_time()
        for key in PARTITIONS if is_partitioned else [Key(WHOLE)]:
            graph.ASSETS[name].make(pool, key)
        seconds[f"{name}_cpu_s"] = round(time.process_time() - start, 2)
    return seconds


def main() -> None:
    """Measure and print as json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000, help="of a partition")
    parser.add_argument("--tars", type=int, default=10, help="of a partition")
    parser.add_argument("--model", default="demo")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        inference = settings(arguments.model, Path(folder))
        made = made_up(Store.open(str(Path(folder, "pool"))), inference)
        contents = [shards(n, arguments.samples, arguments.tars) for n in range(2)]
        recovered = contents[1][0].pop()
        for key, tars in zip(PARTITIONS, contents, strict=True):
            image_shards_of(made, key, tars)
        first = round_of(made)
        contents[1][0].append(recovered)
        image_shards_of(made, PARTITIONS[1], contents[1])
        again = round_of(made)
        reports = [made.pool.catalog.require(layout.EMBEDDINGS, key).report for key in PARTITIONS]
    kept = reports[1].figures["vectors_kept"]
    counts = {"samples": reports[1].rows_out, "encoded_again": reports[1].rows_out - kept}
    print(json.dumps({"first": first, "again": again} | counts, indent=1))


if __name__ == "__main__":
    main()
