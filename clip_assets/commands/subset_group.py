"""The command that has others about subsets: comparing them, and their versions.

Defining and making one is ``commands.subset``.
"""

import json
from pathlib import Path

import click

from clip_assets import layout
from clip_assets.commands.options import as_json, pool_options
from clip_assets.commands.subset import define
from clip_assets.files.whole import whole_file
from clip_assets.masking import masked
from clip_assets.terminal import say


class SubsetGroup(click.Group):
    """Commands about subsets; what is not the name of one of them is the name of a subset."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of these arguments."""
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "", define, args


@click.group(
    cls=SubsetGroup,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
def subset() -> None:
    """Define or make a subset, or compare several."""


@subset.command()
@click.argument("name")
@as_json
@pool_options
def versions(name: str, root: str | None, settings_file: str | None, *, json_output: bool) -> None:
    """List the versions of subset NAME that are kept, the newest first.

    NAME@VERSION names one of them to reshard, to subset compare and to a training loop.
    """
    from clip_assets import graph
    from clip_assets.pool import subset_versions

    pool = graph.open_pool(root, settings_file)
    manifest = pool.catalog.require(layout.SUBSETS, layout.Key(name))
    files = subset_versions.files(manifest)
    told = [(file.sha256[: subset_versions.DIGITS], file.size_bytes) for file in files]
    if json_output:
        click.echo(json.dumps([{"version": v, "bytes": size} for v, size in told], indent=1))
        return
    for version, size in told:
        say(f"{name}@{version}  {size:,} bytes")
    say(f"the newest was made at {manifest.finished_at}")


@subset.command()
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page; default: compare-A-B.html here.",
)
@click.option("--examples", default=24, show_default=True, help="Images shown of each two.")
@as_json
@pool_options
def compare(
    names: tuple[str, ...],
    root: str | None,
    settings_file: str | None,
    *,
    output: Path | None,
    examples: int,
    json_output: bool,
) -> None:
    """Show subsets side by side: what they share, how they differ, what one alone has.

    NAMES are subsets that are made, or .npy files of uids. The page is one file, with the images in
    it; with --json the numbers are printed, and a page is written where --output says so.
    """
    from clip_assets import graph
    from clip_assets.contrast.side_by_side import as_json as numbers
    from clip_assets.contrast.side_by_side import as_page, compared

    pool = graph.open_pool(root, settings_file)
    told = compared(pool, names, examples)
    if json_output:
        click.echo(masked(json.dumps(numbers(told), indent=1)))
    if output is None and not json_output:
        output = Path(f"compare-{'-'.join(Path(name).stem for name in names)}.html")
    if output is not None:
        with whole_file(output) as part:
            part.write_text(as_page(pool, told))
        say(f"{output} compares {', '.join(names)}", err=json_output)
