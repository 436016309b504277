"""Commands for the versions of the search index."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from clip_assets.commands.options import as_json, pool_options
from clip_assets.terminal import say

if TYPE_CHECKING:
    from clip_assets.index.versions import Difference

SHOWN = 20
"""Partitions listed one by one as text; the json has all."""


@click.group()
def index() -> None:
    """Versions of the search index."""


@index.command("list")
@pool_options
def list_versions(root: str | None, settings_file: str | None) -> None:
    """All versions, oldest first; the served one is marked."""
    from clip_assets import graph
    from clip_assets.index import versions

    store = graph.open_pool(root, settings_file).store
    served = versions.current(store)
    made = versions.versions(store)
    for version in made:
        say(f"{'*' if version == served else ' '} {version}")
    if not made:
        say("no version yet; next: clip-assets run", err=True)


@index.command()
@click.argument("version")
@pool_options
def use(version: str, root: str | None, settings_file: str | None) -> None:
    """Serve another VERSION."""
    from clip_assets import graph
    from clip_assets.index import versions

    versions.use(graph.open_pool(root, settings_file).store, version)
    say(f"serving {version}")


@index.command()
@click.argument("first")
@click.argument("second")
@as_json
@pool_options
def compare(
    first: str, second: str, root: str | None, settings_file: str | None, *, json_output: bool
) -> None:
    """What changed from version FIRST to SECOND: partitions, vectors, kind of index, model.

    A partition is changed if it has other vectors or rows, and moved if it has the same under
    other ids.
    """
    from clip_assets import graph
    from clip_assets.index import versions

    change = versions.compare(graph.open_pool(root, settings_file).store, first, second)
    if json_output:
        click.echo(json.dumps(asdict(change), indent=1))
    else:
        say(_as_text(change))


def _as_text(change: "Difference") -> str:
    lines = [
        f"{name:<8} {len(partitions):>6,} partitions{_listed(partitions)}"
        for name, partitions in (
            ("added", change.added),
            ("removed", change.removed),
            ("changed", change.changed),
            ("moved", change.moved),
        )
    ]
    before, after = change.vectors
    lines.append(f"vectors  {before:,} -> {after:,}")
    for name, (old, new) in (("kind", change.keys), ("model", change.models)):
        lines.append(f"{name:<8} {old}" if old == new else f"{name:<8} {old} -> {new}")
    return "\n".join(lines)


def _listed(partitions: Sequence[str]) -> str:
    if not partitions:
        return ""
    more = f", ... and {len(partitions) - SHOWN} more" if len(partitions) > SHOWN else ""
    return f": {', '.join(partitions[:SHOWN])}{more}"
