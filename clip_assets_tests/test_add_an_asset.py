"""The guide for a new asset is followed to the letter, in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from clip_assets_tests.pools import CHECKOUT

PAGE = (CHECKOUT / "docs/add-an-asset.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FILES = re.findall(r"^`(clip_assets/[\w/]+\.py)`", PAGE, re.MULTILINE)

LINES = re.findall(r"^ (.+\n)\+(.+\n)", PAGE, re.MULTILINE)
"""Lines of the graph's module, each with the line that is added behind it."""

LOOK = """
import json, runpy, sys
from clip_assets import dataset  # before anything that imports the stages
import dagster as dg
import numpy as np
import pyarrow as pa
from clip_assets import graph, layout, schemas
from clip_assets.definitions import build_defs
from clip_assets.encoders.identity import claim_model
from clip_assets.orchestration.resources import PoolResource
from clip_assets.orchestration.runs import PoolRun
from clip_assets.pool.pool import Pool
from clip_assets.storage import tables, vectors
from clip_assets.storage.store import Store
from clip_assets_tests.upstream import MadeUp

root, docs = sys.argv[1:]
made = MadeUp(Store.open(root), inference={"model": "demo", "pretrained": None}, devices="none")
encoder = made.pool.encoder()
claim_model(made.store, encoder.identity)
key = layout.partition_key(0)
uids = ["1" * 32, "2" * 32]
images = encoder.encode_text(["a beautiful picture", "an ugly picture"])
rows = [{"uid": uid, "image_path": uid, "key": uid} for uid in uids]
made.make(layout.EMBEDDINGS, key, 2, {
    layout.img_emb(key): lambda part: vectors.write(part, [images], *images.shape),
    layout.embedding_rows(key): lambda part: tables.write(
        part, pa.Table.from_pylist(rows, schemas.EMBEDDING_ROWS)
    ),
})
asset = graph.ASSETS["aesthetic_scores"]
pool = graph.open_pool(root)
told = {"before": asset.state(pool, key), "order": list(graph.ASSETS)}
defs = build_defs(PoolResource(root=root))
dg.Definitions.validate_loadable(defs)
with dg.DagsterInstance.ephemeral() as instance:
    summary = PoolRun(defs, PoolResource(root=root), instance).run(asset.name, "all")
    recorded = instance.get_materialized_partitions(dg.AssetKey(asset.name))
told |= {"failures": summary.failures, "recorded": sorted(recorded)}
told["after"] = asset.state(pool.renewed(), key)
[spec] = [spec for spec in defs.resolve_all_asset_specs() if spec.key == dg.AssetKey(asset.name)]
told["deps"] = [dep.asset_key.to_user_string() for dep in spec.deps]
told["columns"] = [column.name for column in spec.metadata["dagster/column_schema"].columns]
told["condition"] = spec.automation_condition.get_label()
told["checks"] = [
    check.name
    for node in defs.resolve_asset_graph().assets_defs
    for check in node.check_specs if check.asset_key == spec.key
]
told["made_by"] = layout.made_by("aesthetic_scores/00000.parquet")
build = runpy.run_path(docs)
told["picture"], told["page"] = build["graph_block"](), build["layout_page"]()
told["rows"] = dataset(pool.renewed(), "aesthetic_rows").to_table().to_pylist()
print(json.dumps(told))
"""


def built(folder: Path) -> list[Path]:
    """A copy of the package with the asset of the page; returns its two files."""
    package = folder / "clip_assets"
    shutil.copytree(CHECKOUT / "clip_assets", package, ignore=shutil.ignore_patterns("__pycache__"))
    written = [folder / name for name in FILES]
    for path, content in zip(written, BLOCKS, strict=True):
        assert not path.exists(), "a new file"
        path.write_text(content)
    graph = package / "graph.py"
    assert len(LINES) == 2, "its import, and the line"
    for line, added in LINES:
        text = graph.read_text()
        assert text.count(line) == 1
        graph.write_text(text.replace(line, line + added))
    return written


def test_two_files_and_one_line_make_an_asset(tmp_path: Path) -> None:
    files = built(tmp_path)
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for check in (["check"], ["format", "--check"]):
        lint = [sys.executable, "-m", "ruff", *check, "--no-cache", *map(str, files)]
        linted = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert linted.returncode == 0, linted.stdout + linted.stderr
    paths = os.pathsep.join([str(tmp_path), str(CHECKOUT)])
    settings = tmp_path / "pool.yaml"
    settings.write_text("inference: {model: demo, pretrained: null}\ndevices: none\n")
    looked = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path / "pool"), str(CHECKOUT / "docs/build.py")],
        env=os.environ | {"PYTHONPATH": paths, "CLIP_ASSETS_POOL": str(settings)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert looked.returncode == 0, looked.stderr
    told = json.loads(looked.stdout.splitlines()[-1])
    assert (told["before"], told["after"]) == ("missing", "done")
    assert told["failures"] == {}
    assert told["recorded"] == ["00000"]
    assert told["order"].index("aesthetic_scores") > told["order"].index("embeddings")
    assert told["deps"] == ["embeddings"]
    assert told["columns"] == ["uid", "aesthetic_score"]
    assert told["condition"] == "fill missing"
    assert sorted(told["checks"]) == ["files_are_whole", "rows_add_up"]
    assert told["made_by"] == "aesthetic_scores"
    assert "embeddings --> aesthetic_scores" in told["picture"]
    assert "| `aesthetic_scores/<partition>.parquet` | `aesthetic_rows` |" in told["page"]
    good, bad = told["rows"]
    assert good["aesthetic_score"] > 0 > bad["aesthetic_score"]
