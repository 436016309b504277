"""Checks of published files, apart from what makes them, and when they run by themselves."""

from collections.abc import Iterator, Sequence

import dagster as dg
from pydantic import Field

from clip_assets.graph import ASSETS
from clip_assets.orchestration.resources import PoolResource
from clip_assets.pool.published import Damage
from clip_assets.storage.expected import REPAIR
from clip_assets.verification.verify_pool import verify

FILES = "files_are_whole"
"""Check of every asset: its published files are there and are what their manifests say."""

SHOWN = 20
"""Damaged files that a verdict names."""


class Depth(dg.Config):
    """How closely one run looks."""

    deep: bool = Field(
        default=False,
        description="Read every file and compare digests; else only sizes, from listings",
    )


@dg.multi_asset_check(
    name="files",
    specs=[
        dg.AssetCheckSpec(
            FILES,
            asset=name,
            description="Published files are there and have the size, or with the run config deep "
            "the digest, of their manifests. Without files it has nothing to look at, and warns.",
        )
        for name in ASSETS
    ],
    can_subset=True,
)
def verify_files(
    context: dg.AssetCheckExecutionContext, config: Depth, pool: PoolResource
) -> Iterator[dg.AssetCheckResult]:
    """Compare the files of the selected assets with their manifests; nothing is changed."""
    selected = [key.asset_key.to_user_string() for key in context.selected_asset_check_keys]
    seen = verify(pool.open(), deep=config.deep, only=selected)
    for name in selected:
        damaged = [damage for damage in seen.damaged if damage.asset == name]
        yield _result(name, seen.files_by_asset[name], damaged)


def _result(name: str, files: int, damaged: Sequence[Damage]) -> dg.AssetCheckResult:
    partitions = sorted({damage.key for damage in damaged if damage.key})
    told = [damage.as_text() for damage in damaged[:SHOWN]]
    if len(damaged) > SHOWN:
        told.append(f"... and {len(damaged) - SHOWN:,} more files")
    description = f"Damaged: {'; '.join(told)}. Run: {REPAIR}" if damaged else None
    if not files and not damaged:
        description = "No file is published yet."
    return dg.AssetCheckResult(
        passed=bool(files) and not damaged,
        asset_key=name,
        check_name=FILES,
        severity=dg.AssetCheckSeverity.ERROR if damaged else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={
            "files": files,
            "damaged_files": len(damaged),
            "damaged_partitions": ", ".join(partitions) or "none",
        },
    )


VERIFY = dg.define_asset_job(
    "verify_files",
    selection=dg.AssetSelection.checks(
        *(dg.AssetCheckKey(dg.AssetKey(name), FILES) for name in ASSETS)
    ),
    description="Compares published files with their manifests; run config: deep.",
)

verify_nightly = dg.ScheduleDefinition(
    name="verify_nightly",
    job=VERIFY,
    cron_schedule="0 4 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: whether every published file is there, in its size.",
)
