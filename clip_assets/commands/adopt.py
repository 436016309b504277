"""The command that takes over what others made."""

from typing import TYPE_CHECKING

import click

from clip_assets import layout, settings
from clip_assets.commands.options import pool_options
from clip_assets.errors import ConfigurationError, SourceFormatError
from clip_assets.storage.store import Store
from clip_assets.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clip_assets.partitions.adoptable import FoundPiece
    from clip_assets.settings import InferenceSettings, Settings


@click.group()
def adopt() -> None:
    """Take what others finished into the pool as partitions."""


@adopt.command("shards")
@click.argument("folder")
@click.option("--url-column", default="", help="Column of the urls, or of what follows a prefix.")
@click.option("--url-prefix", default="", help="Before each value of that column.")
@pool_options
def adopt_shards(
    folder: str,
    url_column: str,
    url_prefix: str,
    root: str | None,
    settings_file: str | None,
) -> None:
    """Plan partitions of a FOLDER of shards, whose images are not fetched again.

    Takes what img2dataset writes, as DataComp has it too: tars with a parquet file beside each.
    Then: clip-assets run.
    """
    from clip_assets.partitions.adoptable import shards_in

    _adopt(shards_in(folder), "", (url_column, url_prefix), root, settings_file)


@adopt.command(layout.EMBEDDINGS)
@click.argument("folder")
@click.option("--model", help="Whose vectors they are, as inference.model names it.")
@click.option("--pretrained", help="Its weights, as inference.pretrained names them.")
@click.option("--image-subfolder", default="img_emb", show_default=True, help="Of npy files.")
@click.option("--text-subfolder", default="text_emb", show_default=True, help="Likewise.")
@click.option("--metadata-subfolder", default="metadata", show_default=True, help="Of their rows.")
@click.option("--image-column", default="", help="Array of npz files, or column of parquet files.")
@click.option("--text-column", default="", help="Likewise, of captions.")
@click.option(
    "--url-column", default="", help="Column that has the urls, or what is added to the prefix."
)
@click.option("--url-prefix", default="", help="Before each value of that column.")
@pool_options
def adopt_embeddings(  # noqa: PLR0913  (a command's options are its interface)
    folder: str,
    model: str | None,
    pretrained: str | None,
    image_subfolder: str,
    text_subfolder: str,
    metadata_subfolder: str,
    image_column: str,
    text_column: str,
    url_column: str,
    url_prefix: str,
    root: str | None,
    settings_file: str | None,
) -> None:
    """Plan partitions of a FOLDER of embeddings, which are not made again.

    Takes the layout of clip-retrieval and of LAION's published files, DataComp's metadata with npz
    files, and parquet files with a column of vectors. Then: clip-assets run.
    """
    from clip_assets.partitions.adoptable import FolderNames, embeddings_in

    _check_model(folder, model, pretrained, settings.load(root, settings_file).inference)
    names = FolderNames(
        image_subfolder, text_subfolder, metadata_subfolder, image_column, text_column
    )
    whose = f"{model}/{pretrained}" if pretrained else str(model)
    pieces = embeddings_in(folder, whose, names)
    _adopt(pieces, str(model), (url_column, url_prefix), root, settings_file)


@adopt.command("published")
@click.argument("folder")
@pool_options
def adopt_published(folder: str, root: str | None, settings_file: str | None) -> None:
    """Plan partitions of a data set that hub_dataset published.

    FOLDER is hf://datasets/ORGANISATION/NAME, or such a folder. Rows and vectors are taken over,
    neither fetched nor embedded again; the index is made of them. Then: clip-assets run.
    """
    from clip_assets.partitions.adoptable import FolderNames, embeddings_in
    from clip_assets.retrieval.published_search import told_by

    told = told_by(folder)
    read = settings.load(root, settings_file)
    _check_model(folder, told.model, told.pretrained, read.inference)
    try:
        pieces = embeddings_in(f"{folder.rstrip('/')}/data", told.model, FolderNames())
    except ConfigurationError as error:
        raise ConfigurationError(
            folder,
            "a data set without vectors of images",
            "column image_embedding, which hub.columns of its publisher names",
            "Ask who published it for that column. Without it the index can be searched where it "
            f"lies: clip-assets serve {folder}; and its pairs can be fetched and embedded anew: "
            f"clip-assets add {folder}/data",
        ) from error
    _adopt(pieces, told.model, ("", ""), root, settings_file)
    has_texts = all(one.piece.text for one in pieces)
    texts = "images and captions" if has_texts else "images; those of captions are made from these"
    say(f"adopted: rows and vectors of {texts}. The index is made anew of them.")


def _adopt(
    pieces: "Sequence[FoundPiece]",
    model: str,
    url: tuple[str, str],
    root: str | None,
    settings_file: str | None,
) -> None:
    from clip_assets.partitions.adopting import Urls, adopt

    read, urls = settings.load(root, settings_file), Urls(*url)
    for piece in pieces:
        _check_urls(piece, urls, read)
    store = Store.open(read.root)
    adopted = adopt(store, pieces, model, urls, read.sources.rows_per_partition)
    _register(root, settings_file)
    for plan in adopted.plans:
        say(f"{plan.partition}  {plan.rows_text}")
    say(f"{len(adopted.plans)} new partitions, {adopted.unchanged} files known already")
    if adopted.plans:
        say("next: clip-assets run")


def _check_model(
    folder: str, model: str | None, pretrained: str | None, inference: "InferenceSettings"
) -> None:
    from clip_assets.encoders.identity import model_name

    if model is None:
        raise ConfigurationError(
            folder,
            "vectors that do not say which model made them",
            "its name",
            "Give it: --model, and --pretrained where it has weights of several names.",
        )
    name, tag = model_name(inference)
    if (model, pretrained) != (name, tag):
        raise ConfigurationError(
            "--model and --pretrained",
            f"{model} {pretrained or ''}".strip(),
            f"{name} {tag or ''}".strip() + ", which the pool is of",
            "Set inference.model and inference.pretrained in pool.yaml to the model of the "
            "vectors; a search embeds its queries with it.",
        )


def _check_urls(piece: "FoundPiece", urls: object, read: "Settings") -> None:
    from clip_assets.pairs import columns
    from clip_assets.partitions.adopting import Urls

    assert isinstance(urls, Urls)
    where, names = piece.table.uri, piece.columns.names
    if urls.column and urls.column not in names:
        raise ConfigurationError(
            where, f"columns {', '.join(names)}", f"--url-column {urls.column}", "Name another."
        )
    if urls.column:
        return
    try:
        columns.column_map(names, read.sources.columns, where)
    except SourceFormatError as error:
        raise ConfigurationError(
            where,
            error.found,
            error.expected,
            "Name the column that has urls, or that makes them after a prefix: --url-column and "
            "--url-prefix.",
        ) from None


def _register(root: str | None, settings_file: str | None) -> None:
    from clip_assets import graph
    from clip_assets.orchestration.instance import opened
    from clip_assets.orchestration.partitions import sync

    with opened() as instance:
        sync(instance, graph.open_pool(root, settings_file))
