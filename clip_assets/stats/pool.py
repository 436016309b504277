"""``metadata_stats``: what is in the pool, per partition and in total.

Each partition is counted once; a run reads the metadata of those that changed, and adds up.
"""

from collections.abc import Sequence

from clip_assets import layout
from clip_assets.layout import PartitionKey
from clip_assets.stats import report
from clip_assets.stats.summary import Summary, total
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.stages import Outcome, Stage, StageRun, materialize

METADATA_STATS = Stage("metadata_stats", "1")

_UPSTREAM = "pool_metadata"


def metadata_stats_inputs(catalog: Catalog, partitions: Sequence[PartitionKey]) -> dict[str, str]:
    """The metadata of every partition that has some."""
    return {
        f"{_UPSTREAM}/{key}": catalog.digest(_UPSTREAM, key)
        for key in partitions
        if catalog.get(_UPSTREAM, key)
    }


def metadata_stats(catalog: Catalog, partitions: Sequence[PartitionKey]) -> Outcome:
    """Count sizes, captions, domains, languages, scores and outcomes of the pool.

    Memory: that of counting one partition, see ``count.summarize``.
    """
    inputs = metadata_stats_inputs(catalog, partitions)
    before = catalog.get(METADATA_STATS.asset)
    counted = before.inputs if before and before.code_version == METADATA_STATS.version else {}
    return materialize(
        catalog,
        METADATA_STATS,
        None,
        inputs,
        lambda run: _add_up(
            run,
            [key for key in partitions if f"{_UPSTREAM}/{key}" in inputs],
            [key for key in partitions if f"{_UPSTREAM}/{key}" not in inputs],
            {
                key
                for key in partitions
                if f"{_UPSTREAM}/{key}" in inputs
                and counted.get(f"{_UPSTREAM}/{key}") == inputs[f"{_UPSTREAM}/{key}"]
            },
        ),
    )


def _add_up(
    run: StageRun,
    used: Sequence[PartitionKey],
    missing: Sequence[PartitionKey],
    counted: set[PartitionKey],
) -> Report:
    summaries: list[tuple[PartitionKey, Summary]] = []
    for number, key in enumerate(used):
        run.progress(number, len(used), "partitions")
        summaries.append((key, _summary(run, key, is_counted=key in counted)))
    pool = total(summary for _, summary in summaries)
    with run.publish(layout.STATS) as part:
        part.write_bytes(pool.content())
    with run.publish(layout.STATS_REPORT) as part:
        part.write_text(report.markdown(pool, summaries), encoding="utf-8")
    return Report(
        rows_in=pool.rows,
        rows_out=pool.rows,
        figures={
            "partitions_used": list(used),
            "partitions_missing": list(missing),
            "status": pool.status,
            "image_size": report.sizes(pool),
            "caption_length": report.captions(pool),
            "domains": dict(list(pool.domains.items())[:20]),
        },
        pictures=_pictures(run, pool),
    )


def _summary(run: StageRun, partition: PartitionKey, *, is_counted: bool) -> Summary:
    """A partition's counts, those of the last run where its rows did not change."""
    path = layout.partition_stats(partition)
    if is_counted and run.store.exists(path):
        run.adopt(path)
        return Summary.parsed(run.store.read_bytes(path))
    from clip_assets.stats.count import summarize

    with run.store.local(layout.pool_rows(partition), _UPSTREAM) as rows:
        found = summarize(rows)
    with run.publish(path) as part:
        part.write_bytes(found.content())
    return found


def _pictures(run: StageRun, pool: Summary) -> dict[str, str]:
    charts = {
        "image size": report.sizes(pool),
        "caption length": report.captions(pool),
        **{name: report.score(name, bins) for name, bins in pool.scores.items()},
        "nsfw": pool.nsfw,
    }
    return {
        title: run.publish_picture(f"{title.replace(' ', '_')}.png", report.picture(title, counts))
        for title, counts in charts.items()
        if counts
    }
