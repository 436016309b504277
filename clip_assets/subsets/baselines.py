"""DataComp's baselines as sorted files of uids.

A subset lists samples that can be had: pairs whose image was downloaded. So the rule without a
filter is every pair with an image, and every pair of the metadata, as with DataComp, only where
``with_image`` is false. The rules are those of ``baselines/apply_filter.py`` of
mlfoundations/datacomp; joining the metadata that they read is ``metadata.pool_metadata``.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from clip_assets.storage import uids
from clip_assets.storage.manifests import Report

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MORE_WORDS_THAN = 2
MORE_CHARACTERS_THAN = 5
LEAST_SIDE = 200
GREATEST_ASPECT = 3.0

COLUMNS = ["uid", "text", "original_width", "original_height", "status", "opt_outs"]

MEMORY_BYTES = 2**29
"""Of judging one partition's rows; beyond it, DuckDB spills."""

_SPACE = (
    r"\x{09}-\x{0d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}"
    r"\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
)
# What Python's str.split, by which DataComp counts words, takes for space; \s is ASCII alone.


def more_words_than(count: int, text: str) -> str:
    """SQL: whether ``str.split`` of a text gives more words than that."""
    word = f"[^{_SPACE}]+"
    return f"regexp_matches({text}, '{word}([{_SPACE}]+{word}){{{count}}}')"


WITH_IMAGE = {"no_image": "status = 'success'"}
"""A pair that has an image."""

_LEAST, _GREATEST = (f"{end}(original_width, original_height)" for end in ("least", "greatest"))

BASIC_FILTER = {
    "few_words": more_words_than(MORE_WORDS_THAN, "text"),
    "few_characters": f"length(text) > {MORE_CHARACTERS_THAN}",
    "small_image": f"{_LEAST} >= {LEAST_SIDE}",
    "long_image": f"{_GREATEST} / {_LEAST} <= {GREATEST_ASPECT}",
}
"""DataComp's basic filter on captions and image sizes, without its language rule."""

RULES: dict[str, dict[str, str]] = {"no_filter": {}, "basic_filter": BASIC_FILTER}
"""For each baseline the rules that a row must pass, by the reason for which it is dropped: SQL
over ``COLUMNS``, after ``WITH_IMAGE``. A rule that is null is not passed."""

FREE = {"opt_out": "coalesce(len(opt_outs), 0) = 0"}
"""Rows of which nothing is known to reserve the use; a rule that subsets may add."""


def subsets(pool: Pool, name: Key) -> Outcome:
    """Write the uids of a subset, sorted, as DataComp's tools read them.

    A uid that the pool repeats is listed as often as it passes. Partitions whose metadata is
    stale are used as they are.

    Memory: one partition's captions and sizes, ``MEMORY_BYTES``, and 48 bytes for every uid listed.

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
    definition = _definition(pool, name)
    # Named where they are chosen alone, so that they outdate no other subset.
    added = {"leave_out_opt_outs": "true"} if definition.leave_out_opt_outs else {}
    added |= {} if definition.with_image else {"with_image": "false"}
    return {"name": definition.baseline} | added | used


SUBSETS = Asset(
    layout.SUBSETS,
    "1",
    make=subsets,
    inputs=subsets_inputs,
    axis="subset",
    deps=(layout.POOL_METADATA,),
    settings=("name", "leave_out_opt_outs", "with_image"),
)


def _definition(pool: Pool, name: Key) -> SubsetSettings:
    if name not in pool.settings.subsets:
        defined = ", ".join(pool.settings.subsets)
        raise ConfigurationError(
            "subset", repr(name), f"one of {defined}", "Choose one, or define it in pool.yaml."
        )
    return pool.settings.subsets[name]


def _write(run: StageRun) -> Report:
    from clip_assets.storage import sql

    metadata = upstream(run.pool, layout.POOL_METADATA)
    definition = _definition(run.pool, run.key)
    rules = WITH_IMAGE if definition.with_image else {}
    rules = rules | RULES[definition.baseline] | (FREE if definition.leave_out_opt_outs else {})
    rows, dropped = 0, Counter[str]()
    kept: list[uids.UidPairs] = []
    with sql.connection(MEMORY_BYTES) as database:
        for table in _tables(run, metadata.done):
            rows += len(table)
            kept.append(_select(database, table, rules, dropped))
    listed = uids.in_order(np.concatenate([np.empty(0, schemas.UID_PAIR), *kept]))
    with run.publish(layout.subset(run.key)) as part, part.open("wb") as file:
        np.save(file, listed, allow_pickle=False)
    return Report(
        rows_in=rows,
        rows_out=len(listed),
        dropped={rule: dropped[rule] for rule in rules},
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
        # A partition without rows has no table.
        for output in run.pool.catalog.require(layout.POOL_METADATA, partition).of_kind(
            layout.pool_rows
        ):
            yield tables.read(run.store, output.path, schemas.POOL_ROWS, COLUMNS)
        run.progress(number + 1, len(partitions), "partitions")


def _select(
    database: "DuckDBPyConnection",
    table: pa.Table,
    rules: Mapping[str, str],
    dropped: Counter[str],
) -> uids.UidPairs:
    """Uids of rows that pass every rule; the others count for the first rule they fail."""
    cases = " ".join(
        f"WHEN ({passes}) IS NOT TRUE THEN {place}" for place, passes in enumerate(rules.values())
    )
    failed = f"CASE {cases} ELSE {len(rules)} END" if rules else "0"
    judged = database.from_arrow(table).project(f"uid, {failed} AS rule")
    rows = judged.to_arrow_table()
    first_failed = rows["rule"].to_numpy()
    counts = np.bincount(first_failed, minlength=len(rules) + 1).tolist()
    dropped.update(dict(zip(rules, counts, strict=False)))
    return uids.pairs(rows["uid"].filter(pa.array(first_failed == len(rules))))
