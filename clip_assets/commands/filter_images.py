"""The command that copies the images that a query finds."""

from pathlib import Path

import click

from clip_assets.commands.options import pool_options
from clip_assets.terminal import say


@click.command("filter")
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--query", required=True, help="A text.")
@click.option(
    "--num-results", type=click.IntRange(min=1), default=100, show_default=True, help="At most."
)
@click.option("--threshold", type=float, help="Least cosine similarity.")
@pool_options
def filter_images(
    output: Path,
    query: str,
    num_results: int,
    threshold: float | None,
    root: str | None,
    settings_file: str | None,
) -> None:
    """Copy the images that a text finds to OUTPUT, an empty folder or none, named by their uids.

    Images come out of the pool's shards as they lie there; nothing is downloaded. What else is
    known of them stands in OUTPUT/results.parquet, as retrieve writes it, which is written last.

    \b
      clip-assets filter --query "a cat" --num-results 100 --threshold 0.25 cats/
    """  # noqa: D301  (click's mark for "do not wrap")
    from clip_assets import graph
    from clip_assets.retrieval import copies
    from clip_assets.retrieval.search import Searcher

    with Searcher.open(graph.open_pool(root, settings_file)) as searcher:
        copied = copies.copy_images(searcher, query, output, num_results, threshold)
    say(f"{copied.images:,} images: {output}")
    if copied.without:
        told = (
            f"{copied.without:,} results have no image in the pool, as their vectors were adopted"
        )
        say(f"{told}; their urls are in {copies.RESULTS}", err=True)
