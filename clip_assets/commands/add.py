"""The command that plans partitions."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from clip_assets import layout, settings
from clip_assets.commands.options import as_json, pool_options
from clip_assets.errors import ConfigurationError
from clip_assets.masking import masked
from clip_assets.storage.store import Store
from clip_assets.terminal import say

if TYPE_CHECKING:
    from clip_assets.partitions.ledger import Added


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Only print the partitions that would be planned.")
@click.option(
    "--refresh", is_flag=True, help="Plan changed files anew, leave out files that are gone."
)
@as_json
@pool_options
def add(
    sources: tuple[str, ...],
    root: str | None,
    settings_file: str | None,
    *,
    dry_run: bool,
    refresh: bool,
    json_output: bool,
) -> None:
    """Plan and register partitions of SOURCES: files, folders, globs, urls.

    Files that are already planned are left alone, so a folder can be added again and again.
    """
    from clip_assets.partitions import ledger
    from clip_assets.partitions.listing import list_sources

    read = settings.load(root, settings_file)
    files = list_sources(sources)
    store = Store(read.root)
    # Neither a misspelt name nor a dry run makes a pool; one that is there is to be understood.
    if (files and not dry_run) or store.exists(layout.STORE):
        store = Store.open(read.root)
    elif not files:
        raise _nothing(sources)
    added = ledger.add_sources(
        store, sources, read.sources, files=files, dry_run=dry_run, refresh=refresh
    )
    if not (added.plans or added.refreshed or added.changed or added.unchanged or added.missing):
        raise _nothing(sources)
    if not dry_run:
        from clip_assets import graph
        from clip_assets.orchestration.instance import opened
        from clip_assets.orchestration.partitions import sync

        with opened() as instance:
            sync(instance, graph.open_pool(root, settings_file))
    if json_output:
        click.echo(masked(json.dumps(asdict(added), indent=1)))
    else:
        _show(added, is_planned=not dry_run)


def _nothing(sources: tuple[str, ...]) -> ConfigurationError:
    from clip_assets.partitions.listing import COMPRESSIONS, FORMATS

    return ConfigurationError(
        " ".join(sources),
        "no source file",
        f"names that end in {', '.join(FORMATS)}, text formats also in {' or '.join(COMPRESSIONS)}",
        "Check the spelling; quote a glob of a url, so that the shell leaves it alone.",
    )


def _show(added: "Added", *, is_planned: bool) -> None:
    for note, plans in (("", added.plans), ("  planned anew", added.refreshed)):
        for plan in plans:
            say(f"{plan.partition}  {len(plan.ranges)} files  {plan.rows_text}{note}")
    counts = [f"{len(added.plans)} new partitions"]
    if added.refreshed:
        counts.append(f"{len(added.refreshed)} planned anew")
    say(", ".join([*counts, f"{added.unchanged} files known already"]))
    for uri in added.changed:
        say(f"changed since it was planned: {uri} (accept it with --refresh)", err=True)
    for uri in added.missing:
        say(f"planned, but no longer there: {uri} (leave it out with --refresh)", err=True)
    if is_planned and (added.plans or added.refreshed):
        say("next: clip-assets run")
