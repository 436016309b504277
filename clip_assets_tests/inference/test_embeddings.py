"""A partition's shards to its embeddings."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder
from clip_assets.encoders.identity import expected_identity, read_identity
from clip_assets.encoders.openclip.loading import load_encoder
from clip_assets.errors import (
    DamagedError,
    MissingArtifactError,
    ModelLoadError,
    ModelMismatchError,
    SchemaError,
    UnsoundVectorsError,
)
from clip_assets.inference.embeddings import EMBEDDINGS, embeddings, embeddings_inputs
from clip_assets.settings import InferenceSettings
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import ABSENT
from clip_assets.storage.store import Store
from clip_assets_tests.inference.shards import Meddled, P, Pair, image_shards, made_up, tar_bytes
from clip_assets_tests.upstream import MadeUp


def rows_of(store: Store) -> Any:
    return tables.read(store, layout.embedding_rows(P), schemas.EMBEDDING_ROWS)


def vectors_of(store: Store, path: str) -> np.ndarray:
    with vectors.opened(store, path) as array:
        return np.array(array)


def test_every_sample_gets_an_aligned_row(made: MadeUp, encoder: Encoder) -> None:
    image_shards(made, [[Pair(n) for n in range(20)], [], [Pair(n) for n in range(20, 25)]])
    outcome = embeddings(made.pool, P)
    rows = rows_of(made.store)
    assert rows["uid"].to_pylist() == [Pair(n).uid for n in range(25)]
    assert rows["image_path"][20].as_py() == "00000/00002/000000000"
    image, text = (vectors_of(made.store, path) for path in (layout.img_emb(P), layout.text_emb(P)))
    assert image.shape == text.shape == (25, encoder.dim)
    captions = rows["caption"].to_pylist()
    np.testing.assert_allclose(text, encoder.encode_text(captions), atol=1e-3)
    expected = [encoder.preprocess(Pair(n).members("k")["jpg"]) for n in range(25)]
    np.testing.assert_allclose(image, encoder.encode_images(expected), atol=1e-3)
    cosines = (image.astype(np.float32) * text.astype(np.float32)).sum(axis=1)
    np.testing.assert_allclose(rows["similarity"].to_numpy(), cosines, atol=1e-6)
    report = outcome.manifest.report
    assert (report.rows_in, report.rows_out, report.dropped) == (25, 25, {})
    assert report.figures["model"]["sha256"] == encoder.identity.sha256
    assert made.store.exists(report.pictures["Similarity of image and caption"])
    assert made.store.list("work") == []


def test_captions_in_any_order_of_length_keep_their_rows(
    local_made: MadeUp, encoder: Encoder
) -> None:
    # The pipeline sorts the captions of a tar by length; two tars, and more than one batch each.
    words = [(7 * number) % 20 + 1 for number in range(40)]
    captions = [f"{number} " + "red cat " * count for number, count in enumerate(words)]
    pairs = [Pair(number, caption=caption) for number, caption in enumerate(captions)]
    pairs[3] = Pair(3, image=b"")
    image_shards(local_made, [pairs[:20], pairs[20:]])
    embeddings(local_made.pool, P)
    kept = rows_of(local_made.store)["caption"].to_pylist()
    assert kept == captions[:3] + captions[4:]
    alone = np.concatenate([encoder.encode_text([caption]) for caption in kept])
    np.testing.assert_allclose(vectors_of(local_made.store, layout.text_emb(P)), alone, atol=1e-3)


def test_a_second_run_does_nothing(made: MadeUp, inference: InferenceSettings) -> None:
    image_shards(made, [[Pair(1), Pair(2)]])
    first = embeddings(made.pool, P)
    second = embeddings(made_up(made.store, inference, never).pool, P)
    assert (first.reused, second.reused) == (False, True)


def test_a_model_that_cannot_be_loaded_is_a_recorded_failure(
    made: MadeUp, inference: InferenceSettings
) -> None:
    image_shards(made, [[Pair(1)]])
    misspelt = inference.model_copy(update={"model": "ViT-Z-99", "pretrained": "none"})
    with pytest.raises(ModelLoadError):
        embeddings(made_up(made.store, misspelt).pool, P)
    failure = made.pool.catalog.failure(layout.EMBEDDINGS, P)
    assert failure is not None
    assert failure.error == "ModelLoadError"
    assert "ViT-Z-99" in failure.message
    assert state_of(made.store, misspelt) == "failed"
    embeddings(made.pool, P)
    assert state_of(made.store, inference) == "done"


def test_a_partition_without_samples_leaves_no_files(made: MadeUp) -> None:
    image_shards(made, [[]])
    assert embeddings(made.pool, P).manifest.report.rows_out == 0
    assert made.store.list(layout.EMBEDDINGS) == []


def never() -> Encoder:
    pytest.fail("a model was loaded")


def test_without_shards_it_says_what_to_run_and_loads_no_model(
    made: MadeUp, inference: InferenceSettings
) -> None:
    with pytest.raises(MissingArtifactError, match="clip-assets run --select image_shards"):
        embeddings(made_up(made.store, inference, never).pool, P)
    # Whoever makes the shards asks for the embeddings again.
    assert made.pool.catalog.failure(layout.EMBEDDINGS, P) is None


def test_samples_that_cannot_be_used_are_counted(made: MadeUp) -> None:
    shard = [
        Pair(0),
        Pair(1, image=None),
        Pair(2, image=b""),
        Pair(3, image=b"<html>"),
        Pair(4, json=None),
        Pair(5, json=b"{"),
        Pair(6, json=b"[]"),
        Pair(7, json=b"{}"),
        Pair(8, fields={"uid": 8}),
        Pair(9, fields={"width": True}),
        Pair(10, fields={"uid": int("1" * 32)}),
        Pair(11, json=b'{"deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ]
    image_shards(made, [shard])
    report = embeddings(made.pool, P).manifest.report
    assert rows_of(made.store)["uid"].to_pylist() == [Pair(0).uid, Pair(9).uid]
    assert rows_of(made.store)["width"].to_pylist() == [40, None]
    assert report.rows_in == 12
    assert report.dropped == {
        "missing image": 1,
        "empty image": 1,
        "undecodable image": 1,
        "missing json": 1,
        "malformed json": 3,
        "json without uid": 3,
    }


@pytest.mark.parametrize("cut", [1, 512, 1024, 3000, 10_000])
def test_a_truncated_tar_stops_the_partition(local_made: MadeUp, cut: int) -> None:
    image_shards(local_made, [[Pair(n) for n in range(10)]])
    with Path(local_made.store.base, layout.shard_tar(P, 0)).open("r+b") as tar:
        tar.truncate(tar.seek(0, 2) - cut)
    with pytest.raises(DamagedError, match=r"00000\.tar: found .* bytes, expected .*--repair"):
        embeddings(local_made.pool, P)
    assert not local_made.store.exists(layout.img_emb(P))


@pytest.fixture
def scaled(
    inference: InferenceSettings, model_folder: Path, tmp_path: Path
) -> Callable[..., InferenceSettings]:
    """The settings of a model like the fixture's with one of its weights times a factor."""
    from safetensors.torch import load_file, save_file

    def make(name: str, factor: float) -> InferenceSettings:
        folder = shutil.copytree(model_folder, tmp_path / "scaled")
        weights = load_file(folder / "open_clip_model.safetensors")
        weights[name] *= factor
        save_file(weights, folder / "open_clip_model.safetensors")
        return inference.model_copy(update={"model": f"local-dir:{folder}"})

    return make


def test_a_model_of_nan_publishes_nothing(
    made: MadeUp, encoder: Encoder, scaled: Callable[..., InferenceSettings]
) -> None:
    broken = scaled("visual.proj", float("nan"))
    image_shards(made, [[Pair(1), Pair(2)]])
    with pytest.raises(UnsoundVectorsError, match=r"00000\.tar: image embeddings.*2 of 2 rows"):
        embeddings(made_up(made.store, broken).pool, P)
    assert made.pool.catalog.get(layout.EMBEDDINGS, P) is None
    assert made.store.list(layout.EMBEDDINGS) == []
    # The store belongs to nobody yet.
    embeddings(made.pool, P)
    assert read_identity(made.store) == encoder.identity


def test_a_model_that_tells_nothing_apart_publishes_nothing(
    made: MadeUp, scaled: Callable[..., InferenceSettings]
) -> None:
    blind = scaled("visual.conv1.weight", 0)
    image_shards(made, [[Pair(n) for n in range(20)]])
    with pytest.raises(UnsoundVectorsError, match=r"image embeddings.*tells nothing apart"):
        embeddings(made_up(made.store, blind).pool, P)
    assert made.store.list(layout.EMBEDDINGS) == []
    assert read_identity(made.store) is None


def test_another_model_is_refused_and_both_are_named(
    made: MadeUp, inference: InferenceSettings, encoder: Encoder, make_model: Callable[..., Any]
) -> None:
    image_shards(made, [[Pair(1)]])
    embeddings(made.pool, P)
    other = inference.model_copy(update={"model": f"local-dir:{make_model(seed=1)}"})
    stranger = load_encoder(other, "cpu")
    with pytest.raises(ModelMismatchError) as refusal:
        embeddings(made_up(made.store, other, lambda: stranger).pool, P)
    for identity in (encoder.identity, stranger.identity):
        assert identity.name in str(refusal.value)
        assert identity.sha256[:12] in str(refusal.value)
    assert read_identity(made.store) == encoder.identity
    assert state_of(made.store, other) == "failed"
    # The last embeddings stand, and count again for their own model.
    assert embeddings(made_up(made.store, inference, never).pool, P).reused
    assert state_of(made.store, inference) == "done"


def test_inputs_are_known_without_the_model(made: MadeUp, inference: InferenceSettings) -> None:
    assert expected_identity(made.store, inference) == ABSENT
    image_shards(made, [[Pair(1)]])
    embeddings(made.pool, P)
    expected = embeddings_inputs(made_up(made.store, inference, never).pool, P)
    assert made.pool.catalog.require(layout.EMBEDDINGS, P).inputs == expected
    other = inference.model_copy(update={"model": "ViT-L-14"})
    assert embeddings_inputs(made_up(made.store, other, never).pool, P) != expected


def test_images_of_every_kind_are_embedded(made: MadeUp, images: Callable[..., bytes]) -> None:
    kinds = [
        images(1, mode="L"),
        images(2, mode="CMYK"),
        images(3, mode="RGBA", form="PNG"),
        images(4, (1, 1)),
        images(5, (1, 5000), form="PNG"),
        images(6, form="WEBP"),
    ]
    image_shards(made, [[Pair(n, image=kind) for n, kind in enumerate(kinds)]])
    report = embeddings(made.pool, P).manifest.report
    assert (report.rows_out, report.dropped) == (6, {})


def test_captions_of_every_kind_are_embedded_and_kept(made: MadeUp) -> None:
    captions = [None, "", "a\0b", "🦆 \u202e", "word " * 20_000, "\ud800 alone"]
    shard = [
        Pair(number, caption="", fields={"caption": caption})
        for number, caption in enumerate(captions)
    ]
    image_shards(made, [shard])
    embeddings(made.pool, P)
    kept = rows_of(made.store)["caption"].to_pylist()
    assert kept == [*captions[:-1], "? alone"]
    text = vectors_of(made.store, layout.text_emb(P))
    np.testing.assert_array_equal(text[0], text[1])


def test_without_a_caption_in_the_json_the_txt_counts(made: MadeUp) -> None:
    bare = Pair(1)
    fields = json.dumps({"uid": bare.uid, "width": "wide", "height": -1, "url": 3}).encode()
    image_shards(made, [[Pair(1, json=fields), Pair(1, json=fields, caption=None)]])
    embeddings(made.pool, P)
    row, other = rows_of(made.store).to_pylist()
    assert (row["caption"], other["caption"]) == ("picture number 1", None)
    assert (row["url"], row["width"], row["height"], row["sha256"]) == (None, None, None, None)


def test_a_missing_tar_stops_the_partition(made: MadeUp) -> None:
    image_shards(made, [[Pair(1)], [Pair(2)]])
    made.store.delete(layout.shard_tar(P, 1))
    with pytest.raises(DamagedError, match=r"00001\.tar: found no file, expected .*--repair"):
        embeddings(made.pool, P)


def test_a_tar_replaced_behind_our_back_stops_the_partition(made: MadeUp) -> None:
    image_shards(made, [[Pair(1)]])
    made.store.write_bytes(layout.shard_tar(P, 0), tar_bytes([Pair(2)]))
    with pytest.raises(SchemaError, match="sha256"):
        embeddings(made.pool, P)


def test_a_tar_that_changes_while_it_is_read_stops_the_partition(
    local_made: MadeUp, inference: InferenceSettings, encoder: Encoder
) -> None:
    image_shards(local_made, [[Pair(n) for n in range(60)]])
    tar = Path(local_made.store.base, layout.shard_tar(P, 0))

    def append() -> None:
        with tar.open("ab") as file:
            file.write(bytes(10_240))

    meddled = made_up(local_made.store, inference, lambda: Meddled(encoder, append))
    with pytest.raises(SchemaError, match="changed while it was read"):
        embeddings(meddled.pool, P)
    assert not local_made.store.exists(layout.img_emb(P))


def test_after_one_changed_shard_the_other_chunks_of_an_unfinished_run_are_used(
    local_made: MadeUp,
) -> None:
    shards = [[Pair(1), Pair(2)], [Pair(3)], [Pair(4)]]
    image_shards(local_made, shards)
    Path(local_made.store.base, layout.shard_tar(P, 2)).write_bytes(b"cut")
    with pytest.raises(DamagedError):
        embeddings(local_made.pool, P)
    image_shards(local_made, [shards[0], [Pair(5)], shards[2]])
    report = embeddings(local_made.pool, P).manifest.report
    assert report.figures["chunks_resumed"] == 1
    assert rows_of(local_made.store)["uid"].to_pylist() == [Pair(n).uid for n in (1, 2, 5, 4)]


def state_of(store: Store, settings: InferenceSettings) -> str:
    return EMBEDDINGS.state(made_up(store, settings, never).pool, P)


def test_a_partition_is_stale_by_model_and_shards_only(
    made: MadeUp, inference: InferenceSettings
) -> None:
    image_shards(made, [[Pair(1)]])
    embeddings(made.pool, P)
    model = {"model": "ViT-B-16"}, {"pretrained": "x", "model": "RN50"}, {"precision": "bf16"}
    for change in model:
        assert state_of(made.store, inference.model_copy(update=change)) == "stale", change
    speed = {"batch_size": 1}, {"decode_threads": 7}, {"device_jpegs": True}, {"fused": True}
    for change in speed:
        assert state_of(made.store, inference.model_copy(update=change)) == "done", change
    assert set(model[0]) | set(model[1]) | set(model[2]) | {n for c in speed for n in c} == set(
        InferenceSettings.model_fields
    ), "every setting is of one kind"
    # Made anew, with the same bytes and then with others.
    image_shards(made, [[Pair(1)]])
    assert state_of(made.store, inference) == "done"
    image_shards(made, [[Pair(2)]])
    assert state_of(made.store, inference) == "stale"


def test_the_same_model_in_another_folder_is_welcome(
    made: MadeUp, inference: InferenceSettings, encoder: Encoder, model_folder: Path, tmp_path: Path
) -> None:
    image_shards(made, [[Pair(1)]])
    first = embeddings(made.pool, P)
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    moved = inference.model_copy(update={"model": f"local-dir:{copy}"})
    second = embeddings(made_up(made.store, moved).pool, P)
    assert second.reused
    assert second.manifest == first.manifest
    assert expected_identity(made.store, moved) == encoder.identity.digest()


def test_two_devices_write_the_bytes_of_one(tmp_path: Path, inference: InferenceSettings) -> None:
    written = []
    for devices in (["cpu"], ["cpu", "cpu"]):
        store = Store.open(str(tmp_path / str(len(devices))))
        made = made_up(store, inference, partial(load_encoder, inference, *devices))
        image_shards(made, [[Pair(n) for n in range(30)], [Pair(n) for n in range(30, 77)]])
        embeddings(made.pool, P)
        outputs = layout.img_emb(P), layout.text_emb(P), layout.embedding_rows(P)
        written.append([made.store.read_bytes(path) for path in outputs])
    assert written[0] == written[1]
