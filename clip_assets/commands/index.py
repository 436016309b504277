"""Commands for the versions of the search index, and for one without a pool."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clip_assets.commands.options import as_json, pool_options
from clip_assets.terminal import say

if TYPE_CHECKING:
    from clip_assets.index.version_differences import Difference
    from clip_assets.pool.pool import Pool
    from clip_assets.retrieval.comparing import SideBySide

SHOWN = 20
"""Partitions listed one by one as text; the json has all."""


@click.group()
def index() -> None:
    """Versions of the search index."""


class Bytes(click.ParamType):
    """An amount of bytes, such as 16G."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        from clip_assets.settings.quantities import number_of_bytes

        try:
            return int(number_of_bytes(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


def _spelt(name: str) -> str:
    """Options as clip-retrieval's documents spell them are the same options."""
    return name.replace("_", "-")


@index.command(context_settings={"token_normalize_func": _spelt})
@click.argument("source", metavar="EMBEDDINGS")
@click.argument("output")
@click.option(
    "--max-index-memory-usage",
    type=Bytes(),
    default="4G",
    show_default=True,
    help="At most of each index.",
)
@click.option(
    "--current-memory-available",
    type=Bytes(),
    default="16G",
    show_default=True,
    help="At most while building; mapped files not counted.",
)
@click.option("--nb-cores", type=click.IntRange(min=1), help="Threads; default: every core.")
@click.option(
    "--copy-metadata/--no-copy-metadata",
    default=True,
    show_default=True,
    help="Of the rows, to OUTPUT/metadata.",
)
@click.option("--image-subfolder", default="img_emb", show_default=True, help="Npy files.")
@click.option("--text-subfolder", default="text_emb", show_default=True, help="Likewise.")
def build(  # noqa: PLR0913  (a command's options are its interface)
    source: str,
    output: str,
    max_index_memory_usage: int,
    current_memory_available: int,
    nb_cores: int | None,
    image_subfolder: str,
    text_subfolder: str,
    *,
    copy_metadata: bool,
) -> None:
    """Make an index of a folder of EMBEDDINGS in OUTPUT, without a pool.

    EMBEDDINGS and OUTPUT are paths or urls. Takes what clip-retrieval index takes, by its options:
    npy files in img_emb/ and text_emb/, or one of them, and parquet files in metadata/, which go
    together in the order of their names. Writes image.index, text.index and metadata/, and in
    image.json and text.json what is known of each. The most exact kind of index is taken that the
    bounds of memory allow; where none is, that is an error. An interrupted build goes on where it
    was.

    \b
      clip-assets index build embeddings/ index/ --max-index-memory-usage 16G
    """  # noqa: D301  (click's mark for "do not wrap")
    from clip_assets.index.engine import cores
    from clip_assets.index.folder.folder_index import BuildOptions, build

    wanted = BuildOptions(
        max_index_memory_usage,
        current_memory_available,
        copy_metadata,
        image_subfolder,
        text_subfolder,
    )
    if nb_cores:
        cores.use(nb_cores)
    made = build(source, output, wanted)
    for side, told in made.sides.items():
        recall = ", ".join(f"{kind} {share:.3f}" for kind, share in told["recall_at_10"].items())
        lost = ", ".join(f"{n:,} {why}" for why, n in told["left_out"].items())
        say(
            f"{side}.index  {told['nb vectors']:,} vectors, {told['size in bytes']:,} bytes, "
            f"{told['index_key']}  recall of ten by {recall or 'not measured'}"
            + (f"; left out: {lost}" if lost else "")
            + (f"; scaled: {told['scaled']:,}" if told["scaled"] else "")
        )
    for side, name in (("image", image_subfolder), ("text", text_subfolder)):
        if side not in made.sides:
            say(f"{side}.index  not made: no npy files in {name}/", err=True)
    if copy_metadata and not made.plan["metadata"]:
        say("metadata  not copied: no parquet files in metadata/", err=True)


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
@click.option(
    "--queries",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Search both by these queries, see retrieve.",
)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Results.")
@as_json
@pool_options
def compare(  # noqa: PLR0913  (a command's options are its interface)
    first: str,
    second: str,
    queries: Path | None,
    k: int,
    root: str | None,
    settings_file: str | None,
    *,
    json_output: bool,
) -> None:
    """What changed from version FIRST to SECOND: partitions, vectors, kind of index, model.

    A partition is changed if it has other vectors or rows, and moved if it has the same under
    other ids. With --queries also how much of an exact search's results each finds, how fast, and
    how many of the first's results the second has too.
    """
    from clip_assets import graph
    from clip_assets.index import version_differences

    pool = graph.open_pool(root, settings_file)
    change = version_differences.compare(pool.store, first, second)
    searched = _searched(pool, (first, second), queries, k) if queries else None
    if json_output:
        told = asdict(change) | ({"searched": asdict(searched)} if searched else {})
        click.echo(json.dumps(told, indent=1))
        return
    say(_as_text(change))
    if searched:
        say(_results(searched))


def _searched(pool: "Pool", names: tuple[str, str], queries: Path, k: int) -> "SideBySide":
    from clip_assets.retrieval import query_file
    from clip_assets.retrieval.comparing import side_by_side

    return side_by_side(pool, names, query_file.read(queries), k)


def _results(searched: "SideBySide") -> str:
    lines = [f"queries  {searched.queries:,}, {searched.k:,} results of each"]
    for one in searched.measured:
        unknown = "not known (vectors are gone, or were embedded or encoded anew)"
        recall = unknown if one.recall is None else f"{one.recall:.3f}"
        lines.append(
            f"{one.version}  recall {recall}, median {one.median_ms:.2f} ms, "
            f"95 of 100 within {one.slowest_ms:.2f} ms"
        )
    lines.append(f"overlap  {searched.overlap:.3f} of the first's results")
    return "\n".join(lines)


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
