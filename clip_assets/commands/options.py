"""What commands have in common: options, and opening a pool."""

from collections.abc import Callable

import click

from clip_assets import settings
from clip_assets.settings import Settings
from clip_assets.storage.store import Store

FAILED = 1
"""Exit code: something was done, and some of it failed."""

Command = Callable[..., None]

as_json = click.option("--json", "json_output", is_flag=True, help="Print one JSON document.")


def pool_options(command: Command) -> Command:
    """The options that say which pool a command works on."""
    command = click.option("--pool", help="Settings file. [default: pool.yaml in the root]")(
        command
    )
    return click.option(
        "--root", help="Where the pool lives: path or url. [default: $CLIP_ASSETS_ROOT, then data]"
    )(command)


def existing(root: str | None, pool: str | None) -> tuple[Settings, Store]:
    """A pool that must be there: looking at one never makes one."""
    found = settings.load(root, pool)
    return found, Store.open(found.root, create=False)
