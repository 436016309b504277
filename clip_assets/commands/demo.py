"""The command that shows everything on a small world."""

import signal
import socket
import sys
from pathlib import Path
from typing import TextIO

import click

from clip_assets import processes
from clip_assets.commands.options import FAILED
from clip_assets.commands.serve import LOOPBACK, PORT
from clip_assets.terminal import say

HOST = "127.0.0.1"


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
@click.option("--no-serve", is_flag=True, help="End when all is done, in a terminal too.")
def demo(folder: str, pairs: int, port: int, root: str, *, no_serve: bool) -> None:
    """Build a small world, run the whole graph over it, search it, and serve it in a terminal."""
    from clip_assets.demo import tour

    failures = tour.tour(Path(folder), root, pairs=pairs, port=port, say=say)
    for name, message in failures.items():
        say(f"failed: {name}: {message}", err=True)
    if failures:
        sys.exit(FAILED)
    if goes_on(sys.stdin, no_serve=no_serve):
        go_on_serving(root)


def goes_on(stdin: TextIO | None, *, no_serve: bool) -> bool:
    """Whether the demo serves its pool at the end: where somebody can press Ctrl-C, and may.

    Args:
        stdin: Python's; None where the process was started without one.
        no_serve: whether it was asked not to.
    """
    return not no_serve and stdin is not None and not stdin.closed and stdin.isatty()


def go_on_serving(root: str) -> None:
    """Serve a pool until Ctrl-C, which is its orderly end; another signal interrupts it."""
    from clip_assets.service import serving
    from clip_assets.service.hosting.hosted import Hosting
    from clip_assets.service.limits.offer import Offer

    say("5. its page, until Ctrl-C")
    try:
        hosting = Hosting.of([root], None)
        serving.run(hosting, Offer(hosts=LOOPBACK), HOST, _port(), lambda url: say(f"   {url}"))
    except KeyboardInterrupt:
        if processes.exit_code() != 128 + signal.SIGINT:
            raise


def _port() -> int:
    """That of `clip-assets serve`, or any if another process has it."""
    try:
        socket.create_server((HOST, PORT)).close()
    except OSError:
        return 0
    return PORT
