"""Columns put into the json of copied samples, faces blurred, and nothing else changed."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import ConfigurationError, SchemaError, SourceFormatError
from clip_assets.reshard.resharding import META, Options, reshard
from clip_assets.webdataset import blurring, indices
from clip_assets_tests.inference.shards import Pair
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.reshard.tars import contents, folder, pair, subset, uid

BOX = [0.25, 0.25, 0.75, 0.75]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three images, of which one has a face, and their metadata."""
    pairs = [Pair(n, image=encoded(draw(n)), fields={"uid": uid(n), "own": n}) for n in range(3)]
    source = folder(tmp_path / "in", {"00000000": pairs})
    table = pa.table(
        {
            "uid": [uid(n) for n in (2, 1, 0, 9)],
            "score": pa.array([0.5, None, float("nan"), 1.0]),
            "face_bboxes": pa.array([[BOX], [], None, []], pa.list_(pa.list_(pa.float64()))),
        }
    )
    (tmp_path / "metadata").mkdir()
    for number in range(2):
        part = table.slice(2 * number, 2)
        pq.write_table(part, tmp_path / "metadata" / f"{number}.parquet")
    return source


def copied(tmp_path: Path, numbers: list[int], **options: object) -> dict[str, dict[str, bytes]]:
    """What was written, by uid."""
    given = Options(metadata=str(tmp_path / "metadata"), **options)  # pyright: ignore[reportArgumentType]
    file = subset(tmp_path / "subset.npy", numbers)
    reshard(file, str(tmp_path / "out"), [str(tmp_path / "in")], given)
    written = contents((tmp_path / "out" / "00000000.tar").read_bytes())
    return {key.partition("-")[0]: members for key, members in written.items()}


def test_columns_go_into_the_json(source: Path, tmp_path: Path) -> None:
    before = {m["txt"]: m for m in contents((source / "00000000.tar").read_bytes()).values()}
    written = copied(tmp_path, [0, 1, 2, 2], columns=("score",))
    scores = {uid(0): None, uid(1): None, uid(2): 0.5}
    assert {name: json.loads(m["json"])["score"] for name, m in written.items()} == scores
    for members in written.values():
        old = before[members["txt"]]
        assert {**members, "json": b""} == {**old, "json": b""}
        told = json.loads(members["json"])
        del told["score"]
        assert told == json.loads(old["json"])
    assert json.loads((tmp_path / "out" / META).read_bytes())["columns"] == ["score"]
    # A run with other columns is another one.
    with pytest.raises(ConfigurationError, match="something else"):
        copied(tmp_path, [0, 1, 2, 2])
    copied(tmp_path, [0, 1, 2, 2], columns=("score",))


def test_faces_are_blurred_and_other_images_stay(source: Path, tmp_path: Path) -> None:
    written = copied(tmp_path, [0, 1, 2], blur_faces=True)
    for n in range(3):
        original = encoded(draw(n))
        assert (written[uid(n)]["jpg"] == original) == (n != 2)
    before, after = (
        cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).astype(int)
        for image in (encoded(draw(2)), written[uid(2)]["jpg"])
    )
    assert before.shape == after.shape
    difference = np.abs(before - after).mean(axis=2)
    assert difference[20:28, 16:24].mean() > 3 * difference[:4, :4].mean()
    expected = blurring.blurred(encoded(draw(2)), "jpg", [BOX], blurring.blurrer())
    assert written[uid(2)]["jpg"] == expected


def test_what_cannot_be_changed(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match="also other"):
        copied(tmp_path, [0], columns=("other",))
    folder(source, {"00000001": [pair(5)]})
    with pytest.raises(ConfigurationError, match="no row for 1 of 2"):
        copied(tmp_path, [0, 5], blur_faces=True)
    assert json.loads(copied(tmp_path, [0, 5], columns=("score",))[uid(5)]["json"])["uid"] == uid(5)
    table = pa.table({"uid": [uid(5)], "face_bboxes": [[BOX]]})
    pq.write_table(table, tmp_path / "faces.parquet")
    options = Options(metadata=str(tmp_path / "faces.parquet"), blur_faces=True)
    file = subset(tmp_path / "subset.npy", [5])
    with pytest.raises(SchemaError, match="a jpg that cannot be read"):
        reshard(file, str(tmp_path / "broken"), [str(source)], options)


def test_the_cache_of_indices_is_bounded(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        (file := tmp_path / f"{number}.parquet").write_bytes(b"x" * 100)
        os.utime(file, (number, number))
    monkeypatch.setattr(indices, "KEPT_BYTES", 250)
    indices._tidy(tmp_path)
    assert sorted(file.name for file in tmp_path.glob("?.parquet")) == ["4.parquet", "5.parquet"]
