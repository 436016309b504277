"""The command that brings a pool's data set to a hub."""

import click

from clip_assets.commands.options import pool_options
from clip_assets.terminal import say


@click.command()
@click.option("--public", is_flag=True, help="Let everybody see a repository that is made now.")
@pool_options
def publish(root: str | None, settings_file: str | None, *, public: bool) -> None:
    """Send what hub_dataset wrote to hub.repository: only files that changed."""
    from clip_assets import graph
    from clip_assets.publishing.push import push

    pool = graph.open_pool(root, settings_file)
    done = push(pool, public=public)
    say(
        f"{pool.settings.hub.repository}: {len(done.sent):,} files sent, {len(done.same):,} were "
        f"there, {len(done.removed):,} removed"
    )
