"""Commands for models outside of a pool: embedding anything, and model folders."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from clip_assets import settings
from clip_assets.commands.options import as_json, pool_options
from clip_assets.settings import InferenceSettings
from clip_assets.terminal import say


def named(model: str) -> tuple[str, str | None]:
    """Name and tag of ``NAME[/TAG]``; names of hubs and folders have slashes of their own."""
    if ":" in model.partition("/")[0]:
        return model, None
    name, _, tag = model.partition("/")
    return name, tag or None


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output")
@click.option(
    "--model",
    metavar="NAME[/TAG]",
    help="Instead of the pool's: an open_clip name and tag, hf-hub:..., local-dir:FOLDER or demo.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Samples of one step of the model.")
@click.option("--image/--no-image", default=True, help="Write img_emb.  [default: yes]")
@click.option("--text/--no-text", default=True, help="Write text_emb.  [default: yes]")
@click.option("--metadata/--no-metadata", default=True, help="Write metadata.  [default: yes]")
@click.option("--image-key", default="", help="Extension of the image in a tar.  [default: any]")
@click.option(
    "--caption-key",
    default="txt",
    show_default=True,
    help="Extension of the caption in a tar, or a field of the json.",
)
@as_json
@pool_options
def embed(  # noqa: PLR0913  (a command's options are its interface)
    source: str,
    output: str,
    model: str | None,
    batch_size: int | None,
    image_key: str,
    caption_key: str,
    root: str | None,
    settings_file: str | None,
    *,
    image: bool,
    text: bool,
    metadata: bool,
    json_output: bool,
) -> None:
    """Embed the images and captions of INPUT, which need not belong to a pool.

    INPUT is a webdataset (a tar, a folder, a glob, a brace pattern such as
    'shards/{00000..00127}.tar', local or remote) or a folder of images with a caption beside each
    (a.jpg and a.txt); a name that is there exactly so is no pattern. OUTPUT gets clip-retrieval's
    layout: img_emb, text_emb and metadata, one set of files for a tar or for 10,000 images. Run it
    again to go on after a kill: what is finished and unchanged is left alone.

    \b
      clip-assets embed images/ out/ --model ViT-B-32/laion2b_s34b_b79k
      clip-assets embed 's3://bucket/{00000..00009}.tar' out/ --no-text --caption-key caption
    """  # noqa: D301  (click's mark for "do not wrap")
    if not (image or text):
        raise click.UsageError("--no-image and --no-text leave nothing to embed")
    from clip_assets import devices
    from clip_assets.encoders.openclip import loading
    from clip_assets.inference import standalone
    from clip_assets.inference.sources import MemberNames, input_of

    read = settings.load(root, settings_file)
    inference = _chosen(read.inference, model, batch_size)
    wanted = standalone.Wanted(image, text, metadata, MemberNames(image_key, caption_key))
    given = input_of(source, wanted.names)
    with devices.leased(read.devices, read.devices_per_step) as places:
        encoder = loading.load_encoder(inference, *places)
        report = standalone.embed_pieces(given.pieces, output, inference, encoder, wanted)
    if json_output:
        told = asdict(report) | {"passed_over": dict(given.passed_over)}
        click.echo(json.dumps(told, indent=1))
        return
    say(f"{report.rows_out:,} of {report.rows_in:,} samples embedded into {output}")
    for reason, count in report.dropped.items():
        say(f"  {count:,} dropped: {reason}")
    if text and report.figures["without_caption"]:
        without = report.figures["without_caption"]
        say(f"  {without:,} without a caption: embedded as an empty one, see --caption-key")
    if cut := report.figures["captions_cut"]:
        say(f"  {cut:,} captions are longer than the model reads, which sees their beginnings")
    for ending, count in given.passed_over.most_common():
        say(f"  {count:,} files passed over: {ending}")


def _chosen(
    inference: InferenceSettings, model: str | None, batch_size: int | None
) -> InferenceSettings:
    changes: dict[str, object] = {}
    if model is not None:
        changes["model"], changes["pretrained"] = named(model)
    if batch_size is not None:
        changes["batch_size"] = batch_size
    return inference.model_copy(update=changes)


@click.group()
def models() -> None:
    """Model folders, for machines without a network."""


@models.command()
@click.argument("model", metavar="NAME[/TAG]")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def pull(model: str, folder: Path) -> None:
    """Write all that a model needs into FOLDER, which must be new or empty.

    NAME is an open_clip name with the TAG of its weights, or hf-hub:ORGANISATION/NAME without
    one. The folder holds weights, configuration, preprocessing, the tokenizer unless it is
    open_clip's own, and hashes, which are compared whenever it is loaded. The model in it counts as
    the one that it was made from, so a pool can go on with it.

    \b
      clip-assets models pull ViT-B-32/laion2b_s34b_b79k models/b32
    """  # noqa: D301  (click's mark for "do not wrap")
    from clip_assets.encoders.openclip.folders import pull_model

    identity = pull_model(*named(model), folder)
    say(f"{folder}: {identity.describe()}")
    say("use it with these lines in pool.yaml:")
    say(f"  inference:\n    model: local-dir:{folder.resolve()}\n    pretrained: null")
