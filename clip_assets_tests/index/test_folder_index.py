"""An index is built of a folder of embeddings, without a pool, and other tools can read it."""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import (
    AlignmentError,
    CheckFailedError,
    ClipAssetsError,
    ConfigurationError,
    SchemaError,
    SourceMissingError,
)
from clip_assets.index.folder import folder_side
from clip_assets.index.folder.folder_index import BuildOptions, build
from clip_assets.storage import npy
from clip_assets.storage.embeddings_folder import FolderVectors, files_of
from clip_assets.storage.store import Store
from clip_assets_tests.vectors import Floats, unit, unit_rows

ROWS, DIM = 2_400, 64


def folder_of(root: Path, images: Floats, texts: Floats, pieces: int = 3) -> Path:
    """A folder in clip-retrieval's layout."""
    for name in ("img_emb", "text_emb", "metadata"):
        (root / name).mkdir(parents=True)
    parts = np.array_split(np.arange(len(images)), pieces)
    for number, rows in enumerate(parts):
        np.save(root / f"img_emb/img_emb_{number}.npy", images[rows].astype(np.float16))
        np.save(root / f"text_emb/text_emb_{number}.npy", texts[rows].astype(np.float16))
        table = pa.table({"caption": [f"caption {row}" for row in rows.tolist()]})
        pq.write_table(table, root / f"metadata/metadata_{number}.parquet")
    return root


@pytest.fixture(scope="module")
def images() -> Floats:
    return unit_rows(1, ROWS, DIM)


@pytest.fixture(scope="module")
def texts(images: Floats) -> Floats:
    return unit(images + unit_rows(2, ROWS, DIM))


@pytest.fixture
def folder(tmp_path: Path, images: Floats, texts: Floats) -> Path:
    return folder_of(tmp_path / "embeddings", images, texts)


def searched(folder: Path, side: str, queries: Floats, k: int = 1) -> Any:
    """Ids and vectors, as clip-retrieval asks for them."""
    index = faiss.read_index(str(folder / f"{side}.index"))
    _, ids, vectors = index.search_and_reconstruct(queries.astype(np.float32), k)
    return ids, vectors


def test_other_tools_find_rows_by_their_place(folder: Path, tmp_path: Path, images: Floats) -> None:
    out = tmp_path / "out"
    built = build(str(folder), str(out))
    ids, vectors = searched(out, "image", images[:50])
    assert ids[:, 0].tolist() == [*range(50)]
    assert np.abs(vectors[:, 0] - images[:50]).max() < 0.01
    for number in range(3):
        name = f"metadata/metadata_{number}.parquet"
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    assert built.rows == ROWS
    assert not (out / "work").exists()


@pytest.mark.parametrize(
    ("code", "size", "least"),
    [
        ("SQ8", 280_000, 0.9),
        ("RaBitQ", 250_000, 0.6),
        ("RaBitQ", 160_000, 0.6),
        ("PQ8", 140_000, 0.3),
    ],
)
def test_a_bound_of_the_index_is_held_by_smaller_codes(
    folder: Path, tmp_path: Path, images: Floats, code: str, size: int, least: float
) -> None:
    wanted = BuildOptions(max_index_memory_usage=size)
    told = build(str(folder), str(tmp_path / "out"), wanted).sides["image"]
    assert told["index_key"].endswith(f",{code}")
    assert told["size in bytes"] < size
    ids, _ = searched(tmp_path / "out", "image", images[:200], 10)
    assert (ids == np.arange(200)[:, None]).any(axis=1).mean() > least


def in_fortran_order(rows: Floats) -> Any:
    return np.asfortranarray(rows.astype(np.float16))


@pytest.mark.parametrize("form", [in_fortran_order, np.float32, np.float64, np.dtype(">f4").type])
@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_npy_files_of_every_form_give_the_same_index(
    folder: Path, tmp_path: Path, form: Callable[[Any], Any], where: str
) -> None:
    build(str(folder), str(tmp_path / "first"))
    source = str(folder)
    for file in [*folder.glob("*/*.npy")]:
        np.save(file, form(np.load(file)))
    if where == "bucket":
        source = f"memory://{tmp_path.name}"
        Store(source).fs.put(f"{folder}/", Store(source).base, recursive=True)
    build(source, str(tmp_path / "second"))
    for side in ("image", "text"):
        one, other = (tmp_path / name / f"{side}.index" for name in ("first", "second"))
        assert one.read_bytes() == other.read_bytes()


def test_of_files_in_a_bucket_one_is_open_at_a_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"memory://{tmp_path.name}"
    Store(base).fs.put(f"{folder}/", Store(base).base, recursive=True)
    most, now, opened = 0, 0, npy.opened

    @contextmanager
    def counted(uri: str, *ahead: int) -> Generator[Any]:
        nonlocal most, now
        with opened(uri, *ahead) as content:
            now += 1
            most = max(most, now)
            yield content
        now -= 1

    monkeypatch.setattr(npy, "opened", counted)
    with ExitStack() as stack:
        rows = FolderVectors(files_of(f"{base}/img_emb", ".npy"), stack)
        assert rows.read(0, ROWS).shape == rows.at(np.arange(ROWS)).shape == (ROWS, DIM)
        assert (most, now) == (1, 1)
    assert now == 0


def test_an_index_is_built_into_a_bucket(folder: Path, tmp_path: Path) -> None:
    build(str(folder), str(tmp_path / "out"), BuildOptions(280_000))
    remote = Store(f"memory://out-{tmp_path.name}")
    build(str(folder), remote.uri(), BuildOptions(280_000))
    assert remote.read_bytes("image.index") == (tmp_path / "out/image.index").read_bytes()
    assert remote.list("metadata") == [f"metadata/metadata_{number}.parquet" for number in range(3)]


def test_rows_that_are_no_vectors_are_left_out_and_counted(
    folder: Path, tmp_path: Path, images: Floats
) -> None:
    file = folder / "img_emb/img_emb_1.npy"
    rows = np.load(file)
    rows[3, 5], rows[4], rows[5] = np.nan, 0, 3 * rows[5]
    np.save(file, rows)
    told = build(str(folder), str(tmp_path / "out")).sides["image"]
    assert told["left_out"] == {"not finite": 1, "zero": 1}
    assert (told["scaled"], told["nb vectors"]) == (1, ROWS - 2)
    first = ROWS // 3
    found, _ = searched(tmp_path / "out", "image", images[first + 3 : first + 7])
    assert found[2:, 0].tolist() == [first + 5, first + 6]
    assert not {first + 3, first + 4} & {*found[:, 0].tolist()}


def cut(folder: Path) -> None:
    file = folder / "img_emb/img_emb_1.npy"
    file.write_bytes(file.read_bytes()[:-10])


def replaced(rows: Any, name: str = "img_emb/img_emb_1.npy") -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, rows)


def captions_of_another_model(folder: Path) -> None:
    for file in folder.glob("text_emb/*.npy"):
        np.save(file, np.load(file)[:, :-1])


def a_row_too_few(folder: Path) -> None:
    file = folder / "metadata/metadata_2.parquet"
    pq.write_table(pq.read_table(file).slice(1), file)


def no_npy(folder: Path) -> None:
    (folder / "text_emb/text_emb_0.npy").write_bytes(b"vectors")


def no_parquet(folder: Path) -> None:
    (folder / "metadata/metadata_0.parquet").write_bytes(b"rows")


def nothing(folder: Path) -> None:
    for file in folder.glob("*/*.npy"):
        file.unlink()


def without_partners(folder: Path) -> None:
    """As many files of each, of as many rows."""
    for name in ("img_emb/img_emb_2.npy", "text_emb/text_emb_2.npy", "metadata/metadata_1.parquet"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (cut, SchemaError, "as its head says"),
        (replaced(np.ones((800, DIM), int)), SchemaError, "int64"),
        (replaced(np.ones(DIM)), SchemaError, "float64 of shape"),
        (replaced(np.ones((800, DIM + 1))), SchemaError, f"vectors of {DIM + 1} dimensions"),
        (replaced(np.ones((799, DIM))), AlignmentError, "800 rows, expected 799"),
        (replaced(np.full((800, DIM), np.nan)), CheckFailedError, "no vector"),
        (captions_of_another_model, SchemaError, f"{DIM - 1} dimensions, expected {DIM}, as in"),
        (a_row_too_few, AlignmentError, "799 rows"),
        (no_npy, SchemaError, "no npy file"),
        (no_parquet, SchemaError, "no parquet file"),
        (nothing, SourceMissingError, "no embeddings"),
        (without_partners, AlignmentError, "number 2, beside .*img_emb_1"),
    ],
)
def test_what_is_wrong_with_a_folder_is_told(
    folder: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    error: type[ClipAssetsError],
    words: str,
) -> None:
    spoil(folder)
    if words == "no vector":  # nothing is left of a side
        for number in (0, 2):
            replaced(np.full((800, DIM), np.nan), f"img_emb/img_emb_{number}.npy")(folder)
    with pytest.raises(error, match=words):
        build(str(folder), str(tmp_path / "out"))
    assert not (tmp_path / "out/image.index").exists()


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (BuildOptions(current_memory_available=10_000), "current_memory_available"),
        (BuildOptions(max_index_memory_usage=10_000), "max_index_memory_usage"),
    ],
)
def test_a_bound_of_memory_that_is_too_small_is_an_error(
    folder: Path, tmp_path: Path, wanted: BuildOptions, named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        build(str(folder), str(tmp_path / "out"), wanted)


def test_an_output_of_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    built = build(str(folder), str(out))
    before = (out / "image.index").stat()
    assert build(str(folder), str(out)) == built
    assert (out / "image.index").stat() == before
    with pytest.raises(ConfigurationError, match="an index of other files"):
        build(str(folder), str(out), BuildOptions(280_000))
    (out / "build.json").unlink()
    with pytest.raises(ConfigurationError, match="which no build of an index began"):
        build(str(folder), str(out))
    with pytest.raises(ConfigurationError, match="the folder of the embeddings"):
        build(str(folder), str(folder))


@pytest.mark.parametrize("name", ["metadata/metadata_0.parquet", "work/thesis.txt"])
def test_a_build_replaces_and_removes_nothing_that_was_there(
    folder: Path, tmp_path: Path, name: str
) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match=f"{name}.*expected an empty folder"):
        build(str(folder), str(tmp_path / "out"))
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [mine]
    assert mine.read_bytes() == b"mine"


def test_a_side_that_is_named_has_to_be_there(folder: Path, tmp_path: Path) -> None:
    wanted = BuildOptions(text_subfolder="captions")
    with pytest.raises(SourceMissingError, match="captions: found no npy files"):
        build(str(folder), str(tmp_path / "out"), wanted)
    (folder / "text_emb").rename(folder / "captions")
    assert [*build(str(folder), str(tmp_path / "out"), wanted).sides] == ["image", "text"]
    assert [*build(str(folder), str(tmp_path / "one")).sides] == ["image"]


SLOW = """
import sys, time
from clip_assets.index.folder import folder_side
from clip_assets.index.folder.folder_index import BuildOptions, build
folder_side.SEGMENT_ROWS = folder_side.CHUNK_ROWS = 500
build(*sys.argv[1:3], BuildOptions(280_000))
"""


def test_a_killed_build_goes_on_where_it_was(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "out"
    child = subprocess.Popen([sys.executable, "-c", SLOW, folder, out])
    while not (out / "work/image/00001.json").exists():
        assert child.poll() is None
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "image.index").exists()
    for name in ("SEGMENT_ROWS", "CHUNK_ROWS"):
        monkeypatch.setattr(folder_side, name, 500)
    with caplog.at_level(logging.INFO):
        build(str(folder), str(out), BuildOptions(280_000))
    assert "image: training" not in caplog.text
    # As a kill at the very end leaves it.
    Store(str(out)).write_bytes("work/plan.json", b"{}")
    build(str(folder), str(out), BuildOptions(280_000))
    assert not (out / "work").exists()
    build(str(folder), str(tmp_path / "whole"), BuildOptions(280_000))
    for side in ("image", "text"):
        assert (out / f"{side}.index").read_bytes() == (
            tmp_path / f"whole/{side}.index"
        ).read_bytes()
