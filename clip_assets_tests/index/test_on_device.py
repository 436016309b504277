"""An accelerator compares vectors as cores do; here its part is played by torch's CPU."""

import json
import logging
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from clip_assets import devices, layout
from clip_assets.definitions import build_defs
from clip_assets.defs.embeddings import embeddings
from clip_assets.defs.index import index_segments as by_cores
from clip_assets.index import on_device
from clip_assets.index.effort import neighbours
from clip_assets.index.engine import ann
from clip_assets.index.index_segments import index_segments
from clip_assets.index.on_device import ByCores, OnDevice
from clip_assets.orchestration.resources import PoolResource
from clip_assets_tests.index.conftest import RandomVectors
from clip_assets_tests.vectors import unit_rows

QUERIES = {"image": unit_rows(2, 1_500, 16), "text": unit_rows(3, 90, 16)}


@pytest.fixture(params=["IVF40,SQ8", "IVF1,Flat", "RR16,IVF30,Flat"])
def trained(request: pytest.FixtureRequest) -> ann.Index:
    return ann.trained(request.param, 16, unit_rows(1, 2_000, 16))


def test_vectors_lie_where_faiss_puts_them(
    trained: ann.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_device, "PRODUCT_BYTES", 4 * 40 * 100)  # more than one block
    rows = unit_rows(4, 1_003, 16)
    lists = ann.inverted(trained)
    assert lists is not None
    centres = lists.quantizer.reconstruct_n(0, lists.nlist)
    if isinstance(trained, ann.faiss.IndexIVF) and len(centres) > 1:
        rows[0] = (centres[3] + centres[7]) / np.linalg.norm(centres[3] + centres[7])  # a tie
    by_faiss = ByCores(trained, QUERIES).placed(rows)
    by_torch = OnDevice("cpu", trained, QUERIES).placed(rows)
    assert np.array_equal(by_faiss.lists, by_torch.lists)
    assert np.allclose(by_faiss.similarities, by_torch.similarities, atol=1e-6)
    assert by_torch.lists.dtype == np.int64
    assert by_torch.lists.flags.c_contiguous


def test_rounding_that_leaves_two_lists_open_is_decided_by_faiss() -> None:
    index = ann.trained("IVF80,Flat", 16, unit_rows(1, 4_000, 16))
    lists = ann.inverted(index)
    assert lists is not None
    lists.quantizer.reset()
    lists.quantizer.add(np.repeat(unit_rows(5, 1, 16), 80, axis=0))  # nobody can tell them apart
    rows = unit_rows(6, 500, 16)
    expected = lists.quantizer.search(rows, 1)[1][:, 0]
    assert np.array_equal(OnDevice("cpu", index, QUERIES).placed(rows).lists, expected)


@pytest.mark.parametrize("kind", sorted(QUERIES))
def test_the_truth_is_that_of_cores(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_device, "PRODUCT_BYTES", 4 * 1_500 * 130)
    index = ann.trained("IVF40,SQ8", 16, unit_rows(1, 2_000, 16))
    known = neighbours.nothing(len(QUERIES[kind]))
    device, cores = OnDevice("cpu", index, QUERIES), ByCores(index, QUERIES)
    theirs, ours = known, known
    for seed, count in ((7, 50), (8, 1_000)):
        rows, lists = unit_rows(seed, count, 16), np.arange(count) % 40
        theirs = device.truth(kind, rows, lists, theirs)
        ours = cores.truth(kind, rows, lists, ours)
    for own, other in zip(ours, theirs, strict=True):
        assert np.allclose(own["similarity"], other["similarity"], atol=1e-6)
        assert np.array_equal(own["list"], other["list"])


def test_a_device_that_is_not_there_leaves_it_to_cores(caplog: pytest.LogCaptureFixture) -> None:
    index = ann.trained("IVF4,Flat", 16, unit_rows(1, 200, 16))
    with (
        caplog.at_level(logging.WARNING),
        on_device.comparing("cuda:99", index, QUERIES) as comparing,
    ):
        assert isinstance(comparing, ByCores)
    assert "cores compare vectors, because cuda:99 cannot be used" in caplog.text
    with on_device.comparing("cpu", index, QUERIES) as comparing:
        assert isinstance(comparing, OnDevice)


@pytest.mark.parametrize("given", ["", "0"])
def test_segments_of_a_machine_without_a_device_are_those_of_cores(
    made: RandomVectors,
    given: str,
    hasty: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made.set(index={"flat_limit": 10})
    key = made.embed(0, 300)
    made.recipe()
    made.segment()
    told = made.pool.catalog.require(layout.INDEX_SEGMENTS, key).outputs
    made.store.delete(layout.manifest(layout.INDEX_SEGMENTS, key))
    made.set(index={"flat_limit": 10, "on_device": True})
    monkeypatch.setenv(devices.VISIBLE, given)
    pool = made.pool
    with caplog.at_level(logging.WARNING), pool.leased_devices():
        assert pool.places == (("cuda:0",) if given else ("cpu",))
        index_segments(pool, key)
    expected = "cuda:0 cannot be used" if given else "no accelerator is there"
    assert expected in caplog.text
    assert made.pool.catalog.require(layout.INDEX_SEGMENTS, key).outputs == told


def test_the_step_has_the_needs_of_embedding(tmp_path: Path) -> None:
    (tmp_path / layout.SETTINGS_FILE).write_text("index: {on_device: true}")
    defs = build_defs(PoolResource(root=str(tmp_path)))
    dg.Definitions.validate_loadable(defs)
    step = defs.resolve_assets_def(layout.INDEX_SEGMENTS)
    assert step.op.pool == embeddings.op.pool != by_cores.op.pool
    assert json.loads(step.op.tags["dagster-ray/config"])["num_gpus"] == 1
    (spec,), (told,) = step.specs, by_cores.specs
    assert spec.replace_attributes(automation_condition=None, skippable=False) == told
