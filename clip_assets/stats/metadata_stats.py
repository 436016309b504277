"""``metadata_stats``: what is in the pool, per partition and in total.

Each partition is counted once; a run reads the metadata of those that changed, and adds up.
"""

from clip_assets import layout
from clip_assets.layout import PartitionKey
from clip_assets.pool.stages import Outcome, Stage, StageRun, materialize
from clip_assets.pool.upstream import Upstream
from clip_assets.stats import report
from clip_assets.stats.summary import Summary, total
from clip_assets.storage.manifests import Catalog, Report
from clip_assets.storage.pictures import histogram

METADATA_STATS = Stage("metadata_stats", "2")

_DRAWN = 20
_UPSTREAM = "pool_metadata"


def metadata_stats_inputs(catalog: Catalog, found: Upstream) -> dict[str, str]:
    """The metadata of every partition that has some."""
    return {f"{_UPSTREAM}/{key}": catalog.digest(_UPSTREAM, key) for key in found.done}


def metadata_stats(catalog: Catalog, found: Upstream) -> Outcome:
    """Count sizes, captions, domains, languages, scores and outcomes of the pool.

    Partitions whose metadata is stale are counted as they are.

    Memory: that of counting one partition, see ``count.summarize``.

    Args:
        catalog: the pool.
        found: what there is of its metadata.
    """
    inputs = metadata_stats_inputs(catalog, found)
    before = catalog.get(METADATA_STATS.asset)
    counted = before.inputs if before and before.code_version == METADATA_STATS.version else {}
    return materialize(
        catalog,
        METADATA_STATS,
        None,
        inputs,
        lambda run: _add_up(
            run,
            found,
            {
                key
                for key in found.done
                if inputs[f"{_UPSTREAM}/{key}"] == counted.get(f"{_UPSTREAM}/{key}")
            },
        ),
    )


def _add_up(run: StageRun, found: Upstream, counted: set[PartitionKey]) -> Report:
    summaries: list[tuple[PartitionKey, Summary]] = []
    for number, key in enumerate(found.done):
        run.progress(number, len(found.done), "partitions")
        summaries.append((key, _summary(run, key, is_counted=key in counted)))
    pool = total(summary for _, summary in summaries)
    pictures = _pictures(pool)
    with run.publish(layout.STATS) as part:
        part.write_bytes(pool.content())
    with run.publish(layout.STATS_REPORT) as part:
        text = report.page(pool, summaries, found.stale, found.missing, pictures)
        part.write_text(text, encoding="utf-8")
    return Report(
        rows_in=pool.rows,
        rows_out=pool.rows,
        figures={
            "partitions_used": found.done,
            "partitions_missing": found.missing,
            "partitions_stale": found.stale,
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


def _pictures(pool: Summary) -> dict[str, bytes]:
    charts = {
        "image size": report.sizes(pool),
        "caption length": report.captions(pool),
        **{name: report.score(name, bins) for name, bins in pool.scores.items()},
        "nsfw": dict(list(pool.nsfw.items())[:_DRAWN]),
        "language": dict(list(pool.language.items())[:_DRAWN]),
    }
    return {title: histogram(title, counts) for title, counts in charts.items() if counts}
