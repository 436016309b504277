"""Write the generated documents: ``docs/layout.md`` and the graph in ``docs/architecture.md``.

Run ``make docs`` after a change of ``layout.py`` or of the graph; a test compares.
"""

import ast
import inspect
import re
import sys
from pathlib import Path

import pyarrow as pa

from clip_assets import layout

DOCS = Path(__file__).parent
EXAMPLE = {
    "partition": layout.partition_key(0),
    "asset": "embeddings",
    "name": "no_filter",
    "number": 0,
    "side": "image",
    "version": "00001-1a2b3c4d",
    "slot": 0,
}
HEAD = """# Layout of a pool

Generated from `clip_assets/layout.py` by `make docs`. Paths are relative to the store's root.
Every file is written whole or not at all; formats are promises to other tools.
Layout version: {version}.
"""


def layout_page() -> str:
    """The whole of ``docs/layout.md``."""
    lines = [HEAD.format(version=layout.VERSION)]
    source = inspect.getsource(layout)
    tree = ast.parse(source)
    sections = {
        number: match[1]
        for number, line in enumerate(source.splitlines(), 1)
        if (match := re.match(r"# --- (.+?) -+$", line))
    }
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        passed = [number for number in sections if number < node.lineno]
        lines += [f"\n## {sections.pop(number).capitalize()}\n" for number in passed]
        if isinstance(node, ast.FunctionDef):
            lines += function_lines(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            lines += constant_lines(node, after)
    return "\n".join(lines) + "\n"


def function_lines(node: ast.FunctionDef) -> list[str]:
    """A path, as an example, with its meaning."""
    function = getattr(layout, node.name)
    names = list(inspect.signature(function).parameters)
    example = function(**{name: EXAMPLE[name] for name in names})
    return [f"* `{example}`: {sentence(inspect.getdoc(function))}"]


def constant_lines(node: ast.Assign | ast.AnnAssign, after: ast.stmt | None) -> list[str]:
    """A path or a schema, with its meaning."""
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    value = getattr(layout, ast.unparse(target))
    said = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
    if isinstance(value, pa.Schema):
        return [f"\n### {ast.unparse(target)}\n", sentence(said), "", *columns(value), ""]
    if isinstance(value, str) and value.isprintable():
        return [f"* `{value}`: {sentence(said)}"]
    return []


def columns(schema: pa.Schema) -> list[str]:
    """A schema as a markdown table."""
    rows = [f"| {f.name} | {f.type} | {'' if f.nullable else 'never null'} |" for f in schema]
    return ["| column | type | |", "|---|---|---|", *rows]


def sentence(text: str | None) -> str:
    """A docstring on one line."""
    return " ".join((text or "").split()).replace("``", "`")


def graph_block() -> str:
    """The asset graph as a mermaid diagram, from the definitions that Dagster loads."""
    from clip_assets.definitions import defs

    specs = sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key)
    lines = ["```mermaid", "flowchart TD"]
    for spec in specs:
        name = spec.key.to_user_string()
        label = f"{name} [p]" if spec.partitions_def else name
        lines.append(f'    {name.replace("/", "_")}["{label}"]')
    for spec in specs:
        for dep in sorted(spec.deps, key=lambda dep: dep.asset_key):
            source = dep.asset_key.to_user_string().replace("/", "_")
            lines.append(f"    {source} --> {spec.key.to_user_string().replace('/', '_')}")
    return "\n".join([*lines, "```"])


def with_graph(page: str) -> str:
    """A page with its graph block renewed."""
    return re.sub(r"```mermaid\n.*?```", lambda _: graph_block(), page, count=1, flags=re.DOTALL)


def pages() -> dict[Path, str]:
    """Every generated page's path and content."""
    found = {DOCS / "layout.md": layout_page()}
    for page in (DOCS / "architecture.md", DOCS.parent / "README.md"):
        found[page] = with_graph(page.read_text())
    return found


def main() -> int:
    """Write every page; with ``--check`` only tell which would change."""
    changed = [
        page for page, text in pages().items() if not page.exists() or page.read_text() != text
    ]
    for page in changed:
        if "--check" in sys.argv:
            sys.stderr.write(f"{page} is not up to date; run: make docs\n")
        else:
            page.write_text(pages()[page])
    return bool(changed and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
