"""Whether what manifests say of rows agrees, from asset to asset."""

from collections.abc import Iterator, Sequence

from clip_assets import layout
from clip_assets.pool.pool import Pool
from clip_assets.pool.published import Damage
from clip_assets.storage.manifests import Manifest, named


def contradictions(pool: Pool, made: Sequence[Manifest]) -> Iterator[Damage]:
    """Manifests whose rows do not add up, or are not those that their upstream passed on."""
    for manifest in made:
        report, asset = manifest.report, pool.assets[manifest.asset]
        text = ""
        if not report.balances:
            text = f"has {report.rows_in:,} rows in, {report.rows_out:,} out, {report.dropped}"
        upstream = pool.catalog.get(asset.rows_from, manifest.key) if asset.rows_from else None
        passed_on = upstream.report.rows_out if upstream else report.rows_in
        is_of_today = asset.is_current(manifest, asset.made_from(pool, manifest.key))
        if is_of_today and report.rows_in != passed_on:
            name = named(asset.rows_from, manifest.key)
            text = f"has {report.rows_in:,} rows in, where {name} passed on {passed_on:,}"
        if text:
            path = layout.manifest(manifest.asset, manifest.key)
            yield Damage(manifest.asset, manifest.key, path, "content", text)
