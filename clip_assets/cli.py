"""The ``clip-assets`` command: what is common to all commands, which are in ``commands``.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 some partitions
failed, 2 wrong usage or configuration.
"""

import logging
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import click

from clip_assets import processes, settings
from clip_assets.commands import (
    add,
    adopt,
    config,
    datacomp_folder,
    demo,
    doctor,
    experiment,
    filter_images,
    index,
    models,
    publish,
    reshard,
    retrieve,
    run,
    search,
    serve,
    status,
    subset_group,
    takedown,
    verify,
)
from clip_assets.errors import ClipAssetsError
from clip_assets.masking import masked
from clip_assets.storage import full_disk
from clip_assets.terminal import lines_shown, say

WRONG = 2

HANDLER = "clip-assets"
"""Name of the handler that shows progress."""

KEPT = {
    "run": "finished partitions, and of the others the finished chunks and fetched images",
    "demo": "finished partitions, and of the others the finished chunks",
    "embed": "finished pieces",
    "add": "partitions planned so far, each whole",
    "reshard": "tars that are whole",
    "publish": "files that the hub has",
    "experiment": "trainings that are done, and of the others what there was a minute ago",
}
"""What an interrupted command leaves that it does not do again, by its name."""


class Cli(click.Group):
    """A group whose commands report our own errors in one line, with exit code 2.

    A signal ends a command within seconds, and the last line says what to type to go on.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what was typed, and keep it for who is interrupted."""
        ctx.meta[__name__] = ["clip-assets", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        processes.end_soon()
        farewell = _farewell(ctx)
        processes.take_signals(farewell)
        try:
            return super().invoke(ctx)
        except Exception as error:
            told = _told(error, ctx)
            if told is None:
                raise
            say(f"error: {told}", err=True)
            ctx.exit(WRONG)
        except KeyboardInterrupt:
            code = processes.exit_code()
            farewell()
            ctx.exit(code)


def _told(error: Exception, ctx: click.Context) -> str | None:
    """An error in one line; None where a traceback is needed, or click says what is wrong."""
    if isinstance(error, ClipAssetsError):
        return str(error)
    if full_disk.is_full(error):
        # Not in a stage, which names its file: a lock, or Dagster's own storage.
        home = settings.dagster_home()
        where = f"clip-assets {ctx.invoked_subcommand}"
        return str(full_disk.full(where, [Path(home) if home else Path.cwd()]))
    if isinstance(error, OSError) and error.filename is not None:
        # A file that the user named or whose permissions are theirs.
        return f"{error.filename}: {error.strerror}"
    return None


def _farewell(ctx: click.Context) -> Callable[[], None]:
    """What tells, once, what of an interrupted command is kept and how to go on."""

    @cache
    def farewell() -> None:
        kept = KEPT.get(ctx.invoked_subcommand or "")
        again = f"To go on: {shlex.join(ctx.meta[__name__])}"
        with suppress(OSError):  # of a terminal that is gone
            say(f"interrupted. {f'Kept: {kept}. ' if kept else ''}{again}", err=True)

    return farewell


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="clip-assets", prog_name="clip-assets")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def main(*, quiet: bool) -> None:
    """From files of (url, caption) pairs to a searchable CLIP dataset, partition by partition.

    \b
    A first pool:
      clip-assets add pairs.csv          plan partitions
      clip-assets run                    download, embed, index
      clip-assets search "a red circle"  look
    """  # noqa: D301  (click's mark for "do not wrap")
    show_progress(logging.WARNING if quiet else logging.INFO)


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """A record's lines without what commands a terminal, and without secrets of urls."""
        return lines_shown(masked(super().format(record)))


def show_progress(level: int) -> None:
    """Progress of our own loggers on stderr; Dagster's goes to its event log."""
    logger = logging.getLogger("clip_assets")
    for earlier in [handler for handler in logger.handlers if handler.name == HANDLER]:
        logger.removeHandler(earlier)
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(HANDLER)
    handler.setFormatter(_Lines("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(level)
    # Dagster gives the root logger a handler of its own, which would show every line again.
    logger.propagate = False


for command in (
    add.add,
    adopt.adopt,
    run.run,
    status.status,
    search.search,
    serve.serve,
    index.index,
    publish.publish,
    reshard.reshard,
    retrieve.retrieve,
    filter_images.filter_images,
    models.embed,
    models.models,
    config.config,
    doctor.doctor,
    verify.verify,
    subset_group.subset,
    datacomp_folder.metadata,
    experiment.experiment,
    takedown.takedown,
    demo.demo,
):
    main.add_command(command)
