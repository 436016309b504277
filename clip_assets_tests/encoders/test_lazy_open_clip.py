"""open_clip is imported without the compiler, and the compiler when somebody needs it."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from clip_assets.encoders.openclip import lazy_open_clip
lazy_open_clip.load()
import open_clip, torch, torchvision
assert open_clip.hf_model.transformers, "what else needs the compiler is imported whole"
assert "torch._dynamo" not in sys.modules
assert "wandb" not in sys.modules, "timm imports it"
import wandb
box = torch.tensor([[0.0, 0, 0, 2, 2]])
print(torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), box, 1).item())
print(torch.compile(torch.neg, backend="eager")(torch.ones(1)).item())
lazy_open_clip.load()
"""


def test_the_compiler_is_imported_only_when_somebody_needs_it() -> None:
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )

    assert found.stdout.split() == ["1.0", "-1.0"]


AT_ONCE = """
import sys
from threading import Thread
from clip_assets.encoders.openclip import lazy_open_clip
other = Thread(target=lazy_open_clip.load)
other.start()
while "open_clip" not in sys.modules:
    other.join(0.001)
lazy_open_clip.load()
print(hasattr(sys.modules["open_clip"], "create_model"))
other.join()
"""


def test_who_loads_beside_another_thread_waits_for_it() -> None:
    found = subprocess.run(
        [sys.executable, "-c", AT_ONCE], capture_output=True, text=True, check=True
    )

    assert found.stdout.split() == ["True"]


NEEDED = """
from clip_assets.encoders.openclip import lazy_open_clip
with lazy_open_clip.without_compiler():
    import torchvision
    import transformers.masking_utils
import torch
print(torch.compile(torch.neg, backend="eager")(torch.ones(1)).item())
"""


def test_what_needs_more_of_the_compiler_gets_it() -> None:
    found = subprocess.run(
        [sys.executable, "-c", NEEDED], capture_output=True, text=True, check=True
    )

    assert found.stdout.split() == ["-1.0"]


LOADED = """
import sys
from clip_assets.encoders.openclip import lazy_open_clip
lazy_open_clip.load()
print("open_clip" in sys.modules, "torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize(("value", "is_whole"), [("0", True), ("1", False)])
def test_a_variable_switches_the_stand_ins_off(value: str, is_whole: bool) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", LOADED],
        env=os.environ | {"CLIP_ASSETS_LAZY_COMPILER": value},
        capture_output=True,
        text=True,
        check=True,
    )

    assert printed.stdout.split() == ["True", str(is_whole)]
