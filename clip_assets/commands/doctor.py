"""The command that looks for what is wrong."""

import sys

import click

from clip_assets.commands.options import FAILED, pool_options
from clip_assets.terminal import say


@click.command()
@click.option("--sweep", is_flag=True, help="Remove unpublished files of processes that died.")
@pool_options
def doctor(root: str | None, settings_file: str | None, *, sweep: bool) -> None:
    """What is wrong with this machine, the store or the Dagster instance.

    Exit code 1: something is, see the lines that begin with BAD.
    """
    from clip_assets import doctor as examination
    from clip_assets import graph
    from clip_assets.storage import leftovers

    pool = graph.open_pool(root, settings_file)
    findings = examination.examine(pool)
    for finding in findings:
        say(f"{'ok  ' if finding.is_good else 'BAD '} {finding.subject}: {finding.text}")
    if sweep:
        say(f"removed {leftovers.sweep(pool.store)} unpublished files of processes that died")
    if not all(finding.is_good for finding in findings):
        sys.exit(FAILED)
