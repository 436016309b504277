"""The command that writes a pool's metadata as DataComp's scripts read them."""

from pathlib import Path

import click

from clip_assets import layout
from clip_assets.commands.options import pool_options
from clip_assets.terminal import say


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--own-as",
    type=click.Choice(("b32", "l14")),
    help="Write similarities by the pool's own model as if they were OpenAI's of this name.",
)
@click.option("--features", is_flag=True, help="Also an npz of vectors beside each file.")
@pool_options
def metadata(
    folder: Path,
    own_as: str | None,
    root: str | None,
    settings_file: str | None,
    *,
    features: bool,
) -> None:
    """Write the pool's pairs to FOLDER as DataComp's metadata, for its scripts.

    A parquet file with DataComp's columns for each partition, of the pairs whose images were had.
    """
    from clip_assets import graph
    from clip_assets.pool.upstream import upstream
    from clip_assets.subsets.candidates import PoolRows
    from clip_assets.subsets.folder_writer import write_folder

    pool = graph.open_pool(root, settings_file)
    rows = PoolRows(pool, upstream(pool, layout.POOL_METADATA).done)
    count = write_folder(rows, folder, own_as=own_as, features=features)
    say(f"{folder}: {count:,} pairs of {len(rows.pieces):,} partitions")
