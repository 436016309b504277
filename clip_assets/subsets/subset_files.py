"""Subsets of a pool as published files of uids: the stage.

A subset lists samples that can be had: pairs whose image was downloaded, unless its definition says
otherwise. What is chosen is said by definitions (``settings.choices``) and done by ``choosing``.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError, DamagedError, MissingArtifactError
from clip_assets.files import identity
from clip_assets.layout import Key
from clip_assets.pool import subset_versions, takedowns
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize, output_of
from clip_assets.pool.upstream import upstream
from clip_assets.settings.baselines import ANY, BasicFilter, NoFilter
from clip_assets.settings.bases import SubsetSettings
from clip_assets.settings.curation import INDEX, SemDeDup
from clip_assets.storage.manifests import Report

if TYPE_CHECKING:
    from clip_assets.subsets.choosing import Picked


@layout.artifact(layout.SUBSETS, schemas.SUBSET_GROUPS)
def subset_groups(subset: str) -> str:
    """Which images are alike, and which of them the subset lists, where it is by semdedup."""
    return f"subset_groups/{subset}.parquet"


def subsets(pool: Pool, name: Key) -> Outcome:
    """Write the uids of a subset, sorted, as DataComp's tools read them.

    A uid that the pool repeats is listed as often as it passes. Partitions whose metadata is
    stale are used as they are. Memory: see ``choosing.choose``.

    Raises:
        ConfigurationError: the settings define no subset of that name, or it cannot be made.
        SourceError: a file that its definition names cannot be used.
    """
    _definition(pool, name)
    return materialize(pool, SUBSETS, name, _work)


def subsets_inputs(pool: Pool, name: Key) -> Inputs:
    """What a subset depends on: its definition, and the metadata of partitions that have some."""
    used = {
        f"{layout.POOL_METADATA}/{p}": pool.catalog.digest(layout.POOL_METADATA, p)
        for p in upstream(pool, layout.POOL_METADATA).done
    }
    definition, named = _definition(pool, name), pool.settings.subsets
    return _told_by(definition, named) | used | _lists_of(pool, definition, named)


SUBSETS = Asset(
    layout.SUBSETS,
    "1",
    make=subsets,
    inputs=subsets_inputs,
    axis="subset",
    deps=(layout.POOL_METADATA,),
    settings=("name", "leave_out_opt_outs", "with_image", "definition", "lists"),
    heeds=(takedowns.NAME,),
)


def _definition(pool: Pool, name: Key) -> SubsetSettings:
    if name not in pool.settings.subsets:
        defined = ", ".join(pool.settings.subsets)
        raise ConfigurationError(
            "subset", repr(name), f"one of {defined}", "Choose one, or define it in pool.yaml."
        )
    return pool.settings.subsets[name]


def _told_by(definition: SubsetSettings, named: Mapping[str, SubsetSettings]) -> Inputs:
    """What a definition is, as inputs."""
    asks_language = isinstance(definition, BasicFilter) and definition.language != ANY
    is_plain = type(definition) in (NoFilter, BasicFilter) and not asks_language
    if is_plain and definition.of is None:
        # As they were named before there were others, so that those that are there stay done.
        flags = {
            "leave_out_opt_outs": "true" if definition.leave_out_opt_outs else "",
            "with_image": "" if definition.with_image else "false",
        }
        baseline = definition.model_dump()["baseline"]
        return {"name": baseline} | {flag: value for flag, value in flags.items() if value}
    return {"definition": _digest(definition, named, {})}


def _lists_of(
    pool: Pool, definition: SubsetSettings, named: Mapping[str, SubsetSettings]
) -> dict[str, str]:
    """Digests of the lists, by partition, where a definition looks into them; else nothing."""
    if not _asks_lists(definition, named):
        return {}
    kind = layout.segment_lists
    partitions = pool.keys("partition")
    return {f"lists/{p}": pool.catalog.digest(layout.INDEX_SEGMENTS, p, kind) for p in partitions}


def _asks_lists(definition: SubsetSettings, named: Mapping[str, SubsetSettings]) -> bool:
    if isinstance(definition, SemDeDup) and definition.clusters == INDEX:
        return True
    above = [definition.of] if definition.of is not None else []
    others = (named[one] if isinstance(one, str) else one for one in (*definition.others, *above))
    return any(_asks_lists(other, named) for other in others)


def _digest(
    definition: SubsetSettings, named: Mapping[str, SubsetSettings], known: dict[str, str]
) -> str:
    """Of a definition with those that it names, and of the local files that they name.

    A remote file is taken for one that does not change under its name.
    """
    told = definition.model_dump(mode="json", exclude_defaults=True)
    content: list[Any] = [type(definition).__name__, told]
    above = [definition.of] if definition.of is not None else []
    for other in (*definition.others, *above):
        if isinstance(other, str):
            if other not in known:
                known[other] = _digest(named[other], named, known)
            content.append(known[other])
        else:
            content.append(_digest(other, named, known))
    content += [identity.looked_at(f).etag if Path(f).is_file() else f for f in definition.files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _work(run: StageRun) -> Report:
    # DuckDB's module loads pandas where it is installed, and only steps choose.
    from clip_assets.subsets.candidates import PoolRows
    from clip_assets.subsets.choosing import choose

    metadata = upstream(run.pool, layout.POOL_METADATA)
    named = run.pool.settings.subsets
    definition = _definition(run.pool, run.key)
    rows = PoolRows(run.pool, metadata.done)
    path = layout.subset(run.key)
    has_groups = isinstance(definition, SemDeDup)
    with (
        _last(run, path) as last,
        run.publish(path) as part,
        run.publish(subset_groups(run.key)) if has_groups else nullcontext() as groups,
    ):
        choice = choose(
            rows, named, definition, part, last=last, groups=groups, progress=run.progress
        )
        version = output_of(part, path).sha256[: subset_versions.DIGITS]
        earlier = _keep_earlier(run, version, last)
    model = run.pool.owner
    return Report(
        rows_in=choice.rows,
        rows_out=choice.kept,
        dropped=dict(choice.dropped),
        figures={
            "definition": definition.model_dump(mode="json", exclude_defaults=True),
            "model": f"{model.name} {model.pretrained or ''}".strip() if model else None,
            "partitions_used": metadata.done,
            "partitions_missing": metadata.missing,
            "partitions_stale": metadata.stale,
            "listed_uids": choice.listed,
            "distinct_uids": choice.distinct,
            "version": version,
            "earlier_versions": earlier,
            **_difference(run, choice),
            **choice.facts,
        },
        pictures={
            title: run.publish_picture(f"{_file_name(title)}.png", draw())
            for title, draw in choice.pictures.items()
        },
    )


@contextmanager
def _last(run: StageRun, path: str) -> Generator[Path | None]:
    """The subset as it was, to compare with; None if there was none, or it is no array of uids."""
    from clip_assets.subsets.choosing import is_subset

    try:
        with run.store.local(path) as file:
            is_whole = file.exists() and is_subset(file)
            yield file if is_whole else None
    except (DamagedError, MissingArtifactError):
        yield None


def _keep_earlier(run: StageRun, version: str, last: Path | None) -> list[str]:
    """Keep the version before, if it was another one, and a number of those before it.

    Args:
        run: of the subset.
        version: that it makes.
        last: the subset as it was.

    Returns:
        The earlier versions, the oldest first.
    """
    before = run.pool.catalog.get(run.asset.name, run.key)
    if before is None or run.to_mend:
        return []
    kept = {o.sha256[: subset_versions.DIGITS]: o for o in before.of_kind(layout.subset_version)}
    for output in before.of_kind(layout.subset):
        old = output.sha256[: subset_versions.DIGITS]
        path = layout.subset_version(run.key, old)
        if old == version:
            continue
        if last is not None and output_of(last, output.path).sha256 == output.sha256:
            with run.publish(path) as part:
                shutil.copyfile(last, part)
        elif run.store.exists(path):  # a run that was killed put it there
            run.adopt(path)
    new = [Path(o.path).stem for o in run.outputs if layout.subset_version.holds(o.path)]
    old = [known for known in kept if known not in (version, *new)]
    old = old[max(0, len(old) + len(new) - subset_versions.KEPT) :]
    for known in old:
        run.keep(kept[known])
    return [*old, *new]


def _difference(run: StageRun, choice: "Picked") -> dict[str, Any]:
    """How it differs from the version before, and which that was."""
    if choice.added is None:
        return {}
    before = run.pool.catalog.get(run.asset.name, run.key)
    digests = [output.sha256 for output in before.of_kind(layout.subset)] if before else []
    return {
        "before": {
            "sha256": digests[0] if digests else None,
            "added_uids": choice.added,
            "removed_uids": choice.removed,
        }
    }


def _file_name(title: str) -> str:
    return re.sub(r"[^\w-]+", "_", title)[:100]
