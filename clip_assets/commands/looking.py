"""Commands that look at a pool and change nothing of what it holds."""

import json
import sys
from dataclasses import asdict

import click

from clip_assets.commands.options import FAILED, as_json, existing, pool_options


@click.command()
@as_json
@pool_options
def status(root: str | None, pool: str | None, *, json_output: bool) -> None:
    """Partitions by asset and state, row counts, the index served, and what is behind."""
    from clip_assets import status as status_module

    found, store = existing(root, pool)
    report = status_module.report(store, found)
    click.echo(json.dumps(report, indent=1) if json_output else status_module.as_text(report))


@click.command()
@click.argument("text", required=False)
@click.option("--image", type=click.Path(exists=True, dir_okay=False), help="Search by image file.")
@click.option("--embedding", type=click.Path(exists=True, dir_okay=False), help="By a .npy vector.")
@click.option("--uid", help="Search for what is like this pair's image.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="At most.")
@click.option("--threshold", type=float, help="Least cosine similarity.")
@click.option(
    "--modality",
    type=click.Choice(["image", "text"]),
    default="image",
    show_default=True,
    help="Which index to search.",
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
    modality: str,
    root: str | None,
    pool: str | None,
    *,
    json_output: bool,
) -> None:
    """Ranked rows of the pool for TEXT, an image, an embedding or a uid."""
    from clip_assets.retrieval import opening

    if sum(value is not None for value in (text, image, embedding, uid)) != 1:
        raise click.UsageError("give one of TEXT, --image, --embedding or --uid")
    found, store = existing(root, pool)
    query = opening.query(text=text, image=image, embedding=embedding, uid=uid)
    needs_model = text is not None or image is not None
    with opening.searcher(store, found, needs_model=needs_model) as searcher:
        hits = searcher.search(query, k=k, threshold=threshold, modality=modality)
    if json_output:
        click.echo(json.dumps([asdict(hit) for hit in hits], indent=1))
        return
    for hit in hits:
        click.echo(f"{hit.similarity:.4f}  {hit.uid}  {hit.caption!r}  {hit.url}")
    if not hits:
        click.echo("no results", err=True)


@click.command()
@click.option("--sweep", is_flag=True, help="Remove unpublished files of processes that died.")
@pool_options
def doctor(root: str | None, pool: str | None, *, sweep: bool) -> None:
    """What is wrong with this machine, the store or the Dagster instance.

    Exit code 1: something is, see the lines that begin with BAD.
    """
    from clip_assets import doctor as doctor_module

    found, store = existing(root, pool)
    findings = doctor_module.examine(found, store)
    for finding in findings:
        click.echo(f"{'ok  ' if finding.is_good else 'BAD '} {finding.subject}: {finding.text}")
    if sweep:
        click.echo(f"removed {store.sweep()} unpublished files of processes that died")
    if not all(finding.is_good for finding in findings):
        sys.exit(FAILED)
