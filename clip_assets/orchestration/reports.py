"""A stage's manifest as Dagster metadata, and layout schemas as table schemas."""

import base64
import math
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pyarrow as pa

from clip_assets import layout
from clip_assets.pool.asset import Outcome
from clip_assets.storage.manifests import Manifest
from clip_assets.storage.store import Store

MAX_PICTURE_BYTES = 300_000
"""Larger pictures are linked, not embedded: metadata lives in the event log."""


def as_metadata(store: Store, outcome: Outcome) -> dict[str, Any]:
    """What people see on a materialization: counts, rates, bytes, pictures, places."""
    manifest = outcome.manifest
    report = manifest.report
    row_count = "dagster/partition_row_count" if manifest.key else "dagster/row_count"
    metadata: dict[str, Any] = {
        row_count: report.rows_out,
        "rows_in": report.rows_in,
        "rows_out": report.rows_out,
        "rows_dropped": report.dropped or 0,
        "rows_per_s": round(report.rows_in / manifest.seconds, 1) if manifest.seconds else 0,
        "size_bytes": manifest.size_bytes,
        "seconds": manifest.seconds,
        "peak_memory_bytes": manifest.peak_memory_bytes,
        "finished_at": manifest.finished_at,
        "was_current": outcome.reused,
    }
    metadata |= _places(store, manifest)
    metadata |= {name: _value(figure) for name, figure in report.figures.items()}
    metadata |= {title: _picture(store, path) for title, path in report.pictures.items()}
    return metadata


def column_schema(schema: pa.Schema) -> dict[str, Any]:
    """A layout schema in the form that the Dagster UI shows as a table."""
    columns = [
        dg.TableColumn(
            field.name,
            str(field.type),
            constraints=dg.TableColumnConstraints(nullable=field.nullable),
        )
        for field in schema
    ]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def _places(store: Store, manifest: Manifest) -> dict[str, Any]:
    files = [o for o in manifest.outputs if not o.path.startswith(f"{layout.PICTURES}/")]
    if not files:
        return {}
    first = files[0].path
    uri = store.uri(first if len(files) == 1 else first.rpartition("/")[0])
    return {"dagster/uri": uri, "files": len(files)}


def _value(figure: Any) -> Any:
    if isinstance(figure, float) and not math.isfinite(figure):
        return str(figure)
    if isinstance(figure, list) and not figure:
        return "none"
    if isinstance(figure, Mapping) and not figure:
        return "none"
    if isinstance(figure, bool | int | float | str | list | dict):
        return figure
    return str(figure)


def _picture(store: Store, path: str) -> Any:
    content = store.read_bytes(path)
    if len(content) > MAX_PICTURE_BYTES:
        return dg.MetadataValue.url(store.uri(path))
    kind = "jpeg" if path.endswith((".jpg", ".jpeg")) else "png"
    encoded = base64.b64encode(content).decode()
    return dg.MetadataValue.md(f"![{path}](data:image/{kind};base64,{encoded})")
