"""An asset for people's own graphs: what a file of queries finds in a pool.

The assets of a pool itself are declared in ``defs``.
"""

from pathlib import Path

import dagster as dg

from clip_assets import layout
from clip_assets.orchestration.automation import beside
from clip_assets.orchestration.resources import PoolResource
from clip_assets.retrieval import answering, query_file
from clip_assets.retrieval.search import Searcher


def retrieved(  # noqa: PLR0913  (each is a question of its own)
    name: str,
    queries: str | Path,
    output: str | Path,
    *,
    k: int | None = 10,
    threshold: float | None = None,
    side: str = "image",
    recall_target: float | None = None,
    column: str | None = None,
    group: str = "retrieval",
) -> dg.AssetsDefinition:
    """An asset that answers a file of queries whenever a new index version is served.

    Automation asks for it then; turn on the sensor of your own assets in Dagster's UI. Add it to
    your definitions beside those of ``clip_assets.definitions``; it takes the same resource
    ``pool``.

    Args:
        name: of the asset.
        queries: see ``query_file.read``; read when a run makes the asset.
        output: a parquet file of ``schemas.RETRIEVED``, on the machine of the run.
        k: most results of a query; None: all above the threshold.
        threshold: least similarity.
        side: ``image`` to compare with images, ``text`` to compare with captions.
        recall_target: see ``Searcher.search``.
        column: of the queries, where they are a table.
        group: in Dagster's UI.
    """

    @dg.asset(
        name=name,
        deps=[layout.ID_MAPPING],
        group_name=group,
        kinds={"parquet"},
        automation_condition=beside(of=layout.ID_MAPPING),
    )
    def answered(pool: PoolResource) -> dg.MaterializeResult:
        asked = query_file.read(Path(queries), column)
        with Searcher.open(pool.open()) as searcher:
            tables = answering.retrieve(
                searcher, asked, k, threshold, side, recall_target=recall_target
            )
            rows = answering.write(Path(output), tables)
            version = searcher.version.name
        told = {"queries": len(asked), "dagster/row_count": rows, "index_version": version}
        return dg.MaterializeResult(metadata=told)

    return answered
