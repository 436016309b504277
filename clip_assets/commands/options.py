"""Options that commands have in common."""

from collections.abc import Callable

import click

FAILED = 1
"""Exit code: something was done, and some of it failed."""

Command = Callable[..., None]

as_json = click.option("--json", "json_output", is_flag=True, help="Print one JSON document.")


def pool_options(command: Command) -> Command:
    """The options that say which pool a command works on."""
    settings_file = click.option(
        "--pool", "settings_file", help="Settings file. [default: pool.yaml in the root]"
    )
    root = click.option(
        "--root", help="Where the pool lives: path or url. [default: $CLIP_ASSETS_ROOT, then data]"
    )
    return root(settings_file(command))
