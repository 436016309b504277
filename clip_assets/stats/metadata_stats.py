"""``metadata_stats``: what is in the pool, per partition and in total.

Each partition is counted once; a run reads the metadata of those that changed, and adds up.
"""

import hashlib
from collections.abc import Sequence

from clip_assets import layout
from clip_assets.errors import DamagedError, MissingArtifactError
from clip_assets.layout import Key, PartitionKey
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.pool.upstream import upstream
from clip_assets.stats import report
from clip_assets.stats.summary import Summary, total
from clip_assets.storage import tables
from clip_assets.storage.manifests import Output, Report
from clip_assets.storage.pictures import histogram
from clip_assets.storage.store import Store

_DRAWN = 20


def metadata_stats_inputs(pool: Pool, key: Key) -> Inputs:
    """The metadata of every partition that has some."""
    del key
    return {_name(p): _digest(pool, p) for p in upstream(pool, layout.POOL_METADATA).done}


def _name(partition: PartitionKey) -> str:
    return f"{layout.POOL_METADATA}/{partition}"


def _digest(pool: Pool, partition: PartitionKey) -> str:
    return pool.catalog.digest(layout.POOL_METADATA, partition)


def metadata_stats(pool: Pool, key: Key) -> Outcome:
    """Count sizes, captions, domains, languages, scores and outcomes of the pool.

    Partitions whose metadata is stale are counted as they are.

    Memory: that of counting one partition, see ``count.summarize``.
    """
    return materialize(pool, METADATA_STATS, key, _add_up)


METADATA_STATS = Asset(
    layout.METADATA_STATS,
    "3",
    make=metadata_stats,
    inputs=metadata_stats_inputs,
    axis="pool",
    deps=(layout.POOL_METADATA,),
)


def _counted(run: StageRun, partitions: Sequence[PartitionKey]) -> dict[PartitionKey, Output]:
    """The last run's files of partitions whose counts are still right."""
    # As this run began: the manifest in the store counts for nobody while it goes on.
    before = run.pool.catalog.get(run.asset.name, run.key)
    if before is None or before.code_version != run.asset.version:
        return {}
    files = {output.path: output for output in before.of_kind(layout.partition_stats)}
    same = [p for p in partitions if before.inputs.get(_name(p)) == _digest(run.pool, p)]
    paths = {p: layout.partition_stats(p) for p in same}
    return {p: files[path] for p, path in paths.items() if path in files}


def _add_up(run: StageRun) -> Report:
    rows = upstream(run.pool, layout.POOL_METADATA)
    counted = _counted(run, rows.done)
    summaries: list[tuple[PartitionKey, Summary]] = []
    for number, key in enumerate(rows.done):
        run.progress(number, len(rows.done), "partitions")
        summaries.append((key, _summary(run, key, counted.get(key))))
    pool = total(summary for _, summary in summaries)
    pictures = _pictures(pool)
    with run.publish(layout.stats()) as part:
        part.write_bytes(pool.content())
    with run.publish(layout.stats_report()) as part:
        text = report.page(pool, summaries, rows.stale, rows.missing, pictures)
        part.write_text(text, encoding="utf-8")
    return Report(
        rows_in=pool.rows,
        rows_out=pool.rows,
        figures={
            "partitions_used": rows.done,
            "partitions_missing": rows.missing,
            "partitions_stale": rows.stale,
            "status": pool.status,
            "image_size": report.sizes(pool),
            "caption_length": report.captions(pool),
            "domains": dict(list(pool.domains.items())[:_DRAWN]),
        },
        pictures={
            title: run.publish_picture(f"{title.replace(' ', '_')}.png", content)
            for title, content in pictures.items()
        },
    )


def _summary(run: StageRun, partition: PartitionKey, counted: Output | None) -> Summary:
    """A partition's counts, those of the last run where its rows did not change."""
    if counted and (content := _sound(run.store, counted)):
        run.keep(counted)
        return Summary.parsed(content)
    from clip_assets.stats.count import summarize

    path = layout.partition_stats(partition)
    made = run.pool.catalog.require(layout.POOL_METADATA, partition)
    with tables.local(run.store, made, layout.pool_rows) as rows:
        summary = summarize(rows)
    with run.publish(path) as part:
        part.write_bytes(summary.content())
    return summary


def _sound(store: Store, output: Output) -> bytes | None:
    """A file of the last run, None if it is gone or damaged: counting again costs little."""
    try:
        content = store.read_bytes(output.path)
    except (MissingArtifactError, DamagedError):
        return None
    return content if hashlib.sha256(content).hexdigest() == output.sha256 else None


def _pictures(pool: Summary) -> dict[str, bytes]:
    charts = {
        "image size": report.sizes(pool),
        "caption length": report.captions(pool),
        **{name: report.score(name, bins) for name, bins in pool.scores.items()},
        "nsfw": dict(list(pool.nsfw.items())[:_DRAWN]),
        "language": dict(list(pool.language.items())[:_DRAWN]),
    }
    return {
        title: histogram(report.in_words(title), counts)
        for title, counts in charts.items()
        # A value that every row lacks needs no picture.
        if counts.keys() - {report.NONE}
    }
