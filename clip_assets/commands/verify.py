"""The command that compares a pool with its manifests, and mends it."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from clip_assets.commands.options import FAILED, as_json, pool_options
from clip_assets.masking import masked
from clip_assets.terminal import say

if TYPE_CHECKING:
    from clip_assets.layout import Key
    from clip_assets.pool.pool import Axis, Pool
    from clip_assets.verification.remedies import Remedy
    from clip_assets.verification.verify_pool import Verification

SHOWN = 50
"""Damaged files listed one by one as text; the json has all."""


@click.command()
@click.option("--deep", is_flag=True, help="Read every file: digests, rows, indices and their ids.")
@click.option(
    "--partitions",
    help="Look only at these: keys, a,b or a..b; also names of subsets. [default: everything]",
)
@click.option("--repair", is_flag=True, help="Make what is damaged again, from what is sound.")
@as_json
@pool_options
def verify(
    partitions: str | None,
    root: str | None,
    settings_file: str | None,
    *,
    deep: bool,
    repair: bool,
    json_output: bool,
) -> None:
    """Whether every published file is there and is what its manifest says.

    Without --deep only the sizes are compared, from listings. What is damaged is told with what it
    means and with what --repair would do about it; nothing is changed without it. Exit code 1:
    something is damaged, or stays so.
    """
    from clip_assets import graph
    from clip_assets.verification import remedies
    from clip_assets.verification.verify_pool import verify as compare

    pool = graph.open_pool(root, settings_file)
    keys = None if partitions is None else _chosen(pool, partitions)
    verdict = compare(pool, deep=deep, keys=keys)
    plan = remedies.planned(pool, verdict.damaged)
    if not json_output:
        _tell(verdict, plan, is_repaired=repair)
    done: list[Remedy] = []
    for remedy in remedies.mend(pool, plan) if repair else ():
        done.append(remedy)
        if not json_output:
            say(f"{'not mended' if remedy.why_not else 'mended'}: {remedy.as_text()}")
    if json_output:
        click.echo(json.dumps(_as_json(pool, verdict, plan, done), indent=1))
    if verdict.damaged and (not repair or any(remedy.why_not for remedy in done)):
        sys.exit(FAILED)


def _chosen(pool: "Pool", spec: str) -> "dict[Axis, Sequence[Key]]":
    from clip_assets import states

    axes: tuple[Axis, ...] = ("partition", "subset")
    return {axis: states.chosen(spec, pool, pool.assets.values(), axis) for axis in axes}


def _tell(verdict: "Verification", plan: "Sequence[Remedy]", *, is_repaired: bool) -> None:
    from clip_assets.verification.consequences import consequence

    how = "read" if verdict.is_deep else "listed"
    say(f"{verdict.files:,} published files {how}, {verdict.size_bytes:,} bytes")
    for damage in verdict.damaged[:SHOWN]:
        say(f"damaged: {damage.as_text()}\n  so: {consequence(damage)}")
    if len(verdict.damaged) > SHOWN:
        say(f"damaged: ... and {len(verdict.damaged) - SHOWN:,} more files")
    if not verdict.damaged:
        say("all are whole" if verdict.is_deep else "all have their size (see also: --deep)")
    elif not is_repaired:
        for remedy in plan:
            say(f"repair: {remedy.as_text()}")
        if not all(remedy.why_not for remedy in plan):
            say("next: clip-assets verify --repair" + " --deep" * verdict.is_deep)


def _as_json(
    pool: "Pool", verdict: "Verification", plan: "Sequence[Remedy]", done: "Sequence[Remedy]"
) -> dict[str, Any]:
    from clip_assets.verification.consequences import consequence

    damaged = [asdict(damage) | {"means": consequence(damage)} for damage in verdict.damaged]
    return {
        "root": masked(pool.store.uri()),
        "deep": verdict.is_deep,
        "files": verdict.files,
        "size_bytes": verdict.size_bytes,
        "damaged": damaged,
        "repair": [asdict(remedy) for remedy in done or plan],
        "repaired": bool(done),
    }
