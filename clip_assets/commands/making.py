"""Commands that make a pool: planning partitions, and running the graph over them."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from clip_assets import layout, settings
from clip_assets.commands.options import FAILED, as_json, existing, pool_options
from clip_assets.errors import ConfigurationError
from clip_assets.storage.manifests import Catalog
from clip_assets.storage.store import Store

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
    pool: str | None,
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

    found = settings.load(root, pool)
    files = list_sources(sources)
    # A misspelt name makes no pool.
    store = Store.open(found.root) if files and not dry_run else Store(found.root)
    if not files and not store.exists(layout.STORE):
        raise _nothing(sources)
    added = ledger.add_sources(
        store, sources, found.sources, found=files, dry_run=dry_run, refresh=refresh
    )
    if not (added.plans or added.refreshed or added.changed or added.unchanged or added.missing):
        raise _nothing(sources)
    if not dry_run:
        from clip_assets.orchestration.instance import opened
        from clip_assets.orchestration.partitions import sync

        with opened() as instance:
            sync(instance, store)
    if json_output:
        click.echo(json.dumps(asdict(added), indent=1))
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
            click.echo(f"{plan.partition}  {len(plan.ranges)} files  {plan.rows_text}{note}")
    counts = [f"{len(added.plans)} new partitions"]
    if added.refreshed:
        counts.append(f"{len(added.refreshed)} planned anew")
    click.echo(", ".join([*counts, f"{added.unchanged} files known already"]))
    for uri in added.changed:
        click.echo(f"changed since it was planned: {uri} (accept it with --refresh)", err=True)
    for uri in added.missing:
        click.echo(f"planned, but no longer there: {uri} (leave it out with --refresh)", err=True)
    if is_planned and (added.plans or added.refreshed):
        click.echo("next: clip-assets run")


@click.command()
@click.option(
    "--select",
    default="*",
    show_default=True,
    help="Assets, in Dagster's syntax, such as '*embeddings': it and all that it is made from.",
)
@click.option(
    "--partitions",
    default="missing",
    show_default=True,
    help="missing, failed, all, or keys: a,b or a..b",
)
@click.option(
    "--retry-failed",
    is_flag=True,
    help="First fetch again what failed for a reason that may have passed, such as a timeout; "
    "in every downloaded partition unless --partitions names some.",
)
@as_json
@pool_options
def run(
    select: str,
    partitions: str,
    root: str | None,
    pool: str | None,
    *,
    retry_failed: bool,
    json_output: bool,
) -> None:
    """Materialise what is not done, in this process, through Dagster.

    The runs, their events, metadata and checks appear in the Dagster UI like any others.
    Exit code 1: some partitions failed, and which; the others are done.
    """
    from clip_assets import planning
    from clip_assets.definitions import build_defs
    from clip_assets.orchestration.instance import opened
    from clip_assets.orchestration.resources import Pool
    from clip_assets.orchestration.runs import PoolRun

    if not all(part.strip() for part in select.split(",")):
        raise click.BadParameter("names no asset", param_hint="--select")
    found, store = existing(root, pool)
    if not planning.partitions_of(Catalog(store)):
        raise ConfigurationError(
            store.uri(), "no partitions", "at least one", "Plan some: clip-assets add SOURCE..."
        )
    resource = Pool(root=found.root, pool=pool or "")
    with opened() as instance:
        pool_run = PoolRun(build_defs(resource), resource, instance)
        summary = pool_run.run(select, partitions, retry_failed=retry_failed)
    if json_output:
        click.echo(json.dumps(asdict(summary), indent=1))
    elif summary.runs:
        click.echo(f"{len(summary.partitions)} partitions worked on in {len(summary.runs)} runs")
    elif not summary.failures:
        click.echo("nothing to do: everything chosen is done (see: clip-assets status)")
    for name, message in summary.failures.items():
        click.echo(f"failed: {name}: {message}", err=True)
    if summary.failures:
        sys.exit(FAILED)
