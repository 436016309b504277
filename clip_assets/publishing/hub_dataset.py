"""``hub_dataset``: rows, vectors and index of the served version as a data set of a hub.

Its folders are those that others publish: data, faiss and id_mapping. What the card says is in
``card`` and ``croissant``; bringing it to a hub is the matter of ``push``.
"""

import json
import shutil
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clip_assets import layout, schemas
from clip_assets.errors import AlignmentError
from clip_assets.layout import Key
from clip_assets.pool import takedowns
from clip_assets.pool.asset import Asset, Inputs, Outcome
from clip_assets.pool.pool import Pool
from clip_assets.pool.stages import StageRun, materialize
from clip_assets.pool.upstream import upstream
from clip_assets.publishing import card, croissant, version_file
from clip_assets.publishing.vector_places import VectorPlaces, write_rows
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Report
from clip_assets.storage.vectors import Vectors

VECTORS = {"image_embedding": layout.img_emb, "text_embedding": layout.text_emb}
"""Columns of vectors, and where they come from."""

_FREE = ("license", "language", "nsfw", "opt_outs")
# Columns of pool metadata that rows are joined with.


def hub_dataset(pool: Pool, key: Key) -> Outcome:
    """Write what is published of the newest index version; nothing without ``hub.repository``.

    Memory: rows and vectors of one partition, and an index from which vectors are taken out.

    Raises:
        MissingArtifactError: there is no index yet, or no metadata of a partition.
        AlignmentError: a partition was embedded anew since the version was made.
    """
    return materialize(pool, HUB_DATASET, key, _write)


def hub_dataset_inputs(pool: Pool, key: Key) -> Inputs:
    """The version, the metadata of its rows, and what of them is wanted."""
    wanted = pool.settings.hub
    if not wanted.repository:
        return {}
    used = {
        f"{layout.POOL_METADATA}/{p}": pool.catalog.digest(layout.POOL_METADATA, p)
        for p in upstream(pool, layout.POOL_METADATA).done
    }
    whole = (layout.ID_MAPPING, layout.METADATA_STATS)
    digests = {name: pool.catalog.digest(name, key) for name in whole}
    return {"settings": wanted.model_dump_json()} | used | digests


HUB_DATASET = Asset(
    layout.HUB_DATASET,
    "3",
    make=hub_dataset,
    inputs=hub_dataset_inputs,
    axis="pool",
    deps=(layout.ID_MAPPING, layout.METADATA_STATS, layout.POOL_METADATA, layout.EMBEDDINGS),
    settings=("settings",),
    heeds=(takedowns.NAME,),
)


def _write(run: StageRun) -> Report:
    if not run.pool.settings.hub.repository:
        return Report(0, 0)
    mapped = run.pool.catalog.require(layout.ID_MAPPING)
    slots = sorted(mapped.of_kind(layout.index_rows), key=lambda output: output.path)
    version = slots[0].path.split("/")[1] if slots else ""
    taken_down = takedowns.read(run.store)
    rows_in, left_out = 0, list[npt.NDArray[np.int64]]()
    dropped = Counter[str]()
    shown: list[str] = []
    held = dict[int, int]()
    told_version = json.loads(run.store.read_bytes(layout.index_manifest(version)))
    places = VectorPlaces([slot["start"] for slot in told_version["slots"]])
    for place, output in enumerate(slots):
        number = int(output.path.rpartition("_")[2].removesuffix(".parquet"))
        whole = tables.read(run.store, output.path, schemas.INDEX_ROWS)
        rows = _rows(run, version, number, whole)
        is_gone = taken_down.mask(rows["uid"], rows["url"])
        is_reserved = _reserved(run, rows) & ~is_gone
        is_free = pa.array(~(is_gone | is_reserved))
        dropped.update({takedowns.REASON: int(is_gone.sum())})
        dropped.update({"opt_outs": int(is_reserved.sum())})
        rows_in += len(rows)
        left_out.append(rows["i"].filter(pc.invert(is_free)).to_numpy())
        published = rows.filter(is_free)
        shown += _shown(published)[: card.SHOWN - len(shown)]
        held[number] = len(published)
        _publish(run, number, len(whole), published, places)
        run.progress(place + 1, len(slots), "ranges of ids")
    gone = np.concatenate([np.empty(0, np.int64), *left_out])
    for side in layout.SIDES:
        _publish_index(run, version, side, gone)
    version_file.publish(run, version, held)
    places.publish(run)
    told = card.Facts(
        settings=run.pool.settings.hub,
        counts=json.loads(run.store.read_bytes(layout.stats())),
        version=told_version,
        rows=rows_in - len(gone),
        left_out=dropped["opt_outs"],
        taken_down=dropped[takedowns.REASON],
        captions=shown if "caption" in run.pool.settings.hub.columns else [],
    )
    with run.publish(layout.hub_card()) as part:
        part.write_text(card.card(told), encoding="utf-8")
    with run.publish(layout.hub_croissant()) as part:
        part.write_text(croissant.croissant(told), encoding="utf-8")
    return Report(rows_in, told.rows, dict(dropped), figures={"index_version": version})


def _rows(run: StageRun, version: str, number: int, whole: pa.Table) -> pa.Table:
    """The rows of a range that are in use: ids, what the index says, what metadata say, vectors."""
    ids = tables.read(run.store, layout.id_mapping(version, number), schemas.ID_MAPPING)
    table = whole.append_column("i", ids["i"])
    table = table.filter(pc.is_valid(table["uid"])).combine_chunks()
    if not len(table):
        return table
    partition = Key(table["image_path"][0].as_py().partition("/")[0])
    run.pool.catalog.require(layout.POOL_METADATA, partition)
    path = layout.pool_rows(partition)
    known = tables.read(run.store, path, schemas.POOL_ROWS, ["uid", *_FREE])
    places = pc.index_in(table["uid"], value_set=known["uid"].combine_chunks())
    for name in _FREE:
        table = table.append_column(name, known[name].take(places))
    for name, file in VECTORS.items():
        if name in run.pool.settings.hub.columns:
            with vectors.opened(run.store, file(partition)) as array:
                table = table.append_column(name, _column(array, table, partition))
    return table


def _column(array: Vectors, table: pa.Table, partition: Key) -> pa.Array:
    if len(array) != len(table):
        raise AlignmentError(
            f"{layout.EMBEDDINGS} of partition {partition}",
            f"{len(array):,} vectors",
            f"{len(table):,}, one for a row of the index",
            f"Run: clip-assets run --select {layout.INDEX_SEGMENTS}+",
        )
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def _reserved(run: StageRun, rows: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows may not be published because their owners reserve it."""
    if not run.pool.settings.hub.leave_out_opt_outs or not len(rows):
        return np.zeros(len(rows), np.bool_)
    return np.array([bool(one) for one in rows["opt_outs"].to_pylist()], np.bool_)


def _shown(rows: pa.Table) -> list[str]:
    return [text for text in rows["caption"].slice(0, card.SHOWN).to_pylist() if text]


def _publish(run: StageRun, number: int, count: int, rows: pa.Table, places: VectorPlaces) -> None:
    """The rows and the id mapping of a range of ids; a range without rows has no files."""
    if not len(rows):
        places.add(number, count, rows, None)
        return
    columns = run.pool.settings.hub.columns
    # Vectors last: what is read of a result's row lies side by side.
    ordered = [*(name for name in columns if name not in VECTORS), *VECTORS]
    with run.publish(layout.hub_rows(number)) as part:
        table = rows.select(["i", "uid", *(name for name in ordered if name in columns)])
        write_rows(part, places.firsts[number], table)
        places.add(number, count, table, part)
    with run.publish(layout.hub_mapping(number)) as part:
        tables.write(part, rows.select(["i", "uid", *({"url"} & {*columns})]))


def _publish_index(run: StageRun, version: str, side: str, gone: npt.NDArray[np.int64]) -> None:
    source = layout.index(version, side)
    with (
        run.pool.catalog.sound(layout.FAISS_INDEX, layout.WHOLE, source) as file,
        run.publish(layout.hub_index(side)) as part,
    ):
        if len(gone):
            import faiss

            index: Any = faiss.read_index(str(file))
            index.remove_ids(faiss.IDSelectorBatch(gone))
            faiss.write_index(index, str(part))
            return
        # No link: what damages one of them would damage the other.
        shutil.copyfile(file, part)
