"""The command that shows everything on a small world."""

import sys
from pathlib import Path

import click

from clip_assets.commands.options import FAILED
from clip_assets.terminal import say


@click.command()
@click.option("--folder", default="demo-world", show_default=True, help="Where its files go.")
@click.option(
    "--pairs",
    type=click.IntRange(min=1),
    default=4000,
    show_default=True,
    help="Pairs of the demo world.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8901,
    show_default=True,
    help="Of the demo world's web server.",
)
@click.option("--root", default="demo-pool", show_default=True, help="Where the pool lives.")
def demo(folder: str, pairs: int, port: int, root: str) -> None:
    """Build a small world, run the whole graph over it, and search it."""
    from clip_assets.demo import tour

    failures = tour.tour(Path(folder), root, pairs=pairs, port=port, say=say)
    for name, message in failures.items():
        say(f"failed: {name}: {message}", err=True)
    if failures:
        sys.exit(FAILED)
