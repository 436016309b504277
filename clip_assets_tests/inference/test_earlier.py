"""What of a published partition is kept when it is embedded again."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder
from clip_assets.encoders.openclip.loading import load_encoder
from clip_assets.errors import SchemaError
from clip_assets.inference.chunks import Source
from clip_assets.inference.earlier import input_digest
from clip_assets.inference.embeddings import EMBEDDINGS, embeddings
from clip_assets.inference.samples import Sample
from clip_assets.pool.stages import output_of
from clip_assets.settings import InferenceSettings
from clip_assets.storage import tables, vectors
from clip_assets.storage.manifests import Manifest
from clip_assets.storage.store import Store
from clip_assets_tests.inference.shards import P, Pair, image_shards, made_up
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.upstream import MadeUp

SHARDS = [[Pair(10 * tar + n) for n in range(10) if (tar, n) != (1, 3)] for tar in range(3)]
RECOVERED = [SHARDS[0], [*SHARDS[1][:3], Pair(13), *SHARDS[1][3:]], SHARDS[2]]


class Watched:
    """An encoder that counts what it is given."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.given: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_images(self, images: Sequence[Any]) -> Any:
        self.given["image"] += len(images)
        return self._encoder.encode_images(images)

    def encode_captions(self, captions: Sequence[str]) -> Any:
        self.given["text"] += len(captions)
        return self._encoder.encode_captions(captions)


Again = Callable[[Store], tuple[Manifest, Counter[str]]]


@pytest.fixture
def again(inference: InferenceSettings, encoder: Encoder) -> Again:
    """Embeds a pool's partition: its manifest, and how many images and captions that took."""

    def embed(store: Store) -> tuple[Manifest, Counter[str]]:
        watched = Watched(encoder)
        manifest = embeddings(made_up(store, inference, lambda: watched).pool, P).manifest
        return manifest, watched.given

    return embed


def by_uid(store: Store, side: str) -> dict[str, np.ndarray]:
    """Vectors of a side by the uids of their rows."""
    uids = tables.read(store, layout.embedding_rows(P), schemas.EMBEDDING_ROWS)["uid"].to_pylist()
    kind = layout.img_emb if side == "image" else layout.text_emb
    with vectors.opened(store, kind(P)) as array:
        return dict(zip(uids, np.array(array), strict=True))


def test_one_recovered_url_embeds_one_sample(made: MadeUp, again: Again) -> None:
    image_shards(made, SHARDS)
    assert again(made.store)[1] == {"image": 29, "text": 29}
    before = {side: by_uid(made.store, side) for side in layout.SIDES}
    image_shards(made, RECOVERED)
    # It is not even read.
    made.store.delete(layout.shard_tar(P, 2))
    manifest, given = again(made.store)
    assert given == {"image": 1, "text": 1}
    assert manifest.report.figures["vectors_kept"] == 29
    assert (manifest.report.rows_in, manifest.report.rows_out) == (30, 30)
    rows = tables.read(made.store, layout.embedding_rows(P), schemas.EMBEDDING_ROWS)
    assert rows["uid"].to_pylist() == [f"{number:032x}" for number in range(30)]
    for side in layout.SIDES:
        after = by_uid(made.store, side)
        for uid, vector in before[side].items():
            np.testing.assert_array_equal(after[uid], vector)


def test_what_is_kept_is_what_a_partition_embedded_whole_has(
    made: MadeUp, again: Again, tmp_path: Path, inference: InferenceSettings
) -> None:
    image_shards(made, SHARDS)
    again(made.store)
    image_shards(made, RECOVERED)
    again(made.store)
    whole = made_up(Store.open(str(tmp_path / "whole")), inference)
    image_shards(whole, RECOVERED)
    again(whole.store)
    names = [name for name in schemas.EMBEDDING_ROWS.names if name != "similarity"]
    both = [
        tables.read(one.store, layout.embedding_rows(P), schemas.EMBEDDING_ROWS)
        for one in (made, whole)
    ]
    assert both[0].select(names) == both[1].select(names)
    np.testing.assert_allclose(both[0]["similarity"], both[1]["similarity"], atol=1e-3)
    inputs = [one.store.read_bytes(layout.embedding_inputs(P)) for one in (made, whole)]
    assert inputs[0] == inputs[1]
    for side in layout.SIDES:
        ours, theirs = (by_uid(one.store, side) for one in (made, whole))
        for uid, vector in ours.items():
            assert np.dot(vector.astype(np.float64), theirs[uid].astype(np.float64)) > 0.999


def cut_of(made: MadeUp) -> list[bool | None]:
    table = tables.read(made.store, layout.embedding_inputs(P), schemas.EMBEDDING_INPUTS)
    return table["is_caption_cut"].to_pylist()


def test_what_is_kept_says_still_whether_its_caption_is_cut(made: MadeUp, again: Again) -> None:
    pairs = [Pair(n, caption="red cat " * (40 if n % 3 else 1)) for n in range(6)]
    image_shards(made, [pairs[:3], pairs[3:5]])
    manifest, _ = again(made.store)
    assert cut_of(made) == [False, True, True, False, True]
    assert manifest.report.figures["captions_cut"] == 3
    image_shards(made, [pairs[:3], pairs[3:]])
    manifest, given = again(made.store)
    assert given["text"] == 1
    assert cut_of(made) == [False, True, True, False, True, True]


def test_what_a_release_before_embedded_does_not_say_whether_its_caption_is_cut(
    made: MadeUp, again: Again
) -> None:
    long = "red cat " * 40
    image_shards(made, [[Pair(1, caption=long)], [Pair(2, caption=long)]])
    manifest, _ = again(made.store)
    path = layout.embedding_inputs(P)
    with made.store.local(path) as file:
        table = pq.read_table(file).drop_columns("is_caption_cut")
    with made.store.publish(path) as part:
        pq.write_table(table, part)
    with made.store.local(path) as file:
        told = [output_of(file, path) if o.path == path else o for o in manifest.outputs]
    made.pool.catalog.put(dataclasses.replace(manifest, outputs=told))
    image_shards(made, [[Pair(1, caption=long)], [Pair(2, caption=long), Pair(3, caption=long)]])
    manifest, given = again(made.store)
    assert given["text"] == 1
    assert cut_of(made) == [None, None, True]
    assert manifest.report.figures["captions_not_asked"] == 2


def test_a_row_that_is_taken_away_embeds_nothing(made: MadeUp, again: Again) -> None:
    image_shards(made, RECOVERED)
    again(made.store)
    # All samples behind it move, some into another tar.
    rest = [pair for shard in RECOVERED for pair in shard][1:]
    image_shards(made, [rest[:10], rest[10:20], rest[20:]])
    manifest, given = again(made.store)
    assert not given
    assert manifest.report.rows_out == 29


@pytest.mark.parametrize(
    "changed",
    [Pair(13, caption="another"), Pair(13, image=None), Pair(14, fields={"uid": "d" * 32})],
)
def test_a_sample_that_changed_is_embedded_anew(made: MadeUp, again: Again, changed: Pair) -> None:
    image_shards(made, RECOVERED)
    again(made.store)
    image_shards(made, [RECOVERED[0], [*SHARDS[1], changed], RECOVERED[2]])
    manifest, given = again(made.store)
    # The image and caption of 14 are there already, of another row.
    expected = 1 if changed.caption == "another" else 0
    assert given == Counter({"image": expected, "text": expected})
    assert manifest.report.rows_out == 30 - (changed.image is None)


def test_a_digest_that_ends_in_zero_is_recognised(
    made: MadeUp, again: Again, encoder: Encoder
) -> None:
    image = encoded(draw(0))
    model, precision = encoder.identity.digest(), encoder.identity.precision
    source = Source("", "", model, precision, EMBEDDINGS.version)
    captions = (f"number {number}" for number in count())
    caption = next(
        one for one in captions if input_digest(Sample("", image, one), source).endswith(b"\0")
    )
    zero = Pair(0, image=image, caption=caption)
    image_shards(made, [[zero]])
    again(made.store)
    image_shards(made, [[zero, Pair(1)]])
    assert again(made.store)[1] == {"image": 1, "text": 1}


def test_dropped_samples_of_a_kept_tar_are_counted(made: MadeUp, again: Again) -> None:
    bad = [[*SHARDS[0], Pair(99, image=b"<html>")], SHARDS[1]]
    image_shards(made, bad)
    again(made.store)
    image_shards(made, [bad[0], RECOVERED[1]])
    report = again(made.store)[0].report
    assert (report.rows_in, report.dropped) == (21, {"undecodable image": 1})


def test_another_precision_keeps_nothing(made: MadeUp, inference: InferenceSettings) -> None:
    image_shards(made, SHARDS)
    precisions = ("fp32", "bf16")
    for precision in precisions:
        other = inference.model_copy(update={"precision": precision})
        watched = Watched(load_encoder(other, "cpu"))
        embeddings(made_up(made.store, other, lambda watched=watched: watched).pool, P)
        assert watched.given == {"image": 29, "text": 29}


@pytest.mark.parametrize("kind", [layout.img_emb, layout.embedding_rows, layout.embedding_inputs])
@pytest.mark.parametrize("is_gone", [False, True])
def test_damage_is_not_copied_on(
    local_made: MadeUp, again: Again, kind: Callable[[Any], str], is_gone: bool
) -> None:
    image_shards(local_made, SHARDS)
    again(local_made.store)
    before = by_uid(local_made.store, "image")
    file = Path(local_made.store.base, kind(P))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink() if is_gone else file.write_bytes(content)
    image_shards(local_made, RECOVERED)
    # Without rows, tars are read again.
    encoded_again = 1 if kind is layout.embedding_rows else 30
    assert again(local_made.store)[1] == {"image": encoded_again, "text": encoded_again}
    after = by_uid(local_made.store, "image")
    for uid, vector in before.items():
        np.testing.assert_allclose(after[uid], vector, atol=1e-3)


def test_a_partition_of_a_release_before_stays_done_and_is_embedded_whole_when_it_changes(
    made: MadeUp, again: Again
) -> None:
    image_shards(made, SHARDS)
    manifest, _ = again(made.store)
    inputs = layout.embedding_inputs(P)
    outputs = [output for output in manifest.outputs if output.path != inputs]
    made.pool.catalog.put(dataclasses.replace(manifest, outputs=outputs))
    made.store.delete(inputs)
    assert EMBEDDINGS.state(made.pool, P) == "done"
    image_shards(made, RECOVERED)
    assert again(made.store)[1] == {"image": 30, "text": 30}
    assert made.store.exists(inputs)


def test_a_run_that_stopped_keeps_what_it_had(local_made: MadeUp, again: Again) -> None:
    image_shards(local_made, SHARDS)
    again(local_made.store)
    image_shards(local_made, [RECOVERED[0], RECOVERED[1], [*SHARDS[2], Pair(50)]])
    tar = Path(local_made.store.base, layout.shard_tar(P, 2))
    content = tar.read_bytes()
    tar.write_bytes(content[:-1] + b"x")
    with pytest.raises(SchemaError):
        again(local_made.store)
    tar.write_bytes(content)
    # As a kill leaves them that comes after the rows were replaced and before the vectors were.
    Path(local_made.store.base, layout.embedding_rows(P)).write_bytes(b"other")
    manifest, given = again(local_made.store)
    assert given == {"image": 1, "text": 1}
    assert manifest.report.figures["chunks_resumed"] == 2
    assert manifest.report.rows_out == 31
