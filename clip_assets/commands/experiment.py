"""The command that finds out which subset is best."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clip_assets.commands.options import as_json, pool_options
from clip_assets.terminal import say

if TYPE_CHECKING:
    from clip_assets.experiment.report import Table
    from clip_assets.pool.pool import Pool

FIELDS = (
    "samples", "batch_size", "model", "learning_rate", "warmup", "weight_decay", "classify",
    "retrieve", "class_field", "looks",
)  # fmt: skip
"""Options that are fields of a comparison of the same name."""

SCALES = ("small", "medium", "large", "xlarge")


@click.command()
@click.argument("names", metavar="SUBSETS...", nargs=-1, required=True)
@click.option("--classify", default="", help="Held-out images with classes: tars, or folders.")
@click.option("--retrieve", default="", help="Held-out images with captions, likewise.")
@click.option("--class-field", default="class", help="Of a sample's json. [default: class]")
@click.option("--template", "templates", multiple=True, help="Text of a class: a photo of a {}")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("experiment"),
    help="Folder of the experiment. [default: experiment]",
)  # fmt: skip
@click.option("--samples", type=int, default=51_200, help="Seen by every training. [51,200]")
@click.option("--batch-size", type=int, default=128, help="[default: 128]")
@click.option("--model", default="demo", help="Whose shape is trained: demo, or open_clip's name.")
@click.option("--learning-rate", type=float, default=1e-3, help="The highest. [default: 0.001]")
@click.option("--warmup", type=int, default=50, help="Steps. [default: 50]")
@click.option("--weight-decay", type=float, default=0.2, help="[default: 0.2]")
@click.option("--seeds", default="0", help="One training of each subset for each. [default: 0]")
@click.option("--looks", type=int, default=5, help="How often a model is asked. [default: 5]")
@click.option("--device", help="Of torch. [default: the first GPU, else cpu]")
@click.option(
    "--scale", type=click.Choice(SCALES),
    help="Write open_clip's commands of DataComp's scale instead, and read their results.",
)  # fmt: skip
@click.option("--gpus", type=int, default=8, help="For --scale: of one machine. [default: 8]")
@as_json
@pool_options
def experiment(
    names: tuple[str, ...],
    root: str | None,
    settings_file: str | None,
    output: Path,
    *,
    json_output: bool,
    **options: Any,
) -> None:
    """Train a small CLIP on each of SUBSETS, and compare what they learn.

    Every training sees as many samples; all are asked the same of held-out data. The table with
    intervals, as json and as a page with curves, is in the output after every training; begun
    again, the command goes on. The others are compared with the first subset.

    With --scale nothing is trained here: commands.sh has the commands of open_clip's own trainer,
    and the table has what their runs in the output have written so far.
    """
    from clip_assets import graph

    pool = graph.open_pool(root, settings_file)
    work = _here if options["scale"] is None else _at_scale
    table = work(pool, names, output, options)
    say(table.json() if json_output else table.text())


def _here(pool: "Pool", subsets: tuple[str, ...], output: Path, options: dict[str, Any]) -> "Table":
    from clip_assets.experiment.comparison import TEMPLATE, Comparison
    from clip_assets.experiment.experimenting import compare

    fields = {name: options[name] for name in FIELDS}
    fields |= {"seeds": _numbers(options["seeds"])}
    fields |= {"templates": options["templates"] or (TEMPLATE,)}
    return compare(pool, Comparison(subsets=subsets, **fields), output, options["device"])


def _at_scale(
    pool: "Pool", subsets: tuple[str, ...], output: Path, options: dict[str, Any]
) -> "Table":
    from clip_assets.experiment import at_scale
    from clip_assets.experiment.experimenting import write
    from clip_assets.files.whole import whole_file

    machine = at_scale.Machine(options["gpus"], options["classify"], options["retrieve"])
    scale, logs = at_scale.SCALES[options["scale"]], str(output.absolute())
    script = at_scale.commands(pool, subsets, scale, logs, machine)
    with whole_file(output / "commands.sh") as part:
        part.write_text(script)
    table = at_scale.results(subsets, scale, logs)
    write(table, output)
    missing = ", ".join(table.missing) or "none"
    say(f"wrote {output / 'commands.sh'}; not done yet: {missing}", err=True)
    return table


def _numbers(seeds: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(seed) for seed in seeds.split(",")))
    except ValueError as error:
        told = "numbers with commas, such as 0,1,2"
        raise click.BadParameter(told, param_hint="--seeds") from error
