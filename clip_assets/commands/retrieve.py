"""The command that answers a file of queries."""

from pathlib import Path

import click

from clip_assets import layout
from clip_assets.commands.options import pool_options
from clip_assets.commands.searchers import searcher_of
from clip_assets.terminal import say


@click.command()
@click.argument("queries", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--column",
    help="Of a table's queries; of another name: texts or embeddings. [default: text, query, "
    "prompt, caption, image, uid or embedding, the first that it has]",
)
@click.option(
    "-k",
    type=click.IntRange(min=1),
    help="Results of each. [default: 10, or all above --threshold]",
)
@click.option("--threshold", type=float, help="Least cosine similarity.")
@click.option("--recall", type=click.FloatRange(0.5, 0.99), help="As of search.")
@click.option(
    "--side",
    type=click.Choice(layout.SIDES),
    default="image",
    show_default=True,
    help="Compare with images or with captions.",
)
@pool_options
def retrieve(  # noqa: PLR0913  (a command's options are its interface)
    queries: Path,
    output: Path,
    column: str | None,
    k: int | None,
    threshold: float | None,
    recall: float | None,
    side: str,
    root: str | None,
    settings_file: str | None,
) -> None:
    """What each query of a file finds, to a parquet file OUTPUT.

    QUERIES is a .parquet or .csv table, a .txt with a text in each line, or a .npy of embeddings.
    A table's queries are its column text (or query, prompt, caption), image (paths beside QUERIES),
    uid or embedding. OUTPUT has a row for each result, best first: query, query_row (of QUERIES,
    from 0; empty lines do not count), rank (from 0), uid, id, similarity, url, caption.

    \b
      clip-assets retrieve queries.csv found.parquet -k 100
      clip-assets retrieve queries.csv close.parquet --threshold 0.3     all above it
    """  # noqa: D301  (click's mark for "do not wrap")
    from clip_assets.retrieval import answering, query_file

    if output.suffix != ".parquet":
        raise click.BadParameter("is a parquet file: NAME.parquet", param_hint="OUTPUT")
    asked = query_file.read(queries, column)
    wanted = 10 if k is None and threshold is None else k
    with searcher_of(root, settings_file) as searcher:
        tables = answering.retrieve(searcher, asked, wanted, threshold, side, recall_target=recall)
        rows = answering.write(output, tables)
    say(f"{rows:,} results of {len(asked):,} queries: {output}")
