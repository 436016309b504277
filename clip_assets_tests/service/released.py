"""clip-retrieval as it was released: files of its wheel, which ``make test`` unpacks."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

RELEASED = Path(sys.prefix, "clip-retrieval")


def released(path: str) -> Path:
    """A file or folder of the release."""
    if not (RELEASED / path).exists():
        pytest.fail(f"{RELEASED / path} is missing; run: make test, or make {RELEASED}")
    return RELEASED / path


@cache
def module_of(name: str) -> ModuleType:
    """One of its modules alone: its package imports models."""
    spec = importlib.util.spec_from_file_location(name, released(f"clip_retrieval/{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
