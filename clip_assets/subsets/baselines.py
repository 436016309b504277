"""DataComp's baselines as sorted files of uids.

A subset lists samples that can be had: pairs whose image was downloaded. The rules are those of
``baselines/apply_filter.py`` of mlfoundations/datacomp; joining the metadata that they read is
``metadata.pool_metadata``.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.errors import ConfigurationError
from clip_assets.layout import Key, PartitionKey
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.pool.upstream import upstream
from clip_assets.settings import SubsetSettings
from clip_assets.storage.manifests import Report
from clip_assets.subsets import uids

if TYPE_CHECKING:
    import polars as pl

MORE_WORDS_THAN = 2
MORE_CHARACTERS_THAN = 5
LEAST_SIDE = 200
GREATEST_ASPECT = 3.0

COLUMNS = ["uid", "text", "original_width", "original_height", "status"]

WORD = r"[^\s\x1c-\x1f]+"
"""What Python's ``str.split`` leaves, which DataComp counts; \\s alone keeps \\x1c to \\x1f."""


def no_filter() -> "dict[str, pl.Expr]":
    """Every pair that has an image."""
    import polars as pl

    return {"no_image": pl.col("status") == "success"}


def basic_filter() -> "dict[str, pl.Expr]":
    """DataComp's basic filter on captions and image sizes, without its language rule."""
    import polars as pl

    text = pl.col("text").fill_null("")
    sides = pl.col("original_width"), pl.col("original_height")
    least, greatest = pl.min_horizontal(*sides), pl.max_horizontal(*sides)
    return no_filter() | {
        "few_words": text.str.count_matches(WORD) > MORE_WORDS_THAN,
        "few_characters": text.str.len_chars() > MORE_CHARACTERS_THAN,
        "small_image": least >= LEAST_SIDE,
        "long_image": greatest / least <= GREATEST_ASPECT,
    }


RULES: "dict[str, Callable[[], dict[str, pl.Expr]]]" = {
    "no_filter": no_filter,
    "basic_filter": basic_filter,
}
"""For each subset the rules that a row must pass, by the reason for which it is dropped."""

NAMES = tuple(RULES)


def subsets(pool: Pool, name: Key) -> Outcome:
    """Write the uids of a subset, sorted, as DataComp's tools read them.

    A uid that the pool repeats is listed as often as it passes. Partitions whose metadata is
    stale are used as they are.

    Memory: one partition's captions and sizes, and 48 bytes for every uid listed.

    Raises:
        ConfigurationError: the settings define no subset of that name.
    """
    _definition(pool, name)
    return materialize(pool, SUBSETS, name, _write)


def subsets_inputs(pool: Pool, name: Key) -> Inputs:
    """What a subset depends on: its rule, and the metadata of every partition that has some."""
    used = {
        f"{layout.POOL_METADATA}/{p}": pool.catalog.digest(layout.POOL_METADATA, p)
        for p in upstream(pool, layout.POOL_METADATA).done
    }
    return {"name": _definition(pool, name).baseline} | used


SUBSETS = Asset(
    layout.SUBSETS,
    "1",
    make=subsets,
    inputs=subsets_inputs,
    axis="subset",
    deps=(layout.POOL_METADATA,),
    settings=("name",),
)


def _definition(pool: Pool, name: Key) -> SubsetSettings:
    if name not in pool.settings.subsets:
        defined = ", ".join(pool.settings.subsets)
        raise ConfigurationError(
            "subset", repr(name), f"one of {defined}", "Choose one, or define it in pool.yaml."
        )
    return pool.settings.subsets[name]


def _write(run: StageRun) -> Report:
    metadata = upstream(run.pool, layout.POOL_METADATA)
    rules = RULES[_definition(run.pool, run.key).baseline]
    rows, dropped = 0, Counter[str]()
    kept: list[uids.UidPairs] = []
    for table in _tables(run, metadata.done):
        rows += len(table)
        kept.append(_select(table, rules(), dropped))
    listed = uids.in_order(np.concatenate([np.empty(0, schemas.UID_PAIR), *kept]))
    with run.publish(layout.subset(run.key)) as part, part.open("wb") as file:
        np.save(file, listed, allow_pickle=False)
    return Report(
        rows_in=rows,
        rows_out=len(listed),
        dropped={rule: dropped[rule] for rule in rules()},
        figures={
            "partitions_used": metadata.done,
            "partitions_missing": metadata.missing,
            "partitions_stale": metadata.stale,
            "distinct_uids": len(listed) - int(np.count_nonzero(listed[1:] == listed[:-1])),
        },
    )


def _tables(run: StageRun, partitions: Sequence[PartitionKey]) -> Iterator[pa.Table]:
    from clip_assets.storage import tables

    for number, partition in enumerate(partitions):
        path = layout.pool_rows(partition)
        yield tables.read(run.store, path, schemas.POOL_ROWS, COLUMNS)
        run.progress(number + 1, len(partitions), "partitions")


def _select(table: pa.Table, rules: "dict[str, pl.Expr]", dropped: Counter[str]) -> uids.UidPairs:
    """Uids of rows that pass every rule; the others count for the first rule they fail."""
    import polars as pl

    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    for rule, passes in rules.items():
        passed = frame.filter(passes.fill_null(value=False))
        dropped[rule] += len(frame) - len(passed)
        frame = passed
    return uids.pairs(pa.chunked_array([frame["uid"].to_arrow()]))
