"""The words of docs/vocabulary.md, in the code of the package."""

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import clip_assets
from clip_assets import layout
from clip_assets.graph import ASSETS
from clip_assets.pool.pool import Pool
from clip_assets_tests.pools import CHECKOUT

PACKAGE = Path(clip_assets.__file__).parent
MODULES = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
PAGE = (CHECKOUT / "docs/vocabulary.md").read_text()

TWICE = {
    # a command's module is called as the command, a declaration's as its assets
    "doctor", "embeddings", "images", "index", "search", "status", "verify",
    # each of two packages has one of the kind, and the package says of what
    "faults", "identity", "listing", "opening", "pictures", "pipeline", "reading",
    "report", "sources", "summary",
}  # fmt: skip
"""Names that more than one module has; no others may follow."""

BANNED = {"look", "modality", "img", "res", "tmp", "obj", "stuff", "helper", "utils", "misc"}
"""Words that the vocabulary has another one for, or that say nothing."""


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', '')}"


def named(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every name that a module gives: to variables, parameters, functions and classes."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node
            case _:
                pass


def test_a_class_has_a_name_of_its_own() -> None:
    classes = Counter(
        node.name
        for tree in MODULES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in classes.items() if times > 1] == []


def test_a_module_has_a_name_of_its_own() -> None:
    modules = Counter(path.stem for path in MODULES if path.stem != "__init__")
    assert {name for name, times in modules.items() if times > 1} == TWICE


def test_banned_words_name_nothing() -> None:
    assert [
        f"{where(path, node)} {name}"
        for path, tree in MODULES.items()
        for name, node in named(tree)
        if name in BANNED
    ] == []


def test_found_is_what_an_error_found() -> None:
    """A variable has the name of what it holds; ``found`` is handed to an error, at once."""
    functions = [
        (path, node)
        for path, tree in MODULES.items()
        if path.name != "errors.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and "found" in {arg.arg for arg in node.args.args}
    ]
    assert functions
    assert [where(p, node) for p, node in functions if "Error" not in ast.unparse(node)] == []
    assert [
        where(path, node)
        for path, tree in MODULES.items()
        for name, node in named(tree)
        if name == "found" and isinstance(node, ast.Name)
    ] == []


def test_a_part_is_a_file_that_is_not_published() -> None:
    """It is given by a ``with`` or made of a path; as a parameter it is a ``Path``."""
    strange: list[str] = []
    for path, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.comprehension | ast.For) and "part" in names(node.target):
                strange.append(where(path, node.target))
            if isinstance(node, ast.arg) and node.arg == "part":
                annotation = ast.unparse(node.annotation) if node.annotation else "nothing"
                strange += [] if annotation == "Path" else [where(path, node)]
    # Those that dead processes left are such files as well.
    assert [place for place in strange if not place.startswith("storage/leftovers.py:")] == []


def names(target: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def test_the_page_has_the_words_of_the_code() -> None:
    words = set(re.findall(r"^\| ([\w -]+) \|", PAGE, re.MULTILINE)) - {"word"}
    fields = {"axis", "inputs", "heeds"}
    assert fields <= words
    assert fields <= {*inspect.signature(type(next(iter(ASSETS.values())))).parameters}
    assert {"store", "plan", "partition", "key"} <= words
    assert {*inspect.signature(Pool).parameters} >= {"store", "settings"}
    assert set(layout.SIDES) <= set(re.findall(r"`(\w+)`", PAGE))


@pytest.mark.parametrize("word", sorted(set(re.findall(r"`([A-Z]\w+)`", PAGE)) - {"WHOLE"}))
def test_a_class_of_the_page_is_one_of_the_code(word: str) -> None:
    classes = {
        name
        for tree in MODULES.values()
        for name, node in named(tree)
        if isinstance(node, ast.ClassDef)
    }
    assert word in classes


def test_a_word_is_explained_once() -> None:
    words = re.findall(r"^\| ([\w -]+) \|", PAGE, re.MULTILINE)
    assert [word for word, times in Counter(words).items() if times > 1 and word != "word"] == []
