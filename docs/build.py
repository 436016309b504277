"""Write the generated documents: ``docs/layout.md``, and the graph in two other pages.

Run ``make docs`` after a change of ``layout``, ``schemas`` or ``graph``; a test compares.
"""

import ast
import inspect
import itertools
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.graph import ASSETS
from clip_assets.layout import Artifact
from clip_assets.meanings import meaning
from clip_assets.pool.pool import Axis

DOCS = Path(__file__).parent

WIDTH = 110
"""Characters of a line of text; tables have no limit."""

HEAD = """# Layout of a pool

Generated from `clip_assets/layout.py`, `schemas.py` and `meanings.py` by `make docs`. Paths are
relative to the store's root. Every file is written whole or not at all; formats are promises to
other tools; words are those of [vocabulary.md](vocabulary.md).

Layout version: {version}. Stores are read from layout {oldest} on
([decision 15](decisions/0015-layout-versions.md)).

| in a path | stands |
|---|---|
{placeholders}
"""

PLACEHOLDERS = {
    "asset": "the name of an asset",
    "partition": "five digits, in order of arrival",
    "subset": "the name of a subset",
    "key": "a partition or a subset; the path of an asset that is made once lacks it",
    "number": "a shard's place in its partition, five digits",
    "side": "`image` or `text`",
    "kind": "`image` or `text`: what queries are",
    "version": "an index version, such as `00001-1a2b3c4d`",
    "slot": "an id range's place in its version, from 0 on",
    "name": "the name of a file, or of what is locked",
}

MAKERS = {
    "STORE": "who opens a new store",
    "MODEL": "`embeddings`, first of all",
    "SETTINGS_FILE": "you",
    "TEMPORARY": "who writes",
    "lock": "who writes",
    "plan": "`clip-assets add`, `clip-assets adopt`, `new_sources`",
    "adopted": "`clip-assets adopt`",
    "store_wide": "`clip-assets takedown`; `subsets` and `hub_dataset` heed it",
    "manifest": "every asset",
    "failure": "every asset",
    "work": "every asset",
    "picture": "assets that draw",
    "owners": "`unique_pairs`, of an earlier partition",
    "CURRENT": "`id_mapping`",
}
"""Who makes what is no asset's artifact."""

TABLE = "| path | name in programs | holds | made by |"

LETTERS: dict[Axis, str] = {"partition": " [p]", "subset": " [s]", "pool": ""}
"""Marks of an asset's axis in the picture of the graph."""


class Kind(NamedTuple):
    """A kind of file or folder in a pool."""

    path: str
    meaning: str
    made_by: str
    name: str = ""
    schema: pa.Schema | None = None
    home: ModuleType = layout

    @property
    def row(self) -> str:
        """As a line of a markdown table."""
        name = f"`{self.name}`" if self.name else ""
        return f"| `{self.path}` | {name} | {self.meaning} | {self.made_by} |"


def layout_page() -> str:
    """The whole of ``docs/layout.md``."""
    named = "\n".join(f"| `<{name}>` | {meaning} |" for name, meaning in PLACEHOLDERS.items())
    lines = [HEAD.format(version=layout.VERSION, oldest=layout.OLDEST, placeholders=named)]
    for title, kinds in kinds_by_section().items():
        lines += [f"## {title}", "", TABLE, "|---|---|---|---|"]
        lines += [*(kind.row for kind in kinds), ""]
        for schema in {id(kind.schema): kind.schema for kind in kinds}.values():
            if schema is not None:
                lines += schema_lines(schema, [kind for kind in kinds if kind.schema is schema])
    return "\n".join([*lines, *number_lines()])


def kinds_by_section() -> dict[str, list[Kind]]:
    """Every kind of file, below the heading of ``layout`` that it stands under."""
    by_title = {
        title: [kind for name in names if (kind := kind_of(name, getattr(layout, name)))]
        for title, names in sections(layout).items()
    }
    others = [kind for kind in layout.ARTIFACTS if kind.__module__ != layout.__name__]
    by_title["Files of one package"] = [artifact_kind(kind) for kind in others]
    return {title: kinds for title, kinds in by_title.items() if kinds}


def sections(module: ModuleType) -> dict[str, list[str]]:
    """Names that a module defines, in order, below the heading that stands over them."""
    source = inspect.getsource(module)
    headings = [
        (number, match[1].capitalize())
        for number, line in enumerate(source.splitlines(), 1)
        if (match := re.match(r"# --- (.+?) -+$", line))
    ]
    names: dict[str, list[str]] = {title: [] for _, title in headings}
    for node in ast.parse(source).body:
        over = [title for number, title in headings if number < node.lineno]
        if over:
            names[over[-1]] += defined(node)
    return names


def defined(node: ast.stmt) -> list[str]:
    """Names that a statement of a module defines."""
    match node:
        case ast.FunctionDef(name=name):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case _:
            return []


def kind_of(name: str, value: object) -> Kind | None:
    """What is known of a kind of file by its name in ``layout``, None where it is none."""
    if isinstance(value, Artifact):
        return artifact_kind(value)
    if name not in MAKERS:
        return None
    if isinstance(value, str):
        return Kind(value, sentence(comment(layout, name)), MAKERS[name])
    assert inspect.isfunction(value)
    path = Artifact(value, "", None).template
    schema = getattr(schemas, name.upper(), None)
    return Kind(path, sentence(value.__doc__), MAKERS[name], schema=schema)


def artifact_kind(artifact: Artifact[...]) -> Kind:
    """What is known of an artifact."""
    said, maker = sentence(artifact.__doc__), f"`{artifact.made_by}`"
    home = sys.modules[artifact.__module__]
    return Kind(artifact.template, said, maker, artifact.name, artifact.schema, home)


def schema_lines(schema: pa.Schema, kinds: list[Kind]) -> list[str]:
    """A schema, which files have it, and what it means."""
    files = " and ".join(f"`{kind.path}`" for kind in kinds)
    homes = (schemas, kinds[0].home)
    [said] = {
        comment(home, name)
        for home in homes
        for name, value in vars(home).items()
        if value is schema
    }
    rows = [
        f"| {f.name} | {f.type} | {meaning(schema, f.name)}{'' if f.nullable else '; never null'} |"
        for f in schema
    ]
    text = textwrap.fill(sentence(said), WIDTH, break_long_words=False)
    return [
        f"### Columns of {files}",
        "",
        text,
        "",
        "| column | type | is |",
        "|---|---|---|",
        *rows,
        "",
    ]


def number_lines() -> list[str]:
    """What stands in files besides tables of fixed columns."""
    lines = ["## Types and further columns", "", "| | is | |", "|---|---|---|"]
    for name, value in vars(schemas).items():
        if isinstance(value, pa.Field):
            lines.append(
                f"| `{name}` | {value.name}: {value.type} | {sentence(comment(schemas, name))} |"
            )
        elif isinstance(value, np.dtype):
            lines.append(f"| `{name}` | {value} | {sentence(comment(schemas, name))} |")
    return [*lines, ""]


def comment(module: ModuleType, name: str) -> str:
    """What stands in quotes below a constant."""
    body = ast.parse(inspect.getsource(module)).body
    for node, after in itertools.pairwise(body):
        if defined(node) == [name] and isinstance(after, ast.Expr):
            return str(ast.literal_eval(after.value))
    raise LookupError(f"{module.__name__}.{name} does not say what it is")


def sentence(text: str | None) -> str:
    """A docstring on one line."""
    return " ".join((text or "").split()).replace("``", "`")


def graph_block() -> str:
    """The asset graph as a mermaid diagram, from top to bottom."""
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'    {name}["{name}{LETTERS[asset.axis]}"]' for name, asset in ASSETS.items()]
    lines += [f"    {dep} --> {name}" for name, asset in ASSETS.items() for dep in asset.deps]
    return "\n".join([*lines, "```"])


def with_graph(page: str) -> str:
    """A page with its graph block renewed."""
    return re.sub(r"```mermaid\n.*?```", lambda _: graph_block(), page, count=1, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Every generated page's path and content."""
    generated = {DOCS / "layout.md": layout_page()}
    for page in (DOCS / "architecture.md", DOCS.parent / "README.md"):
        generated[page] = with_graph(page.read_text())
    return generated


def main() -> int:
    """Write every page; with ``--check`` only tell which would change."""
    changed = {
        page: text
        for page, text in pages().items()
        if not page.exists() or page.read_text() != text
    }
    for page, text in changed.items():
        if "--check" in sys.argv:
            sys.stderr.write(f"{page} is not up to date; run: make docs\n")
        else:
            page.write_text(text)
    return bool(changed and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
