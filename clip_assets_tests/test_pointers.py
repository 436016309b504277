"""What a module's docstring points to is there."""

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import clip_assets

ROOT = Path(clip_assets.__file__).parents[1]
NAME = re.compile(r"``([a-z_]+(?:[.]\w+)*)``")
"""A name that can be a module's: no digits, and not the capitals of classes and constants."""

FILES = (".yaml", ".json", ".html")
STOCK = {"eager", "on_cron"}
"""Dagster's own conditions."""


def dotted(path: Path) -> str:
    """The name a module is imported by."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): path for path in sorted(Path(clip_assets.__file__).parent.rglob("*.py"))}


@cache
def spoken_of(path: Path) -> set[str]:
    """Names that a module's code uses, defines or imports."""
    fields = ("id", "attr", "arg", "name")
    nodes = list(ast.walk(ast.parse(path.read_text())))
    found = {getattr(node, field, None) for node in nodes for field in fields}
    return {name for name in found if isinstance(name, str)}


def is_there(name: str, module: str) -> bool:
    """Whether a name that a module's docstring has can be followed."""
    around = module.split(".")
    for depth in range(len(around) + 1):
        target = ".".join([*around[:depth], name])
        owner, _, attribute = target.rpartition(".")
        if target in MODULES or (owner in MODULES and attribute in spoken_of(MODULES[owner])):
            return True
    head, dot, _ = name.partition(".")
    return bool(dot) and f"clip_assets.{head}" not in MODULES and find_spec(head) is not None


def test_names_in_a_modules_docstring_lead_somewhere() -> None:
    lost = [
        (module, name)
        for module, path in MODULES.items()
        for name in NAME.findall(ast.get_docstring(ast.parse(path.read_text())) or "")
        if len(name) > 1 and not name.endswith(FILES) and name not in STOCK
        if not is_there(name, module)
    ]
    assert lost == []


def test_names_in_the_project_file_lead_somewhere() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert set(re.findall(r"\bclip_assets(?:[.][a-z_]+)+", text)) <= set(MODULES)
