"""The examples of docs/bricks.md run, one after the other."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from clip_assets import bricks
from clip_assets.encoders.encoder import Encoder
from clip_assets_tests.bricks.conftest import Shelf
from clip_assets_tests.pools import CHECKOUT

PAGE = (CHECKOUT / "docs/bricks.md").read_text()


def test_the_examples_run(
    shelf: Shelf,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shelf.table.parent)
    names: dict[str, Any] = {"pool": SimpleNamespace(encoder=lambda: encoder)}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/bricks.md", "exec"), names)
    [expected] = re.findall(r"# (42 .*)", PAGE)
    assert expected in capsys.readouterr().out
    assert len(list(bricks.from_vectors("fused-vectors"))) == 40
    assert len(list(bricks.from_vectors("vectors"))) == 40


def test_the_page_names_every_brick() -> None:
    assert [name for name in bricks.__all__ if f"`{name}" not in PAGE] == ["Brick", "Flow"]
