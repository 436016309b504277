"""Index folders of clip-retrieval are served as its back serves them, and by ``/v1``."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import (
    AlignmentError,
    ConfigurationError,
    SchemaError,
    SourceMissingError,
)
from clip_assets.index.folder import foreign
from clip_assets.retrieval import folder_columns, folder_hdf5
from clip_assets.service.hosting import hosted_folders
from clip_assets.service.hosting.hosted import Hosting
from clip_assets.service.hosting.hosted_folders import (
    HostedFolder,
    IndexFolder,
    hosted_at,
    named_in,
)
from clip_assets_tests.retrieval.conftest import DIM, WordEncoder, direction
from clip_assets_tests.service.conftest import Served, captions, error, search, serving
from clip_assets_tests.service.released import module_of

INNER = faiss.METRIC_INNER_PRODUCT

WORDS = [f"thing {n}" for n in range(60)]


REORDERED = "hdf5-reordered"


def write_folder(folder: Path, key: str = "HNSW15", form: str = "parquet") -> Path:
    """An index folder as ``clip-retrieval index`` leaves it, or its back."""
    (folder / "metadata").mkdir(parents=True)
    index = faiss.index_factory(DIM, "IVF8,Flat" if form == REORDERED else key, INNER)
    vectors = np.stack([direction(word.encode()) for word in WORDS]).astype(np.float32)
    index.train(vectors)
    index.add(vectors)
    if form == REORDERED:
        index.nprobe = 8
    faiss.write_index(index, str(folder / "image.index"))
    for number, rows in enumerate((range(40), range(40, 60))):
        table = pa.table(
            {
                "image_path": [f"{n:08d}" for n in rows],
                "caption": [WORDS[n] for n in rows],
                "NSFW": ["UNLIKELY" if n else None for n in rows],
                "url": [f"http://h/{n}.jpg" for n in rows],
                "similarity": [float("nan") if n == 1 else 0.5 for n in rows],
                "width": [100 * n for n in rows],
                "LANGUAGE": ["de" if n % 2 else "en" for n in rows],
            }
        )
        if form == "arrow":
            path = folder / "metadata" / f"{number}.arrow"
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
                out.write_table(table)
        else:
            pq.write_table(table, folder / "metadata" / f"metadata_{number}.parquet")
    if form.startswith("hdf5"):
        write_hdf5(folder, index, form)
        shutil.rmtree(folder / "metadata")
    return folder


def write_hdf5(folder: Path, index: faiss.Index, form: str) -> None:
    """What its back makes of the parquet files in such a form."""
    peer, metadata = module_of("ivf_metadata_ordering"), folder / "metadata"
    names = pq.read_schema(next(metadata.iterdir())).names
    sink = peer.Hdf5Sink(folder / folder_columns.HDF5[form], names)
    if form == REORDERED:
        places = peer.get_old_to_new_mapping(index)
        places.tofile(folder / folder_hdf5.PLACES)
        peer.re_order_parquet(index, str(metadata), str(folder / "work"), names)
        peer.external_sort_parquet(sink, str(folder / "work"))
    else:
        for row in pq.read_table(metadata).to_pandas().itertuples(index=False):
            sink.write(row)
        sink.end()


@pytest.fixture(scope="module", params=["parquet", "arrow", "hdf5", REORDERED])
def served(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("folder") / "index"
    write_folder(folder, form=request.param)
    with serving(Hosting([HostedFolder(IndexFolder("things", folder), WordEncoder)])) as served:
        yield served


def test_knn_service_answers_with_the_folders_own_columns(served: Served) -> None:
    body = {"text": "thing 7", "modality": "image", "num_images": 2, "indice_name": "things"}
    first, second = served.http.post("/knn-service", json=body).json()
    assert first.pop("similarity") > second["similarity"]
    assert first == {
        "url": "http://h/7.jpg",
        "image_path": "00000007",
        "caption": "thing 7",
        "NSFW": "UNLIKELY",
        "id": 7,
    }
    [told] = served.http.post("/metadata", json={"ids": [0], "indice_name": ""}).json()
    assert not told["metadata"].get("NSFW"), "of HDF5 it is an empty text, as its back answers"


def test_a_condition_an_item_and_more_like_it(served: Served) -> None:
    answer = search(served, {"text": "thing 7"}, where="language = 'en'", k=30, columns=["text"])
    assert sorted(captions(answer)) == sorted(WORDS[::2])
    first = search(served, {"text": "thing 7"}, k=1)["results"][0]
    assert first["original_width"] == 700
    item = served.http.get(f"/v1/items/{first['uid']}").json()
    assert (item["caption"], item["language"]) == ("thing 7", "de")
    assert captions(search(served, {"uid": first["uid"]}, k=1)) == ["thing 7"]
    error(served.http.get(f"/v1/images/{first['uid']}"), 404)
    [told] = served.http.get("/v1/indices").json()["indices"]
    assert (told["rows"], told["sides"]) == (60, ["image"])
    error(served.http.post("/v1/search", json={"terms": [{"text": "a"}], "side": "text"}), 400)


def test_without_a_model_embeddings_are_answered_and_texts_are_told_why(tmp_path: Path) -> None:
    hosted = HostedFolder(IndexFolder("things", write_folder(tmp_path / "f")))
    with serving(Hosting([hosted])) as served:
        vector = direction(b"thing 3").tolist()
        assert captions(search(served, {"embedding": vector}, k=1)) == ["thing 3"]
        answer = served.http.post("/v1/search", json={"terms": [{"text": "a"}]})
        assert "clip_model in indices_paths.json" in answer.json()["error"]["advice"]


def test_a_folder_that_is_replaced_is_followed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f")
    hosted = HostedFolder(IndexFolder("things", folder))
    before = hosted.version
    with hosted.opened() as opened:
        shutil.rmtree(folder)
        hosted.follow()
        assert hosted.problem is not None
        assert len(opened.searcher.rows(np.array([3]))) == 1
    write_folder(folder, "Flat")
    hosted.follow()
    assert hosted.problem is None
    assert hosted.version != before
    hosted.close()


@pytest.mark.parametrize("key", ["Flat", "HNSW15", "IVF8,Flat", "IVF8,PQ4x4", "RR24,IVF8,PQ4x4"])
def test_as_many_are_found_as_are_asked_for(tmp_path: Path, key: str) -> None:
    index = foreign.read(write_folder(tmp_path / "f", key) / "image.index")
    query = direction(b"thing 5")[None].astype(np.float32)
    for allowed in (None, np.arange(0, 60, 5)):
        count = 60 if allowed is None else 12
        similarities, ids = foreign.search(index, query, count, allowed)
        assert len({*ids[0].tolist()} - {-1}) == count
        assert (np.diff(similarities[0]) <= 0).all()
        assert allowed is None or np.isin(ids, allowed).all()
    assert foreign.vectors(index, np.array([5, 6])).shape == (2, DIM)


def test_the_file_is_taken_as_the_peer_takes_it(tmp_path: Path) -> None:
    options = {"indice_folder": "/b", "clip_model": "ViT-L/14", "enable_hdf5": True}
    (file := tmp_path / "indices_paths.json").write_text(
        json.dumps(
            {"a": "/a", "b": options, "c": options | {"columns_to_return": ["url"]}, "d": "/d"}
        )
    )
    first, second, third, last = named_in(file, "ViT-B/32")
    assert (first.folder, first.clip_model) == (Path("/a"), "ViT-B/32")
    # Nothing of those before it.
    assert (last.clip_model, last.form, last.columns) == ("ViT-B/32", "", first.columns)
    assert (second.clip_model, second.columns) == ("ViT-L/14", hosted_folders.RETURNED)
    assert third.columns == ["url"]
    assert (first.form, second.form) == ("", "hdf5")
    for wrong in ("[]", "{", '{"a": 1}', '{"a": {"indice_folder": 1}}', "{}"):
        file.write_text(wrong)
        with pytest.raises(ConfigurationError, match="indice_folder"):
            named_in(file)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("ViT-B/32", ("ViT-B-32", "openai")),
        ("ViT-L/14@336px", ("ViT-L-14-336", "openai")),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", ("ViT-B-32", "laion2b_s34b_b79k")),
        ("open_clip:ViT-B-32//a/b.pt", ("ViT-B-32", "/a/b.pt")),
        ("local-dir:/m", ("local-dir:/m", None)),
    ],
)
def test_models_are_called_as_the_peer_calls_them(named: str, expected: tuple[str, ...]) -> None:
    assert tuple(hosted_folders.inference_of(named).values()) == expected


def test_what_is_no_index_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="hf_clip"):
        hosted_folders.inference_of("hf_clip:a/b")
    with pytest.raises(SourceMissingError, match=r"image\.index"):
        HostedFolder(IndexFolder("a", tmp_path))
    folder = write_folder(tmp_path / "f")
    (folder / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(AlignmentError, match="40 rows"):
        HostedFolder(IndexFolder("a", folder))
    shutil.rmtree(folder / "metadata")
    with pytest.raises(SourceMissingError, match="no files of metadata"):
        HostedFolder(IndexFolder("a", folder))


def test_of_reordered_rows_the_places_are_told_by_the_index_where_no_file_does(
    tmp_path: Path,
) -> None:
    folder = write_folder(tmp_path / "f", form=REORDERED)
    index = foreign.read(folder / "image.index")
    written = np.fromfile(folder / folder_hdf5.PLACES, np.int64)
    assert (np.diff(written) < 0).any(), "rows do not stand in the order of ids"
    np.testing.assert_array_equal(foreign.places_in_lists(index), written)
    with pytest.raises(SchemaError, match=r"ivf_old_to_new_mapping\.npy"):
        foreign.places_in_lists(foreign.read(write_folder(tmp_path / "g") / "image.index"))
    np.where(written == 7, 60, written).tofile(folder / folder_hdf5.PLACES)
    columns = folder_columns.opened(folder, REORDERED, lambda: written)
    with pytest.raises(SchemaError, match="Index 60 out of bounds"):
        columns.whole("caption")
    written[:-1].tofile(folder / folder_hdf5.PLACES)
    with pytest.raises(SchemaError, match="places of 59 ids for 60 rows"):
        HostedFolder(IndexFolder("a", folder))


def test_which_of_several_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "f", form="hdf5")

    def kind(form: str = "") -> str:
        return type(folder_columns.opened(folder, form, lambda: np.arange(60))).__name__

    assert kind() == "Hdf5Columns"
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "h5py", None)
        with pytest.raises(SourceMissingError, match=r"clip-assets\[hdf5\]"):
            kind("hdf5")
    write_folder(tmp_path / "g", form="arrow")
    shutil.copytree(tmp_path / "g" / "metadata", folder / "metadata")
    assert (kind(), kind("hdf5")) == ("ArrowColumns", "Hdf5Columns")
    shutil.rmtree(folder / "metadata")
    shutil.copytree(write_folder(tmp_path / "h") / "metadata", folder / "metadata")
    assert (kind(), kind("hdf5")) == ("ParquetColumns", "Hdf5Columns")
    assert kind("hdf5-reordered") == "ParquetColumns", "there is no such file"
    with monkeypatch.context() as without:
        without.setattr(folder_columns, "find_spec", lambda _: None)
        assert kind("hdf5") == "ParquetColumns"


def test_hdf5_rows_are_read_alone_or_whole_and_nothing_beside_the_file(tmp_path: Path) -> None:
    import h5py

    secret = tmp_path / "secret"
    secret.write_bytes(b"12345678")
    with h5py.File(tmp_path / "metadata.hdf5", "w") as file:
        group = file.create_group("dataset")
        group["caption"] = [f"a {n}" for n in range(50)]
        group["broken"] = np.array([b"\xff"] * 50, "S1")
        group.create_dataset("outer", (1,), "i8", external=[(str(secret), 0, 8)])
        group["soft"] = h5py.SoftLink("/dataset/caption")
        group["table"] = np.zeros((50, 2))
    columns = folder_hdf5.Hdf5Columns(tmp_path / "metadata.hdf5", np.arange(50)[::-1].copy())
    assert (sorted(columns.names), len(columns)) == (["broken", "caption"], 50)
    ids = np.array([7, 3, 7, 49])
    before = columns.taken("caption", ids).to_pylist()
    assert before == ["a 42", "a 46", "a 42", "a 0"]
    assert columns.whole("caption")[:2].to_pylist() == ["a 49", "a 48"]
    assert columns.taken("caption", ids).to_pylist() == before
    assert columns.taken("broken", ids[:1]).to_pylist() == [b"\xff"]
    assert len(columns.taken("caption", ids[:0])) == 0
    (tmp_path / "other.hdf5").write_bytes(b"no such thing")
    with pytest.raises(SchemaError, match="no group 'dataset'"):
        folder_hdf5.Hdf5Columns(tmp_path / "other.hdf5")


def test_a_folder_is_named_beside_pools(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "f")
    for place, name in ((str(folder), "f"), (f"things={folder}", "things")):
        hosted = hosted_at(place, "demo")
        assert hosted is not None
        assert (hosted.name, hosted.given.clip_model) == (name, "demo")
        hosted.close()
    assert hosted_at(str(tmp_path)) is None
