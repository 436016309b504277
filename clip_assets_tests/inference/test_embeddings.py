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
    MissingArtifactError,
    ModelLoadError,
    ModelMismatchError,
    SchemaError,
    UnsoundVectorsError,
)
from clip_assets.inference.embeddings import EMBEDDINGS, embeddings, embeddings_inputs
from clip_assets.layout import PartitionKey
from clip_assets.settings import Inference
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import ABSENT, Catalog, read_failure
from clip_assets.storage.store import Store

P = PartitionKey("00000")
Write = Callable[..., None]


def rows_of(store: Store) -> Any:
    return tables.read(store, layout.embedding_rows(P), schemas.EMBEDDING_ROWS, "embeddings")


def vectors_of(store: Store, path: str) -> np.ndarray:
    with vectors.opened(store, path, "embeddings") as array:
        return np.array(array)


def test_every_sample_gets_an_aligned_row(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    write_shards(store, P, [[pair(n) for n in range(20)], [], [pair(n) for n in range(20, 25)]])
    outcome = embeddings(Catalog(store), P, inference, lambda: encoder)
    rows = rows_of(store)
    assert rows["uid"].to_pylist() == [pair(n).uid for n in range(25)]
    assert rows["image_path"][20].as_py() == "00000/00002/000000000"
    image, text = vectors_of(store, layout.img_emb(P)), vectors_of(store, layout.text_emb(P))
    assert image.shape == text.shape == (25, encoder.dim)
    captions = rows["caption"].to_pylist()
    np.testing.assert_allclose(text, encoder.encode_text(captions), atol=1e-3)
    expected = [encoder.preprocess(pair(n).members("k")["jpg"]) for n in range(25)]
    np.testing.assert_allclose(image, encoder.encode_images(expected), atol=1e-3)
    cosines = (image.astype(np.float32) * text.astype(np.float32)).sum(axis=1)
    np.testing.assert_allclose(rows["similarity"].to_numpy(), cosines, atol=1e-6)
    report = outcome.manifest.report
    assert (report.rows_in, report.rows_out, report.dropped) == (25, 25, {})
    assert report.figures["model"]["sha256"] == encoder.identity.sha256
    assert store.exists(report.pictures["Similarity of image and caption"])
    assert store.list("work") == []


def test_captions_in_any_order_of_length_keep_their_rows(
    local_store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    # The pipeline sorts the captions of a tar by length; two tars, and more than one batch each.
    words = [(7 * number) % 20 + 1 for number in range(40)]
    captions = [f"{number} " + "red cat " * count for number, count in enumerate(words)]
    pairs = [pair(number, caption=caption) for number, caption in enumerate(captions)]
    pairs[3] = pair(3, image=b"")
    write_shards(local_store, P, [pairs[:20], pairs[20:]])
    embeddings(Catalog(local_store), P, inference, lambda: encoder)
    kept = rows_of(local_store)["caption"].to_pylist()
    assert kept == captions[:3] + captions[4:]
    alone = np.concatenate([encoder.encode_text([caption]) for caption in kept])
    np.testing.assert_allclose(vectors_of(local_store, layout.text_emb(P)), alone, atol=1e-3)


def test_a_second_run_does_nothing(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    write_shards(store, P, [[pair(1), pair(2)]])
    first = embeddings(Catalog(store), P, inference, lambda: encoder)
    second = embeddings(Catalog(store), P, inference, never)
    assert (first.reused, second.reused) == (False, True)


def test_a_model_that_cannot_be_loaded_is_a_recorded_failure(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    write_shards(store, P, [[pair(1)]])
    misspelt = inference.model_copy(update={"model": "ViT-Z-99", "pretrained": "none"})
    with pytest.raises(ModelLoadError):
        embeddings(Catalog(store), P, misspelt, lambda: load_encoder(misspelt, "cpu"))
    failure = read_failure(store, "embeddings", P)
    assert failure is not None
    assert failure.error == "ModelLoadError"
    assert "ViT-Z-99" in failure.message
    assert state_of(store, misspelt) == "failed"
    embeddings(Catalog(store), P, inference, lambda: encoder)
    assert state_of(store, inference) == "done"


def test_a_partition_without_samples_gives_empty_files(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write
) -> None:
    write_shards(store, P, [[]])
    embeddings(Catalog(store), P, inference, lambda: encoder)
    assert vectors_of(store, layout.img_emb(P)).shape == (0, encoder.dim)
    assert rows_of(store).num_rows == 0


def never() -> Encoder:
    pytest.fail("a model was loaded")


def test_without_shards_it_says_what_to_run_and_loads_no_model(
    store: Store, inference: Inference
) -> None:
    with pytest.raises(MissingArtifactError, match="clip-assets run --select image_shards"):
        embeddings(Catalog(store), P, inference, never)
    # Whoever makes the shards asks for the embeddings again.
    assert read_failure(store, "embeddings", P) is None


def test_samples_that_cannot_be_used_are_counted(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    shard = [
        pair(0),
        pair(1, image=None),
        pair(2, image=b""),
        pair(3, image=b"<html>"),
        pair(4, json=None),
        pair(5, json=b"{"),
        pair(6, json=b"[]"),
        pair(7, json=b"{}"),
        pair(8, fields={"uid": 8}),
        pair(9),
    ]
    write_shards(store, P, [shard])
    report = embeddings(Catalog(store), P, inference, lambda: encoder).manifest.report
    assert rows_of(store)["uid"].to_pylist() == [pair(0).uid, pair(9).uid]
    assert report.rows_in == 10
    assert report.dropped == {
        "missing image": 1,
        "empty image": 1,
        "undecodable image": 1,
        "missing json": 1,
        "malformed json": 2,
        "json without uid": 2,
    }


@pytest.mark.parametrize("cut", [1, 512, 1024, 3000, 10_000])
def test_a_truncated_tar_stops_the_partition(
    local_store: Store,
    inference: Inference,
    encoder: Encoder,
    write_shards: Write,
    pair: Any,
    cut: int,
) -> None:
    write_shards(local_store, P, [[pair(n) for n in range(10)]])
    with Path(local_store.base, layout.shard_tar(P, 0)).open("r+b") as tar:
        tar.truncate(tar.seek(0, 2) - cut)
    with pytest.raises(SchemaError, match=r"shards/00000/00000\.tar.*materialize image_shards"):
        embeddings(Catalog(local_store), P, inference, lambda: encoder)
    assert not local_store.exists(layout.img_emb(P))


@pytest.fixture
def scaled(inference: Inference, model_folder: Path, tmp_path: Path) -> Callable[..., Inference]:
    """The settings of a model like the fixture's with one of its weights times a factor."""
    from safetensors.torch import load_file, save_file

    def make(name: str, factor: float) -> Inference:
        folder = shutil.copytree(model_folder, tmp_path / "scaled")
        weights = load_file(folder / "open_clip_model.safetensors")
        weights[name] *= factor
        save_file(weights, folder / "open_clip_model.safetensors")
        return inference.model_copy(update={"model": f"local-dir:{folder}"})

    return make


def test_a_model_of_nan_publishes_nothing(
    store: Store,
    inference: Inference,
    encoder: Encoder,
    write_shards: Write,
    pair: Any,
    scaled: Callable[..., Inference],
) -> None:
    broken = scaled("visual.proj", float("nan"))
    write_shards(store, P, [[pair(1), pair(2)]])
    with pytest.raises(UnsoundVectorsError, match=r"00000\.tar: image embeddings.*2 of 2 rows"):
        embeddings(Catalog(store), P, broken, lambda: load_encoder(broken, "cpu"))
    assert Catalog(store).get("embeddings", P) is None
    assert store.list("embeddings") == []
    # The store belongs to nobody yet.
    embeddings(Catalog(store), P, inference, lambda: encoder)
    assert read_identity(store) == encoder.identity


def test_a_model_that_tells_nothing_apart_publishes_nothing(
    store: Store, write_shards: Write, pair: Any, scaled: Callable[..., Inference]
) -> None:
    blind = scaled("visual.conv1.weight", 0)
    write_shards(store, P, [[pair(n) for n in range(20)]])
    with pytest.raises(UnsoundVectorsError, match=r"image embeddings.*tells nothing apart"):
        embeddings(Catalog(store), P, blind, lambda: load_encoder(blind, "cpu"))
    assert store.list("embeddings") == []
    assert read_identity(store) is None


def test_another_model_is_refused_and_both_are_named(
    store: Store,
    inference: Inference,
    encoder: Encoder,
    write_shards: Write,
    pair: Any,
    make_model: Callable[..., Any],
) -> None:
    write_shards(store, P, [[pair(1)]])
    embeddings(Catalog(store), P, inference, lambda: encoder)
    other = inference.model_copy(update={"model": f"local-dir:{make_model(seed=1)}"})
    stranger = load_encoder(other, "cpu")
    with pytest.raises(ModelMismatchError) as refusal:
        embeddings(Catalog(store), P, other, lambda: stranger)
    for identity in (encoder.identity, stranger.identity):
        assert identity.name in str(refusal.value)
        assert identity.sha256[:12] in str(refusal.value)
    assert read_identity(store) == encoder.identity
    assert state_of(store, other) == "failed"
    # The last embeddings stand, and count again for their own model.
    assert embeddings(Catalog(store), P, inference, never).reused
    assert state_of(store, inference) == "done"


def test_inputs_are_known_without_the_model(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    assert expected_identity(store, inference) == ABSENT
    write_shards(store, P, [[pair(1)]])
    embeddings(Catalog(store), P, inference, lambda: encoder)
    catalog = Catalog(store)
    expected = embeddings_inputs(catalog, P, inference, expected_identity(store, inference))
    assert catalog.require("embeddings", P).inputs == expected
    other = inference.model_copy(update={"model": "ViT-L-14"})
    assert embeddings_inputs(catalog, P, other, expected_identity(store, other)) != expected


def test_images_of_every_kind_are_embedded(
    store: Store,
    inference: Inference,
    encoder: Encoder,
    write_shards: Write,
    pair: Any,
    images: Callable[..., bytes],
) -> None:
    kinds = [
        images(1, mode="L"),
        images(2, mode="CMYK"),
        images(3, mode="RGBA", form="PNG"),
        images(4, (1, 1)),
        images(5, (1, 5000), form="PNG"),
        images(6, form="WEBP"),
    ]
    write_shards(store, P, [[pair(n, image=kind) for n, kind in enumerate(kinds)]])
    report = embeddings(Catalog(store), P, inference, lambda: encoder).manifest.report
    assert (report.rows_out, report.dropped) == (6, {})


def test_captions_of_every_kind_are_embedded_and_kept(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    captions = [None, "", "a\0b", "🦆 \u202e", "word " * 20_000, "\ud800 alone"]
    shard = [
        pair(number, caption="", fields={"caption": caption})
        for number, caption in enumerate(captions)
    ]
    write_shards(store, P, [shard])
    embeddings(Catalog(store), P, inference, lambda: encoder)
    kept = rows_of(store)["caption"].to_pylist()
    assert kept == [*captions[:-1], "? alone"]
    text = vectors_of(store, layout.text_emb(P))
    np.testing.assert_array_equal(text[0], text[1])


def test_without_a_caption_in_the_json_the_txt_counts(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    bare = pair(1)
    fields = json.dumps({"uid": bare.uid, "width": "wide", "height": -1, "url": 3}).encode()
    write_shards(store, P, [[pair(1, json=fields), pair(1, json=fields, caption=None)]])
    embeddings(Catalog(store), P, inference, lambda: encoder)
    row, other = rows_of(store).to_pylist()
    assert (row["caption"], other["caption"]) == ("picture number 1", None)
    assert (row["url"], row["width"], row["height"], row["sha256"]) == (None, None, None, None)


def test_a_missing_tar_stops_the_partition(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    write_shards(store, P, [[pair(1)], [pair(2)]])
    store.delete(layout.shard_tar(P, 1))
    with pytest.raises(MissingArtifactError, match=r"00001\.tar.*image_shards"):
        embeddings(Catalog(store), P, inference, lambda: encoder)


def test_a_tar_replaced_behind_our_back_stops_the_partition(
    store: Store,
    inference: Inference,
    encoder: Encoder,
    write_shards: Write,
    pair: Any,
    make_tar: Callable[..., bytes],
) -> None:
    write_shards(store, P, [[pair(1)]])
    store.write_bytes(layout.shard_tar(P, 0), make_tar([pair(2)]))
    with pytest.raises(SchemaError, match="sha256"):
        embeddings(Catalog(store), P, inference, lambda: encoder)


def test_a_tar_that_changes_while_it_is_read_stops_the_partition(
    local_store: Store,
    inference: Inference,
    encoder: Encoder,
    write_shards: Write,
    pair: Any,
    meddled: Any,
) -> None:
    write_shards(local_store, P, [[pair(n) for n in range(60)]])
    tar = Path(local_store.base, layout.shard_tar(P, 0))

    def append() -> None:
        with tar.open("ab") as file:
            file.write(bytes(10_240))

    with pytest.raises(SchemaError, match="changed while it was read"):
        embeddings(Catalog(local_store), P, inference, lambda: meddled(encoder, append))
    assert not local_store.exists(layout.img_emb(P))


def test_after_one_changed_shard_the_other_chunks_of_an_unfinished_run_are_used(
    local_store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    shards = [[pair(1), pair(2)], [pair(3)], [pair(4)]]
    write_shards(local_store, P, shards)
    Path(local_store.base, layout.shard_tar(P, 2)).write_bytes(b"cut")
    with pytest.raises(SchemaError):
        embeddings(Catalog(local_store), P, inference, lambda: encoder)
    write_shards(local_store, P, [shards[0], [pair(5)], shards[2]])
    report = embeddings(Catalog(local_store), P, inference, lambda: encoder).manifest.report
    assert report.figures["chunks_resumed"] == 1
    assert rows_of(local_store)["uid"].to_pylist() == [pair(n).uid for n in (1, 2, 5, 4)]


def state_of(store: Store, settings: Inference) -> str:
    catalog = Catalog(store)
    inputs = embeddings_inputs(catalog, P, settings, expected_identity(store, settings))
    return catalog.state("embeddings", P, EMBEDDINGS.version, inputs)


def test_a_partition_is_stale_by_model_and_shards_only(
    store: Store, inference: Inference, encoder: Encoder, write_shards: Write, pair: Any
) -> None:
    write_shards(store, P, [[pair(1)]])
    embeddings(Catalog(store), P, inference, lambda: encoder)
    model = {"model": "ViT-B-16"}, {"pretrained": "x", "model": "RN50"}, {"precision": "bf16"}
    for change in model:
        assert state_of(store, inference.model_copy(update=change)) == "stale", change
    speed = {"batch_size": 1}, {"decode_threads": 7}, {"device_jpegs": True}
    for change in speed:
        assert state_of(store, inference.model_copy(update=change)) == "done", change
    assert set(model[0]) | set(model[1]) | set(model[2]) | {n for c in speed for n in c} == set(
        Inference.model_fields
    ), "every setting is of one kind"
    # Made anew, with the same bytes and then with others.
    write_shards(store, P, [[pair(1)]])
    assert state_of(store, inference) == "done"
    write_shards(store, P, [[pair(2)]])
    assert state_of(store, inference) == "stale"


def test_the_same_model_in_another_folder_is_welcome(
    store: Store,
    inference: Inference,
    encoder: Encoder,
    write_shards: Write,
    pair: Any,
    model_folder: Path,
    tmp_path: Path,
) -> None:
    write_shards(store, P, [[pair(1)]])
    first = embeddings(Catalog(store), P, inference, lambda: encoder)
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    moved = inference.model_copy(update={"model": f"local-dir:{copy}"})
    second = embeddings(Catalog(store), P, moved, lambda: load_encoder(moved, "cpu"))
    assert second.reused
    assert second.manifest == first.manifest
    assert expected_identity(store, moved) == encoder.identity.digest()


def test_two_devices_write_the_bytes_of_one(
    tmp_path: Path, inference: Inference, write_shards: Callable[..., None], pair: Any
) -> None:
    written = []
    for devices in (["cpu"], ["cpu", "cpu"]):
        store = Store.open(str(tmp_path / str(len(devices))))
        write_shards(store, P, [[pair(n) for n in range(30)], [pair(n) for n in range(30, 77)]])
        embeddings(Catalog(store), P, inference, partial(load_encoder, inference, *devices))
        outputs = layout.img_emb(P), layout.text_emb(P), layout.embedding_rows(P)
        written.append([store.read_bytes(path) for path in outputs])
    assert written[0] == written[1]
