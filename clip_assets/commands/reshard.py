"""The command that copies a subset's samples into new tars."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from clip_assets.commands.options import as_json
from clip_assets.errors import MissingArtifactError
from clip_assets.terminal import say


@click.command()
@click.option(
    "--subset",
    required=True,
    help="Uids: a .npy file in DataComp's form, path or url; or the name of a subset of the first "
    "input, a pool, perhaps with a version: NAME@3f2a90c1.",
)
@click.option("--output", required=True, help="An empty folder, path or url.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    help="A pool, a folder with tars, or a glob; may be repeated. [default: $CLIP_ASSETS_ROOT,"
    " then data]",
)
@click.option(
    "--shard-size",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Samples of a tar.",
)
@click.option(
    "--shuffle",
    "seed",
    type=click.IntRange(min=0),
    metavar="SEED",
    help="Order all samples at random by this seed. [default: the inputs' order]",
)
@click.option(
    "--metadata",
    default="",
    help="A parquet with uid, or a folder of such, for --column and --blur-faces. "
    "[default: that of the first input, a pool]",
)
@click.option("--column", "columns", multiple=True, help="Put it into the json of samples.")
@click.option(
    "--blur-faces", is_flag=True, help="Blur face_bboxes; these images are encoded again."
)
@click.option("--allow-missing", is_flag=True, help="Go on without uids that are in no tar.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Tars written at once. [default: twice the cores]"
)
@as_json
def reshard(  # noqa: PLR0913  (a command's options are its interface)
    subset: str,
    output: str,
    inputs: tuple[str, ...],
    shard_size: int,
    seed: int | None,
    workers: int | None,
    metadata: str,
    columns: tuple[str, ...],
    *,
    blur_faces: bool,
    allow_missing: bool,
    json_output: bool,
) -> None:
    """Copy the samples of a subset into new tars, in DataComp's layout.

    Nothing is decoded but for --blur-faces; a sample's key becomes its uid and a number. What a
    killed run has written is kept by the next one.
    """
    from clip_assets import settings
    from clip_assets.reshard.resharding import Options
    from clip_assets.reshard.resharding import reshard as copied

    places = list(inputs) or [settings.load().root]
    options = Options(
        shard_size,
        seed,
        allow_missing,
        workers or Options().workers,
        metadata or f"{places[0]}/metadata",
        columns,
        blur_faces,
    )
    done = copied(_file_of(subset, places[0]), output, places, options)
    if json_output:
        click.echo(json.dumps(asdict(done), indent=1))
        return
    say(f"{done.samples:,} samples in {done.shards:,} tars in {done.seconds:,} s: {output}")
    notes = {
        "uids were left out, as they were taken down": done.taken_down,
        "uids are in no tar, see missing_ids.npy": done.missing,
        "samples were left out, as an earlier one has their uid": done.repeated,
        "samples of the inputs have no uid": done.without_uid,
        "tars were there from a run before": done.kept,
    }
    for note, count in notes.items():
        if count:
            say(f"{count:,} {note}")


def _file_of(subset: str, root: str) -> str:
    """The file of a pool's subset, where it is the name of one; else as it is said.

    Raises:
        ConfigurationError: it is neither a subset of the pool that is there, nor a file.
    """
    from clip_assets import graph
    from clip_assets.pool import subset_versions

    if "/" in subset or subset.endswith(".npy"):
        return subset
    try:
        pool = graph.open_pool(root)
    except MissingArtifactError:
        return subset
    if not subset_versions.is_subset(pool, subset):
        if not Path(subset).exists():
            raise subset_versions.unknown(pool, subset, subset)
        return subset
    return pool.store.uri(subset_versions.path_of(pool, subset))
