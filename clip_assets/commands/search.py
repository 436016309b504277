"""The command that searches a pool."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clip_assets import layout
from clip_assets.commands.options import as_json, pool_options
from clip_assets.commands.searchers import searcher_of
from clip_assets.terminal import say, shown

if TYPE_CHECKING:
    from clip_assets.index.effort.reach import Reach
    from clip_assets.retrieval.queries import Query


@click.command()
@click.argument("text", required=False)
@click.option("--image", type=click.Path(exists=True, dir_okay=False), help="Search by image file.")
@click.option("--embedding", type=click.Path(exists=True, dir_okay=False), help="By a .npy vector.")
@click.option("--uid", help="Search for what is like this pair's image.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="At most.")
@click.option("--threshold", type=float, help="Least cosine similarity.")
@click.option(
    "--recall",
    type=click.FloatRange(0.5, 0.99),
    help="Share of what an exact search finds; more takes longer. Default: index.recall_target.",
)
@click.option(
    "--side",
    "--modality",
    "side",
    type=click.Choice(layout.SIDES),
    default="image",
    show_default=True,
    help="Compare with images or with captions; --modality is its name in earlier releases.",
)
@as_json
@pool_options
def search(  # noqa: PLR0913  (a command's options are its interface)
    text: str | None,
    image: str | None,
    embedding: str | None,
    uid: str | None,
    k: int,
    threshold: float | None,
    recall: float | None,
    side: str,
    root: str | None,
    settings_file: str | None,
    *,
    json_output: bool,
) -> None:
    """Ranked rows of the pool for TEXT, an image, an embedding or a uid."""
    if sum(value is not None for value in (text, image, embedding, uid)) != 1:
        raise click.UsageError("give one of TEXT, --image, --embedding or --uid")
    query = query_of(text, image, embedding, uid)
    with searcher_of(root, settings_file) as searcher:
        hits = searcher.search(query, k=k, threshold=threshold, side=side, recall_target=recall)
        kind = None if embedding else "image" if text is None else "text"
        reach = searcher.reach(k, side, kind=kind, recall_target=recall)
        is_afar = not searcher.pool.store.is_local
    if json_output:
        click.echo(json.dumps([asdict(hit) for hit in hits], indent=1))
        return
    for hit in hits:
        # A result is data, and its url is there to be opened: whole, with what signs it.
        click.echo(shown(f"{hit.similarity:.4f}  {hit.uid}  {hit.caption!r}  {hit.url}"))
    if not hits:
        say("no results", err=True)
    if reach and reach.scanned < 1:
        _say_estimate(reach, is_afar=is_afar)


def _say_estimate(reach: "Reach", *, is_afar: bool) -> None:
    """What was measured of searches that go so far, if that is known."""
    recall = reach.recall_afar if is_afar else reach.recall
    if recall is not None:
        say(
            f"of the {reach.k:,} nearest {recall:.3f} ± {reach.uncertainty:.3f} are found, "
            "as measured when the index was made",
            err=True,
        )


def query_of(
    text: str | None, image: str | None, embedding: str | None, uid: str | None
) -> "Query":
    """The one query that is given."""
    from clip_assets.retrieval.queries import Uid, vector_in

    if text is not None:
        if not text.strip():
            raise click.UsageError("an empty text finds nothing: give some words")
        return text
    if image is not None:
        return Path(image)
    return vector_in(str(embedding)) if uid is None else Uid(uid)
