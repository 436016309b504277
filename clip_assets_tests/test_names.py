"""An asset's name is spelled in ``layout`` alone, and figures are read by people alone."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import clip_assets
from clip_assets import graph
from clip_assets_tests.pools import CHECKOUT

PACKAGE = Path(clip_assets.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
CHECKED = [
    path
    for path in (*MODULES, *sorted((CHECKOUT / "benchmarks").glob("*.py")))
    if path != PACKAGE / "layout.py"
]

COMPOUND = [name for name in graph.ASSETS if "_" in name]
"""Names that are no words: they mean the asset wherever they stand."""

WORDS = [name for name in graph.ASSETS if "_" not in name]
"""Names that are words too: alone they mean the asset, and where a selection may stand."""

SPELLED = re.compile(
    rf"(?<![\w.])({'|'.join(COMPOUND)})(?!\w)"
    rf"|(?<![\w.])[*+]?({'|'.join(WORDS)})(?=[+*/])"
    rf"|[*+]({'|'.join(WORDS)})(?!\w)"
    rf"|--select ({'|'.join(WORDS)})(?!\w)"
    rf"|^({'|'.join(WORDS)})$"
)

EQUAL_BY_CHANCE = {
    ("__init__.py", "embeddings"),  # a function of the package's surface
    ("settings/__init__.py", "subsets"),  # a setting
    ("settings/choices.py", "subsets"),  # likewise
    ("status.py", "subsets"),  # a key of the report, beside those of the other axes
    ("service/v1/file_endpoints.py", "embeddings"),  # a field of an answer
}

COLUMNS = {"aesthetic"}
"""Assets that have the name of the column that they fill, which sources have, too."""


def constants(tree: ast.AST) -> Iterator[str]:
    """Every text of a module that is no docstring; those of programs in texts, too."""
    told = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            program = _parsed(node.value)
            yield from constants(program) if program else [node.value]


def _parsed(text: str) -> ast.AST | None:
    """A text of several lines as a program, if it is one."""
    if "\nimport " not in text and "\nfrom " not in text:
        return None
    try:
        return ast.parse(text)
    except SyntaxError:
        return None


@cache
def spelled(path: Path) -> set[tuple[str, str]]:
    """Names of assets that a module spells: itself and the name."""
    where = str(path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else CHECKOUT))
    texts = constants(ast.parse(path.read_text()))
    return {(where, next(filter(None, m.groups()))) for t in texts for m in SPELLED.finditer(t)}


def test_no_asset_is_named_but_by_the_constants_of_the_layout() -> None:
    found = {one for path in CHECKED for one in spelled(path) if one[1] not in COLUMNS}
    assert found - EQUAL_BY_CHANCE == set()


def test_every_exception_is_needed() -> None:
    assert {*EQUAL_BY_CHANCE} <= {found for path in MODULES for found in spelled(path)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("raw_pairs", ["raw_pairs"]),
        ("unique_pairs/pass", ["unique_pairs"]),
        ("Run: clip-assets run --select index_segments+", ["index_segments"]),
        ("such as '*embeddings': it", ["embeddings"]),
        ("--select embeddings --partition", ["embeddings"]),
        ("embeddings", ["embeddings"]),
        ("subsets/no_filter", ["subsets"]),
        ("rows of the same embeddings", []),
        ("clip_assets.dedup.unique_pairs", []),
        ("my_raw_pairs_2", []),
    ],
)
def test_a_name_is_found_where_it_means_the_asset(text: str, names: list[str]) -> None:
    found = [next(filter(None, match.groups())) for match in SPELLED.finditer(text)]
    assert found == names


READERS = {
    "orchestration/reports.py",  # a materialization's metadata, for people
    "commands/models.py",  # a line for the user of `clip-assets embed`, whose report is no stage's
    "index/index_recipe.py",  # pictures that are drawn again: no time is twice the same
}
"""Modules that show figures to people."""


def reads_of_figures(path: Path) -> list[str]:
    """Where a module reads a report's figures; adding some to a stage's own is no reading."""
    tree = ast.parse(path.read_text())
    own = {
        id(keyword.value.left)
        for keyword in ast.walk(tree)
        if isinstance(keyword, ast.keyword)
        and keyword.arg == "figures"
        and isinstance(keyword.value, ast.BinOp)
    }
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "figures"
        and isinstance(node.ctx, ast.Load)
        and id(node) not in own | called
    ]


def test_figures_are_read_by_people_alone() -> None:
    readers = {str(path.relative_to(PACKAGE)) for path in MODULES if reads_of_figures(path)}
    assert readers == READERS


def test_reading_figures_is_told_from_adding_some(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "told = replace(report, figures=report.figures | {'a': 1})\n"
        "told = Report(1, 1, figures=tally.figures() | {'a': 1})\n"
    )
    assert reads_of_figures(module) == []
    module.write_text("version = manifest.report.figures['version']\n")
    assert reads_of_figures(module) == ["manifest.report.figures"]
