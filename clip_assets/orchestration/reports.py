"""A stage's manifest as Dagster metadata, and layout schemas as table schemas."""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from clip_assets import layout
from clip_assets.download.reasons import WORDS
from clip_assets.masking import masked
from clip_assets.meanings import meaning
from clip_assets.pool.asset import Outcome
from clip_assets.storage.manifests import Manifest
from clip_assets.storage.store import Store

MAX_PICTURE_BYTES = 300_000
"""Larger pictures are linked, not embedded: metadata lives in the event log."""


ASKED_FIRST = (
    "success_rate",
    "images_per_s",
    "mean_similarity",
    "model_utilisation",
    "vectors",
    "distinct_uids",
    "partitions_used",
    "partitions_missing",
    "partitions_stale",
)
"""Figures that people ask for, in this order; the others follow as their stage has them."""

NOUNS = {
    layout.RAW_PAIRS: ("source rows", "pairs"),
    layout.UNIQUE_PAIRS: ("pairs", "seen for the first time"),
    layout.IMAGE_SHARDS: ("urls", "images"),
    layout.EMBEDDINGS: ("images", "embedded"),
    layout.POOL_METADATA: ("pairs", "described"),
    layout.METADATA_STATS: ("pairs", "counted"),
    layout.SUBSETS: ("pairs", "chosen"),
    layout.INDEX_SEGMENTS: ("vectors", "encoded"),
    layout.FAISS_INDEX: ("vectors", "merged"),
    layout.ID_MAPPING: ("vectors", "mapped to their pairs"),
}
"""What goes into an asset and what comes out, for people."""

REASONS_TOLD = 3
KEYS_TOLD = 20


def as_metadata(store: Store, outcome: Outcome) -> dict[str, Any]:
    """What people see on a materialization, the most asked for first.

    A sentence, numbers (Dagster draws them over partitions), texts, tables and pictures, then how
    it was made, and last what is for programs.
    """
    manifest = outcome.manifest
    report = manifest.report
    row_count = "dagster/partition_row_count" if manifest.key else "dagster/row_count"
    figures = {name: report.figures[name] for name in ASKED_FIRST if name in report.figures}
    figures |= report.figures
    shown = [pair for name, figure in figures.items() for pair in _shown(name, figure)]
    # Json is for programs: a model's identity, nested counts.
    programs = {name: value for name, value in shown if isinstance(value, dg.JsonMetadataValue)}
    metadata: dict[str, Any] = {
        "summary": in_words(manifest),
        row_count: report.rows_out,
        "rows_in": report.rows_in,
        "rows_out": report.rows_out,
        "rows_dropped": sum(report.dropped.values()),
    }
    if report.dropped:
        metadata["dropped_by_reason"] = _table(report.dropped)
    metadata |= {name: value for name, value in shown if name not in programs}
    metadata |= {title: _picture(store, path) for title, path in report.pictures.items()}
    metadata |= {
        "rows_per_s": round(report.rows_in / manifest.seconds, 1) if manifest.seconds else 0.0,
        "seconds": float(manifest.seconds),
        "size_bytes": manifest.size_bytes,
        "peak_memory_bytes": manifest.peak_memory_bytes,
        "finished_at": manifest.finished_at,
        "was_current": outcome.reused,
    }
    return metadata | _places(store, manifest) | programs


def in_words(manifest: Manifest) -> str:
    """The outcome of a key in a sentence: what came out of what went in, and where the rest is."""
    report = manifest.report
    given, made = NOUNS.get(manifest.asset, ("rows", "passed on"))
    if not report.rows_in:
        return f"No {given}."
    share = f"{report.rows_out / report.rows_in:.1%}"
    text = f"{report.rows_out:,} of {report.rows_in:,} {given} {made} ({share})."
    if made in ("images", "pairs"):
        text = f"{report.rows_out:,} {made} of {report.rows_in:,} {given} ({share})."
    most = sorted(report.dropped.items(), key=lambda item: -item[1])
    if not most:
        return text
    told = ", ".join(f"{count:,} {_explained(reason)}" for reason, count in most[:REASONS_TOLD])
    rest = sum(count for _, count in most[REASONS_TOLD:])
    return f"{text} Not passed on: {told}{f', {rest:,} for other reasons' if rest else ''}."


def column_schema(schema: pa.Schema) -> dict[str, Any]:
    """A layout schema in the form that the Dagster UI shows as a table."""
    columns = [
        dg.TableColumn(
            field.name,
            str(field.type),
            description=meaning(schema, field.name) or None,
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
    return {"dagster/uri": masked(uri), "published_files": len(files)}


def _explained(reason: str) -> str:
    return f"{reason} ({WORDS[reason][0]})" if reason in WORDS else reason


def _shown(name: str, figure: Any) -> Iterator[tuple[str, Any]]:
    """A figure as Dagster shows it: a number where it is one or can be counted."""
    if isinstance(figure, list):
        yield from _listed(name, figure)
    elif isinstance(figure, Mapping) and figure and figure.keys() <= {*layout.SIDES}:
        for side, value in figure.items():
            yield from _shown(f"{name}_{side}", value)
    elif isinstance(figure, Mapping):
        is_counts = all(isinstance(value, int) for value in figure.values())
        if is_counts and figure:
            yield name, _table(figure)
        elif figure:
            yield name, dg.MetadataValue.json(dict(figure))
    elif isinstance(figure, float) and not math.isfinite(figure):
        yield name, str(figure)
    elif figure is not None:
        yield name, figure if isinstance(figure, bool | int | float) else str(figure)


def _listed(name: str, figures: list[Any]) -> Iterator[tuple[str, Any]]:
    """Rows as a table; names with their count."""
    if figures and isinstance(figures[0], Mapping):
        yield name, _rows(figures)
        return
    yield name, len(figures)
    if figures:
        more = f" and {len(figures) - KEYS_TOLD:,} more" if len(figures) > KEYS_TOLD else ""
        yield f"{name}_named", ", ".join(map(str, figures[:KEYS_TOLD])) + more


def _rows(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows that all have the same fields."""
    schema = dg.TableSchema([dg.TableColumn(name) for name in rows[0]])
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows], schema)


def _table(counts: Mapping[str, int]) -> dg.TableMetadataValue:
    """Counts, each with its share."""
    total = max(1, sum(counts.values()))
    schema = dg.TableSchema([dg.TableColumn(name) for name in ("value", "count", "share")])
    records = [
        dg.TableRecord({"value": str(name), "count": count, "share": f"{count / total:.1%}"})
        for name, count in counts.items()
    ]
    return dg.MetadataValue.table(records, schema)


def _picture(store: Store, path: str) -> Any:
    content = store.read_bytes(path)
    if len(content) > MAX_PICTURE_BYTES:
        return dg.MetadataValue.url(masked(store.uri(path)))
    kind = "jpeg" if path.endswith((".jpg", ".jpeg")) else "png"
    encoded = base64.b64encode(content).decode()
    return dg.MetadataValue.md(f"![{path}](data:image/{kind};base64,{encoded})")
