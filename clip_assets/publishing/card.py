"""The card of a published data set, for people; what programs read is written by ``croissant``.

Whatever strangers wrote stands in it as text: a caption is no link, no markup and no script.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from clip_assets import layout, meanings
from clip_assets.settings import HubSettings

SHOWN = 5
"""Captions that a card shows."""

LISTED = 12
"""Lines of a table of counts."""

LONGEST = 120
"""Characters of what strangers wrote that are shown."""

_MARKS = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:@/])")

_SIZES = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6,
          "1M<n<10M": 10**7, "10M<n<100M": 10**8, "100M<n<1B": 10**9}  # fmt: skip

_VECTOR = "unit vector of the {} by the model, float16"


@dataclass(frozen=True)
class Facts:
    """What card and metadata tell.

    Args:
        settings: what the pool's owner says, and which columns there are.
        counts: the pool's statistics, as ``layout.stats`` has them.
        version: the index version, as ``layout.index_manifest`` has it.
        rows: that are published.
        left_out: rows that are not, as their use is reserved.
        taken_down: rows that are not, as somebody asked for it.
        captions: some, as they are.
    """

    settings: HubSettings
    counts: Mapping[str, Any]
    version: Mapping[str, Any]
    rows: int
    left_out: int
    taken_down: int
    captions: Sequence[str]


def plain(text: str) -> str:
    """What a stranger wrote, to stand in markdown as nothing but text, on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    short = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    return _MARKS.sub(r"\\\1", html.escape(short, quote=False))


def card(told: Facts) -> str:
    """The card, in markdown with a head in yaml, as hubs read it."""
    settings = told.settings
    name = settings.repository.rpartition("/")[2]
    about = settings.about or "Pairs of an image's address and a caption, from the web."
    contact = settings.contact or "the discussions of this repository"
    blocks = [
        f"---\n{yaml.safe_dump(_front(told), sort_keys=False)}---",
        f"# {plain(name)}",
        about,
        f"{told.rows:,} rows with a CLIP model's vectors of images and captions, a faiss index of "
        "each, and the row of every vector id. Images are not in it: their addresses are.",
        _counts("What became of the pairs", told.counts.get("status", {})),
        f"{told.left_out:,} rows are left out because their owners reserve their use."
        if settings.leave_out_opt_outs
        else "Rows whose owners reserve their use are not left out.",
        f"{told.taken_down:,} rows were taken down." if told.taken_down else "",
        "## Model\n\n"
        f"{plain(str(told.version['model_name']))}, {told.version['dim']} dimensions, vectors of "
        "length 1. Queries have to be of the same model.",
        "## Licence\n\n"
        f"The table: {plain(settings.license)}. The images and captions are their owners'. What "
        "sources say of images:",
        _counts("", told.counts.get("license", {})) if "license" in settings.columns else "",
        _columns(settings),
        _loading(settings),
        _recall(told.version),
        _examples(told.captions),
        f"## Takedown\n\nTo have a row removed, name its uid or url to {plain(contact)}.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _front(told: Facts) -> dict[str, Any]:
    size = next((name for name, most in _SIZES.items() if told.rows < most), "n>1B")
    return {
        "license": told.settings.license,
        "pretty_name": told.settings.repository.rpartition("/")[2],
        "size_categories": [size],
        "tags": ["clip", "faiss", "image-text"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/*.parquet"}],
                "default": True,
            },
            {
                "config_name": layout.ID_MAPPING,
                "data_files": [{"split": "train", "path": f"{layout.ID_MAPPING}/*.parquet"}],
            },
        ],
    }


def _counts(title: str, counts: Mapping[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])
    lines = [f"| {plain(name)} | {count:,} |" for name, count in most[:LISTED]]
    rest = sum(count for _, count in most[LISTED:])
    lines += [f"| others | {rest:,} |"] if rest else []
    heading = f"## {title}\n\n" if title else ""
    return heading + "\n".join(["| | pairs |", "|---|---:|", *lines]) if lines else ""


def fields(settings: HubSettings) -> dict[str, str]:
    """Every published column and what it means."""
    sides = {f"{side}_embedding": _VECTOR.format(side) for side in ("image", "text")}
    names = ["i", "uid", *settings.columns]
    told = {**meanings.COLUMNS} | {"i": "vector id in the indices", "text_embedding": ""}
    return {name: sides.get(name) or told.get(name, "") for name in names}


def _columns(settings: HubSettings) -> str:
    lines = [f"| `{name}` | {meaning} |" for name, meaning in fields(settings).items()]
    return "\n".join(["## Columns", "", "| column | |", "|---|---|", *lines])


def _loading(settings: HubSettings) -> str:
    place = settings.repository
    return f"""## How to load

```python
from datasets import load_dataset

rows = load_dataset("{place}", split="train", streaming=True)
```

```sql
SELECT * FROM 'hf://datasets/{place}/data/*.parquet' LIMIT 10;
```

The indices are faiss' own: `faiss.read_index("faiss/image.index")`. The ids that a search gives are
column `i` of the rows and of `{layout.ID_MAPPING}`."""


def _recall(version: Mapping[str, Any]) -> str:
    """What searches of the index find of what an exact one finds, as it was measured."""
    lines = [
        f"| {side} | {kind} | {reach.get('k', 10)} | {reach['target']:g} "
        f"| {reach['recall']:.3f} | {reach['scanned']:.1%} |"
        for side, kinds in version.get("reach", {}).items()
        for kind, reaches in kinds.items()
        for reach in reaches
    ]
    if not lines:
        return ""
    head = ["## Recall", "", f"Index: {plain(str(version['key']))}.", ""]
    columns = [
        "| index of | queries | of the nearest | aimed at | found | of all vectors scanned |",
        "|---" * 6 + "|",
    ]
    return "\n".join([*head, *columns, *lines])


def _examples(captions: Sequence[str]) -> str:
    lines = [f"* {plain(caption)}" for caption in captions]
    return "\n".join(["## Some captions", "", *lines]) if lines else ""
