"""The command that materialises what is not done."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click

from clip_assets import layout
from clip_assets.commands.options import FAILED, as_json, pool_options
from clip_assets.errors import ConfigurationError
from clip_assets.masking import masked
from clip_assets.terminal import say


@click.command()
@click.option(
    "--select",
    default="*",
    show_default=True,
    help=f"Assets, in Dagster's syntax, such as '*{layout.EMBEDDINGS}': it and all that it is made "
    "from.",
)
@click.option(
    "--partitions",
    default="missing",
    show_default=True,
    help="missing, failed, all, or keys: a,b or a..b; also names of subsets",
)
@click.option(
    "--retry-failed",
    is_flag=False,
    flag_value="",
    metavar="[CLASSES]",
    help="First fetch again what failed for a reason that may have passed, such as a timeout, or "
    "for the reasons named: dns,tls. In every downloaded partition unless --partitions names some.",
)
@as_json
@pool_options
def run(
    select: str,
    partitions: str,
    root: str | None,
    settings_file: str | None,
    *,
    retry_failed: str | None,
    json_output: bool,
) -> None:
    """Materialise what is not done, in this process, through Dagster.

    The runs, their events, metadata and checks appear in the Dagster UI like any others.
    Exit code 1: some partitions failed, and which; the others are done. Or published files are
    damaged, which is for clip-assets verify to mend.
    """
    from clip_assets import graph
    from clip_assets import status as states
    from clip_assets.definitions import build_defs
    from clip_assets.download.reasons import most_frequent, named
    from clip_assets.orchestration.instance import opened
    from clip_assets.orchestration.resources import PoolResource
    from clip_assets.orchestration.runs import PoolRun
    from clip_assets.verification import served

    if not all(name.strip() for name in select.split(",")):
        raise click.BadParameter("names no asset", param_hint="--select")
    retry = None if retry_failed is None else named(retry_failed)
    pool = graph.open_pool(root, settings_file)
    if not pool.partitions:
        raise ConfigurationError(
            pool.store.uri(),
            "no partitions",
            "at least one",
            "Plan some: clip-assets add SOURCE...",
        )
    resource = PoolResource.of(pool.settings.root, settings_file or "")
    with opened() as instance:
        pool_run = PoolRun(build_defs(resource), resource, instance)
        summary = pool_run.run(select, partitions, retry=retry)
    after = pool.renewed()
    reasons, damaged = most_frequent(after, summary.downloaded), served.noticed(after)
    if json_output:
        told = {
            "without_image": [asdict(reason) for reason in reasons],
            "damaged": [asdict(damage) for damage in damaged],
        }
        click.echo(masked(json.dumps(asdict(summary) | told, indent=1)))
    elif summary.runs:
        say(summary.as_text())
        for reason in reasons:
            say(reason.as_text())
        if states.served_vectors(pool) == 0:
            say(f"the index is served, {states.NO_VECTORS}")
    elif not summary.failures and not damaged:
        say("nothing to do: everything chosen is done (see: clip-assets status)")
    _end(summary.failures, states.damage_lines(damaged))


def _end(failures: Mapping[str, str], damage: Sequence[str]) -> None:
    """Tell what is wrong, and end the command with an exit code that says so."""
    lines = [f"failed: {name}: {message}" for name, message in failures.items()]
    for line in (*lines, *damage):
        say(line, err=True)
    if failures or damage:
        sys.exit(FAILED)
