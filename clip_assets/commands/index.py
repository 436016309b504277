"""Commands for the versions of the search index."""

import click

from clip_assets.commands.options import pool_options


@click.group()
def index() -> None:
    """Versions of the search index."""


@index.command("list")
@pool_options
def list_versions(root: str | None, settings_file: str | None) -> None:
    """All versions, oldest first; the served one is marked."""
    from clip_assets import graph
    from clip_assets.index import versions

    store = graph.open_pool(root, settings_file).store
    served = versions.current(store)
    for version in versions.versions(store):
        click.echo(f"{'*' if version == served else ' '} {version}")


@index.command()
@click.argument("version")
@pool_options
def use(version: str, root: str | None, settings_file: str | None) -> None:
    """Serve another VERSION."""
    from clip_assets import graph
    from clip_assets.index import versions

    versions.use(graph.open_pool(root, settings_file).store, version)
    click.echo(f"serving {version}")
