"""The command that defines a subset, tries it out, or chooses from a folder of metadata."""

import json
import re
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import yaml

from clip_assets import layout, settings
from clip_assets.commands.options import FAILED, as_json, pool_options
from clip_assets.errors import ConfigurationError
from clip_assets.files.whole import whole_file
from clip_assets.masking import masked
from clip_assets.terminal import say

if TYPE_CHECKING:
    from clip_assets.pool.pool import Pool
    from clip_assets.settings.bases import SubsetSettings
    from clip_assets.subsets.choosing import Picked

DEFINING = (
    "baseline", "arch", "where", "by", "sample", "seed", "of", "scores", "column", "from", "uids",
    "urls", "threshold", "fraction", "queries", "total", "k", "language", "language_model",
)  # fmt: skip
"""Options that are fields of a definition of the same name."""

BARE = ".memmap"
"""Ending of a file that gets the array alone, as ``numpy.memmap`` reads it."""


@click.command("subset")
@click.argument("name")
@click.option("--where", help="An SQL condition over columns of the metadata.")
@click.option("--baseline", help="DataComp's rule by its name.")
@click.option("--arch", help="Whose similarity clip_score means: b32, l14 or own.")
@click.option(
    "--language-model", help="A fastText model that tells languages, such as lid.176.bin."
)
@click.option("--language", help="Of captions, en by default; any: leave that rule out.")
@click.option("--by", help="A column of numbers, for --fraction or --threshold.")
@click.option("--fraction", type=float, help="The best share of the candidates.")
@click.option("--threshold", type=float, help="The least score.")
@click.option("--scores", help="A parquet of scores by uid, for --fraction or --threshold.")
@click.option("--column", help="Its column.")
@click.option("--sample", type=float, help="A share at random.")
@click.option("--seed", type=int, help="Which one.")
@click.option("--from", "from_", help="A published subset, .npy.")
@click.option("--uids", help="A text of uids.")
@click.option("--urls", help="A text of urls.")
@click.option(
    "--query",
    "queries",
    multiple=True,
    help="Words that images are near to, several times; perhaps with its part of the whole: "
    "'dogs: 30%'. With --k, --threshold, or --total for parts.",
)
@click.option("--k", type=int, help="How many, best first; of each query, where there are some.")
@click.option("--total", type=int, help="Pairs that the parts of queries are of.")
@click.option("--of", help="Choose from this subset.")
@click.option("--define", help="A whole definition in yaml, as in pool.yaml.")
@click.option("--dry-run", is_flag=True, help="Count what would be listed; write nothing.")
@click.option("--metadata", help="Choose from a folder of DataComp's metadata, without a pool.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Its .npy; the bare array if it ends in {BARE}.",
)
@as_json
@pool_options
def define(
    name: str,
    root: str | None,
    settings_file: str | None,
    *,
    dry_run: bool,
    json_output: bool,
    **options: Any,
) -> None:
    """Define a subset NAME, or make the one that is defined; subset compare A B ... shows several.

    A new definition is put into pool.yaml, whose comments and order stay, and the subset is made.
    With --metadata nothing of a pool is read or written: DataComp's files are chosen from as they
    are, by a definition given here, or by one of NAME in the settings.
    """
    given, output = _given(options), options["output"]
    if options["metadata"] is not None:
        if output is None and not dry_run:
            raise click.BadParameter("says where the .npy goes", param_hint="--output")
        named = _named(given, name, settings.load(root, settings_file).subsets)
        picked = _from_folder(named, name, options["metadata"], None if dry_run else output)
        _tell(name, picked, json_output=json_output)
        return
    if output is not None:
        raise click.BadParameter("belongs to --metadata", param_hint="--output")
    from clip_assets import graph

    pool = graph.open_pool(root, settings_file)
    if dry_run:
        _tell(name, _dry(pool, name, given), json_output=json_output)
        return
    if given is not None:
        _define(pool, name, given, settings_file)
    _make(name, root, settings_file, json_output=json_output)


def _given(options: dict[str, Any]) -> dict[str, Any] | None:
    """The definition that the options are, None without any."""
    named = {"from" if option == "from_" else option: value for option, value in options.items()}
    definition = {option: named[option] for option in DEFINING if named[option] not in (None, ())}
    if "queries" in definition:
        k = definition.pop("k", None)
        definition["queries"] = [_query(text, k) for text in definition["queries"]]
    if (define := options["define"]) is None:
        return definition or None
    if definition:
        raise click.BadParameter("says all, so no other option can", param_hint="--define")
    try:
        definition = yaml.safe_load(define)
    except yaml.YAMLError as error:
        raise click.BadParameter(str(error), param_hint="--define") from error
    if not isinstance(definition, dict):
        raise click.BadParameter("no definition", param_hint="--define")
    return {str(field): value for field, value in definition.items()}


def _query(text: str, k: int | None) -> dict[str, Any]:
    """A query as a definition has it; ``dogs: 30%`` is one with a share."""
    share = re.fullmatch(r"(.*):\s*(\d+(?:\.\d+)?)\s*%\s*", text, re.DOTALL)
    query = {"text": share[1].strip(), "share": float(share[2])} if share else {"text": text}
    return query | ({} if k is None else {"k": k})


def _named(
    given: dict[str, Any] | None, name: str, subsets: "dict[str, SubsetSettings]"
) -> "dict[str, SubsetSettings]":
    """Subsets with one more, or with the one that is named."""
    if given is None:
        if name not in subsets:
            raise ConfigurationError(
                "subset",
                repr(name),
                f"one of {', '.join(subsets)}",
                "Name one, or define it by options, such as --where.",
            )
        return subsets
    defined = settings.with_subset(subsets, name, given)
    if name in subsets and subsets[name] != defined[name]:
        raise ConfigurationError(
            f"subset {name}",
            "another definition of that name",
            "a new name",
            "Choose another name, or change the definition in pool.yaml.",
        )
    return defined


def _from_folder(
    named: "dict[str, SubsetSettings]", name: str, metadata: str, output: Path | None
) -> "Picked":
    from clip_assets.storage import uid_files
    from clip_assets.subsets.candidates import MetadataFolder
    from clip_assets.subsets.choosing import choose

    rows = MetadataFolder(metadata)
    if output is None:
        return choose(rows, named, name, None)
    with whole_file(output) as part:
        if output.suffix != BARE:
            return choose(rows, named, name, part)
        with tempfile.TemporaryDirectory(prefix="clip-assets-", dir=part.parent) as folder:
            picked = choose(rows, named, name, made := Path(folder, "subset.npy"))
            uid_files.write_bare(made, part)
        return picked


def _dry(pool: "Pool", name: str, given: dict[str, Any] | None) -> "Picked":
    from clip_assets.pool.upstream import upstream
    from clip_assets.subsets.candidates import PoolRows
    from clip_assets.subsets.choosing import choose

    named = _named(given, name, pool.settings.subsets)
    done = upstream(pool, layout.POOL_METADATA).done
    return choose(PoolRows(pool, done), named, name, None)


def _define(pool: "Pool", name: str, given: dict[str, Any], settings_file: str | None) -> None:
    from clip_assets.settings.adding import add_subset

    _named(given, name, pool.settings.subsets)
    if name in pool.settings.subsets:
        return
    file = settings_file or f"{pool.settings.root}/{layout.SETTINGS_FILE}"
    if "://" in file:
        raise ConfigurationError(
            file, "a remote file", "a file on this machine", f"Add there: {name}: {given}"
        )
    add_subset(Path(file), name, given)
    say(f"{name} is defined in {file}", err=True)


def _make(name: str, root: str | None, settings_file: str | None, *, json_output: bool) -> None:
    """Materialise it through Dagster, so that its events are where others are."""
    from clip_assets import graph
    from clip_assets.definitions import build_defs
    from clip_assets.orchestration.instance import opened
    from clip_assets.orchestration.resources import PoolResource
    from clip_assets.orchestration.runs import PoolRun

    pool = graph.open_pool(root, settings_file)
    _named(None, name, pool.settings.subsets)
    resource = PoolResource(root=pool.settings.root, settings_file=settings_file or "")
    with opened() as instance:
        summary = PoolRun(build_defs(resource), resource, instance).run(layout.SUBSETS, name)
    for failed, message in summary.failures.items():
        say(f"failed: {failed}: {message}", err=True)
    if summary.failures:
        sys.exit(FAILED)
    manifest = pool.renewed().catalog.require(layout.SUBSETS, layout.Key(name))
    if json_output:
        click.echo(masked(json.dumps(asdict(manifest.report), indent=1)))
    else:
        report = manifest.report
        say(f"{name}: {report.rows_out:,} of {report.rows_in:,} pairs{_reasons(report.dropped)}")


def _tell(name: str, picked: "Picked", *, json_output: bool) -> None:
    if json_output:
        told = {one.name: getattr(picked, one.name) for one in fields(picked)}
        del told["pictures"]
        click.echo(masked(json.dumps(told, indent=1)))
        return
    say(f"{name}: {picked.kept:,} of {picked.rows:,} pairs{_reasons(dict(picked.dropped))}")
    for what, fact in picked.facts.items():
        say(f"  {what}: {json.dumps(fact)}")


def _reasons(dropped: dict[str, int]) -> str:
    counts = ", ".join(f"{reason} {count:,}" for reason, count in dropped.items() if count)
    return f" ({counts})" if counts else ""
