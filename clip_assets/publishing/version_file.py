"""The file that says what published indices are, for whoever searches them where they lie.

It has the index version of the pool without what is not published, and the name of the model. It
is read by ``retrieval.published_search``.
"""

import itertools
import json
from collections.abc import Mapping

from clip_assets import layout
from clip_assets.pool.stages import StageRun


@layout.artifact(layout.HUB_DATASET)
def hub_version() -> str:
    """What the published indices are: ranges of ids, how far to look, the model."""
    return f"{layout.HUB}/faiss/version.json"


def as_published(path: str) -> str:
    """Where a file of the published folder lies for whoever has that folder alone."""
    return path.removeprefix(f"{layout.HUB}/")


def publish(run: StageRun, name: str, held: Mapping[int, int]) -> None:
    """Publish it.

    Args:
        run: of ``hub_dataset``.
        name: of the index version.
        held: rows that are published of each range of ids, by its number.
    """
    version = json.loads(run.store.read_bytes(layout.index_manifest(name)))
    for number, slot in enumerate(version["slots"]):
        if not held.get(number):
            slot["content"] = None
        elif slot["content"]:
            slot["content"]["vectors"] = held[number]
    version["vectors"] = sum(held.values())
    for side, kinds in version["reach"].items():
        if f"{side}_embedding" not in run.pool.settings.hub.columns:
            for known in itertools.chain(*kinds.values()):
                known["lost_afar"] = None  # no vector puts right what codes find
    owner = run.pool.owner
    told = {
        "version": version,
        "model": owner.name if owner else "",
        "pretrained": owner.pretrained if owner else None,
    }
    with run.publish(hub_version()) as part:
        part.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
