"""The examples of docs/streaming.md run, one after the other, in the folder of a demo pool."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clip_assets import Pool
from clip_assets_tests.pools import CHECKOUT

PAGE = (CHECKOUT / "docs/streaming.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_run(
    demo_pool: Pool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(demo_pool.store.base).parent)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/streaming.md", "exec"), names)
    assert len(names["again"]) == len(names["loader"]) - 1 == 6
    assert sum(len(rows) for rows in names["wanted"].rows) > 100
    assert names["kept"].data >= 48
    printed = capsys.readouterr().out
    assert printed.count("torch.Size([16, 3, 224, 224]) 12\n") == 3
    for told in ("torch.Size([32, 3, 224, 224]) torch.uint8", "\n20\n", "torch.float32"):
        assert told in printed


def test_nothing_heavy_is_imported_before_a_batch_is_made() -> None:
    program = (
        "import sys\n"
        "from clip_assets import streaming\n"
        "for name in streaming.__all__: getattr(streaming, name)\n"
        "sys.exit(str({'torch', 'cv2', 'faiss'} & {*sys.modules}))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert told.stderr.strip() == "set()"
