"""The command that tells where a pool stands."""

import json

import click

from clip_assets.commands.options import as_json, pool_options
from clip_assets.masking import masked
from clip_assets.terminal import say


@click.command()
@as_json
@pool_options
def status(root: str | None, settings_file: str | None, *, json_output: bool) -> None:
    """Partitions by asset and state, row counts, the index served, and what is behind."""
    from clip_assets import graph
    from clip_assets import status as states

    report = states.report(graph.open_pool(root, settings_file))
    if json_output:
        click.echo(masked(json.dumps(report, indent=1)))
    else:
        say(states.as_text(report))
