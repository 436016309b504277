"""Finished embeddings of others become partitions, without being fetched or embedded again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from clip_assets import cli, graph, layout
from clip_assets.download.damaged_shards import fetch_damaged
from clip_assets.encoders.encoder import Encoder
from clip_assets.encoders.identity import read_identity
from clip_assets.errors import ConfigurationError, ModelMismatchError, SourceChangedError
from clip_assets.layout import Key
from clip_assets.partitions.adoptable import FolderNames, embeddings_in
from clip_assets.pool.pool import Pool
from clip_assets.retrieval.copies import copy_images
from clip_assets.retrieval.images import Images
from clip_assets.retrieval.queries import Uid
from clip_assets.retrieval.search import Searcher
from clip_assets.settings import InferenceSettings
from clip_assets.storage import tables, vectors
from clip_assets.storage.store import Store
from clip_assets.webdataset.write import end_tar, write_member
from clip_assets_tests.vectors import Floats, unit, unit_rows

ROWS = 60

CAPTIONS = [f"a picture of thing number {row}" for row in range(ROWS)]


@pytest.fixture(scope="module")
def texts(encoder: Encoder) -> Floats:
    return encoder.encode_text(CAPTIONS).astype(np.float32)


@pytest.fixture(scope="module")
def pictures(texts: Floats) -> Floats:
    return unit(texts + 0.5 * unit_rows(3, ROWS, texts.shape[1]))


@pytest.fixture
def root(tmp_path: Path, inference: InferenceSettings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pool that has nothing but the settings of its model."""
    told = {"inference": inference.model_dump(mode="json"), "sources": {"rows_per_partition": 30}}
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/pool.yaml").write_text(json.dumps(told))
    monkeypatch.setenv("CLIP_ASSETS_ROOT", str(tmp_path / "pool"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    (tmp_path / "dagster").mkdir()
    return tmp_path / "pool"


@pytest.fixture
def run(root: Path, inference: InferenceSettings) -> Callable[..., Result]:
    def invoke(*words: object, model: str | None = inference.model) -> Result:
        named = ["--model", model] if model else []
        arguments = ["-q", "adopt", "embeddings", *map(str, words), *named]
        return CliRunner().invoke(cli.main, arguments)

    return invoke


def rows(**columns: Any) -> pa.Table:
    urls = [f"http://h/{row}.jpg" for row in range(ROWS)]
    return pa.table({"url": urls, "caption": CAPTIONS, "note": ["kept"] * ROWS} | columns)


def like_clip_retrieval(folder: Path, pictures: Floats, texts: Floats) -> None:
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, part in enumerate(np.array_split(np.arange(ROWS), 3)):
        np.save(folder / f"img_emb/img_emb_{number}.npy", pictures[part].astype(np.float16))
        np.save(folder / f"text_emb/text_emb_{number}.npy", texts[part])
        pq.write_table(rows().take(part), folder / f"metadata/metadata_{number}.parquet")


def like_datacomp(folder: Path, pictures: Floats, texts: Floats) -> None:
    folder.mkdir()
    table = rows(uid=[f"{row:032x}" for row in range(ROWS)]).rename_columns({"caption": "text"})
    pq.write_table(table, folder / "ab.parquet")
    np.savez(folder / "ab.npz", own_img=pictures.astype(np.float16), own_txt=texts, other=texts)


def like_fondant(folder: Path, pictures: Floats, texts: Floats) -> None:
    del texts  # published without
    (folder / "data").mkdir(parents=True)
    table = rows(embedding=pa.array(pictures.tolist(), pa.list_(pa.float32())))
    pq.write_table(table, folder / "data/part-0.parquet", row_group_size=7)


def pool_of(root: Path, encoder: Encoder) -> Pool:
    opened = graph.open_pool(str(root))
    return Pool(opened.store, opened.settings, graph.ASSETS, lambda: encoder)


def made(pool: Pool, *assets: str) -> Pool:
    """The pool with some assets of all partitions, or of the whole, up to date."""
    for name in assets:
        asset = graph.ASSETS[name]
        pool = pool.renewed()
        for key in pool.keys(asset.axis):
            asset.make(pool, key)
    return pool.renewed()


TO_EMBEDDINGS = (layout.RAW_PAIRS, layout.UNIQUE_PAIRS, layout.IMAGE_SHARDS, layout.EMBEDDINGS)
TO_SEARCH = (layout.POOL_METADATA, layout.INDEX_RECIPE, layout.INDEX_SEGMENTS, layout.FAISS_INDEX)


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (like_clip_retrieval, []),
        (like_datacomp, ["--image-column", "own_img", "--text-column", "own_txt"]),
        (like_fondant, []),
    ],
)
def test_published_embeddings_are_searched_without_being_made_again(
    run: Callable[..., Result],
    root: Path,
    tmp_path: Path,
    encoder: Encoder,
    pictures: Floats,
    texts: Floats,
    write: Callable[[Path, Floats, Floats], None],
    named: list[str],
) -> None:
    write(tmp_path / "theirs", pictures, texts)
    told = run(tmp_path / "theirs", *named)
    assert told.exit_code == 0, told.output
    pool = made(pool_of(root, encoder), *TO_EMBEDDINGS, *TO_SEARCH, layout.ID_MAPPING)
    assert read_identity(pool.store) == encoder.identity
    stored = [vectors.opened(pool.store, layout.img_emb(key)) for key in pool.partitions]
    with stored[0] as first:
        assert np.abs(first.astype(np.float32) - pictures[: len(first)]).max() < 1e-3
    with Searcher.open(pool) as searcher:
        [hit] = searcher.search(CAPTIONS[7], k=1, side="text")
        assert (hit.caption, hit.url) == (CAPTIONS[7], "http://h/7.jpg")
        assert searcher.search(Uid(hit.uid), k=1)[0].uid == hit.uid
        [row] = searcher.rows(searcher.ids([hit.uid])).to_pylist()
        assert copy_images(searcher, Uid(hit.uid), tmp_path / "images", 3) == (0, 3)
    assert pq.read_table(tmp_path / "images/results.parquet")["url"][0].as_py() == hit.url
    assert json.loads(row["further"])["note"] == "kept"
    statuses = tables.read(
        pool.store, layout.pool_rows(Key("00000")), layout.pool_rows.schema, ["status"]
    )
    assert set(statuses["status"].to_pylist()) == {"adopted"}
    again = run(tmp_path / "theirs", *named)
    assert "0 new partitions" in again.output


def test_a_published_data_set_is_taken_over_and_what_it_lacks_is_asked_for_by_name(
    run: Callable[..., Result],
    root: Path,
    tmp_path: Path,
    encoder: Encoder,
    pictures: Floats,
    texts: Floats,
) -> None:
    def publish(**hub: Any) -> Path:
        told = json.loads((root / "pool.yaml").read_text()) | {"hub": {"repository": "we/x"} | hub}
        (root / "pool.yaml").write_text(json.dumps(told))
        every = (*TO_EMBEDDINGS, *TO_SEARCH, layout.ID_MAPPING, layout.METADATA_STATS)
        made(pool_of(root, encoder), *every, layout.HUB_DATASET)
        return root / layout.HUB

    def adopt(folder: Path) -> Result:
        words = ["-q", "adopt", "published", str(folder), "--root", str(tmp_path / "other")]
        return CliRunner().invoke(cli.main, words)

    like_clip_retrieval(tmp_path / "theirs", pictures, texts)
    run(tmp_path / "theirs")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/pool.yaml").write_text((root / "pool.yaml").read_text())
    told = adopt(publish(columns=["url", "caption"]))
    assert told.exit_code != 0
    assert "without vectors of images" in str(told.output) + str(told.exception)
    assert "clip-assets serve" in str(told.output) + str(told.exception)
    told = adopt(publish())
    assert told.exit_code == 0, told.output
    assert "rows and vectors of images and captions" in told.output
    pool = made(pool_of(tmp_path / "other", encoder), *TO_EMBEDDINGS, *TO_SEARCH, layout.ID_MAPPING)
    with Searcher.open(pool) as searcher:
        [hit] = searcher.search(CAPTIONS[7], k=1, side="text")
        assert (hit.caption, hit.url) == (CAPTIONS[7], "http://h/7.jpg")


def test_duplicates_and_rows_without_a_vector_are_left_out(
    run: Callable[..., Result],
    root: Path,
    tmp_path: Path,
    encoder: Encoder,
    pictures: Floats,
    texts: Floats,
) -> None:
    folder = tmp_path / "theirs"
    like_clip_retrieval(folder, pictures, texts)
    table = rows()
    urls, captions = table["url"].to_pylist(), list(CAPTIONS)
    urls[5], captions[5], urls[6] = urls[2], captions[2], None
    own = pa.table({"url": urls[:20], "caption": captions[:20]})
    pq.write_table(own, folder / "metadata/metadata_0.parquet")
    images = np.load(folder / "img_emb/img_emb_0.npy")
    images[8], images[9] = 0, np.nan
    np.save(folder / "img_emb/img_emb_0.npy", images)
    assert run(folder).exit_code == 0
    pool = made(pool_of(root, encoder), *TO_EMBEDDINGS)
    report = pool.catalog.require(layout.EMBEDDINGS, Key("00000")).report
    assert (report.rows_in, report.rows_out) == (18, 16)
    assert report.dropped == {"zero vector": 1, "not finite vector": 1}
    left = [row for row in range(20) if row not in (5, 6, 8, 9)]
    with vectors.opened(pool.store, layout.img_emb(Key("00000"))) as stored:
        assert np.abs(stored.astype(np.float32) - pictures[left]).max() < 1e-3
    assert made(pool, layout.POOL_METADATA).catalog.require(layout.POOL_METADATA, Key("00000"))


def test_vectors_of_another_model_are_refused(
    run: Callable[..., Result], root: Path, tmp_path: Path, encoder: Encoder, pictures: Floats
) -> None:
    like_clip_retrieval(tmp_path / "theirs", pictures, unit_rows(9, *pictures.shape))
    run(tmp_path / "theirs")
    pool = made(pool_of(root, encoder), *TO_EMBEDDINGS[:3])
    with pytest.raises(ModelMismatchError, match="vectors of captions with a median cosine"):
        made(pool, layout.EMBEDDINGS)
    assert read_identity(pool.store) is None


def test_a_file_that_changed_since_it_was_adopted_is_named(
    run: Callable[..., Result],
    root: Path,
    tmp_path: Path,
    encoder: Encoder,
    pictures: Floats,
    texts: Floats,
) -> None:
    like_clip_retrieval(tmp_path / "theirs", pictures, texts)
    run(tmp_path / "theirs")
    pool = made(pool_of(root, encoder), *TO_EMBEDDINGS[:3])
    np.save(tmp_path / "theirs/text_emb/text_emb_0.npy", texts[1:21])
    with pytest.raises(SourceChangedError, match="text_emb_0"):
        made(pool, layout.EMBEDDINGS)


def without_urls(folder: Path) -> None:
    for file in (folder / "metadata").iterdir():
        pq.write_table(pq.read_table(file).rename_columns({"url": "image_path"}), file)


def without_metadata(folder: Path) -> None:
    (folder / "metadata").rename(folder / "rows")


def without_a_text_file(folder: Path) -> None:
    (folder / "text_emb/text_emb_1.npy").unlink()


def with_a_row_too_few(folder: Path) -> None:
    file = folder / "metadata/metadata_1.parquet"
    pq.write_table(pq.read_table(file).slice(1), file)


def without_vectors(folder: Path) -> None:
    for file in folder.glob("*_emb/*"):
        file.unlink()


def without_partners(folder: Path) -> None:
    """As many files of each, of as many rows."""
    for name in ("img_emb/img_emb_1.npy", "text_emb/text_emb_1.npy", "metadata/metadata_2.parquet"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_urls, "--url-column"),
        (without_metadata, "--metadata-subfolder"),
        (without_a_text_file, "--text-subfolder"),
        (without_vectors, "--image-subfolder"),
        (without_partners, "found number 2, beside"),
        (with_a_row_too_few, "19, one for a row of"),
    ],
)
def test_what_is_lacking_is_asked_for_by_its_option(
    run: Callable[..., Result],
    tmp_path: Path,
    root: Path,
    pictures: Floats,
    texts: Floats,
    spoil: Callable[[Path], None],
    words: str,
) -> None:
    like_clip_retrieval(tmp_path / "theirs", pictures, texts)
    spoil(tmp_path / "theirs")
    told = run(tmp_path / "theirs")
    assert (told.exit_code, words in told.stderr) == (2, True), told.output
    assert not Store(str(root)).list(layout.PLANS)


def test_what_is_named_and_not_there_is_told(
    run: Callable[..., Result], tmp_path: Path, pictures: Floats, texts: Floats
) -> None:
    like_clip_retrieval(tmp_path / "theirs", pictures, texts)
    told = run(tmp_path / "theirs", "--text-subfolder", "captions")
    assert (told.exit_code, "captions: found 0 files" in told.stderr) == (2, True)
    like_fondant(tmp_path / "data", pictures, texts)
    told = run(tmp_path / "data", "--text-column", "caption")
    assert (told.exit_code, "Correct --text-column" in told.stderr) == (2, True)


def a_vector_too_few(folder: Path) -> None:
    arrays = dict(np.load(folder / "ab.npz"))
    np.savez(folder / "ab.npz", **arrays | {"own_txt": arrays["own_txt"][1:]})


def without_an_array(folder: Path) -> None:
    np.savez(folder / "ab.npz", own_img=np.load(folder / "ab.npz")["own_img"])


def without_arrays(folder: Path) -> None:
    pq.write_table(rows(), folder / "cd.parquet")


def without_rows(folder: Path) -> None:
    np.savez(folder / "cd.npz", own_img=np.ones((3, 4)))


def cut_off(folder: Path) -> None:
    (folder / "ab.npz").write_bytes((folder / "ab.npz").read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (a_vector_too_few, "own_txt: found 59 vectors, expected 60"),
        (without_an_array, "found arrays own_img, expected one called own_txt"),
        (without_arrays, "cd.parquet: found no npz file of that name"),
        (without_rows, "cd.npz: found no parquet file of that name"),
        (cut_off, "no npz file"),
    ],
)
def test_what_is_wrong_with_arrays_is_told(
    run: Callable[..., Result],
    tmp_path: Path,
    root: Path,
    pictures: Floats,
    texts: Floats,
    spoil: Callable[[Path], None],
    words: str,
) -> None:
    like_datacomp(tmp_path / "theirs", pictures, texts)
    spoil(tmp_path / "theirs")
    told = run(tmp_path / "theirs", "--image-column", "own_img", "--text-column", "own_txt")
    assert (told.exit_code, words in told.stderr) == (2, True), told.output
    assert not Store(str(root)).list(layout.PLANS)


def test_the_arrays_of_openais_models_are_known_and_of_no_others(tmp_path: Path) -> None:
    pq.write_table(rows(), tmp_path / "ab.parquet")
    made = np.ones((ROWS, 2))
    np.savez(tmp_path / "ab.npz", b32_img=made, b32_txt=made, l14_img=made, l14_txt=made)
    for model, name in (("ViT-B-32/openai", "b32"), ("ViT-L-14/openai", "l14")):
        [one] = embeddings_in(str(tmp_path), model, FolderNames())
        assert one.piece.image
        assert one.piece.text
        assert (one.piece.image.member, one.piece.text.member) == (f"{name}_img", f"{name}_txt")
    with pytest.raises(ConfigurationError, match="--image-column"):
        embeddings_in(str(tmp_path), "ViT-B-32/laion400m_e32", FolderNames())


def test_rows_of_a_column_without_a_vector_are_left_out_and_files_told(
    run: Callable[..., Result],
    root: Path,
    tmp_path: Path,
    encoder: Encoder,
    pictures: Floats,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "data").mkdir()
    column = pa.array([None, *pictures[1:].tolist()], pa.list_(pa.float32()))
    pq.write_table(rows(embedding=column), tmp_path / "data/0.parquet")
    pq.write_table(rows(), tmp_path / "data/1.parquet")
    told = run(tmp_path / "data")
    assert told.exit_code == 0, told.output
    assert "1 of 2 parquet files" in caplog.text
    pool = made(pool_of(root, encoder), *TO_EMBEDDINGS)
    report = pool.catalog.require(layout.EMBEDDINGS, Key("00000")).report
    assert (report.rows_out, report.dropped) == (ROWS - 1, {"not finite vector": 1})


def test_a_model_has_to_be_named_and_be_that_of_the_pool(
    run: Callable[..., Result], tmp_path: Path, pictures: Floats, texts: Floats
) -> None:
    like_clip_retrieval(tmp_path / "theirs", pictures, texts)
    assert "Give it: --model" in run(tmp_path / "theirs", model=None).stderr
    assert "Set inference.model" in run(tmp_path / "theirs", model="ViT-L-14").stderr


def test_urls_are_made_of_a_column_and_a_prefix(
    run: Callable[..., Result],
    root: Path,
    tmp_path: Path,
    encoder: Encoder,
    pictures: Floats,
    texts: Floats,
) -> None:
    like_clip_retrieval(tmp_path / "theirs", pictures, texts)
    without_urls(tmp_path / "theirs")
    told = run(
        tmp_path / "theirs", "--url-column", "image_path", "--url-prefix", "https://m/?"
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    pool = made(pool_of(root, encoder), layout.RAW_PAIRS)
    raw = tables.read(pool.store, layout.raw(Key("00001")), layout.raw.schema, ["url"])
    assert raw["url"][0].as_py() == "https://m/?http://h/20.jpg"


def img2dataset_shards(folder: Path, image: Callable[..., bytes]) -> dict[str, bytes]:
    """Two tars with rows beside them, one of which failed; every image by its url."""
    folder.mkdir()
    contents: dict[str, bytes] = {}
    for shard in range(2):
        told: list[dict[str, Any]] = []
        with (folder / f"{shard:05d}.tar").open("wb") as tar:
            for place in reversed(range(4)):  # as they arrived
                key, url = f"{shard:05d}{place:04d}", f"http://h/{shard}/{place}.jpg"
                row = {"url": url, "caption": f"thing {shard} {place}", "key": key}
                if place == 2:
                    told.append(row | {"status": "failed_to_download", "error_message": "404"})
                    continue
                sizes = {"width": 40, "height": 48, "original_width": 80, "original_height": 96}
                row |= {"status": "success", "error_message": None, "license": "cc"} | sizes
                told.append(row)
                contents[url] = image(10 * shard + place)
                for name, content in (
                    ("jpg", contents[url]),
                    ("json", json.dumps(row).encode()),
                    ("txt", row["caption"].encode()),
                ):
                    write_member(tar, f"{key}.{name}", content)
            end_tar(tar)
        pq.write_table(pa.Table.from_pylist(told[::-1]), folder / f"{shard:05d}.parquet")
    return contents


@pytest.fixture
def run_shards(root: Path) -> Callable[..., Result]:
    del root
    return lambda *words: CliRunner().invoke(cli.main, ["-q", "adopt", "shards", *map(str, words)])


def test_finished_shards_are_embedded_without_being_fetched_again(
    run_shards: Callable[..., Result],
    root: Path,
    tmp_path: Path,
    encoder: Encoder,
    images: Callable[..., bytes],
) -> None:
    contents = img2dataset_shards(tmp_path / "theirs", images)
    told = run_shards(tmp_path / "theirs")
    assert told.exit_code == 0, told.output
    assert "0 new partitions" in run_shards(tmp_path / "theirs").output
    pool = made(pool_of(root, encoder), *TO_EMBEDDINGS, *TO_SEARCH, layout.ID_MAPPING)
    report = pool.catalog.require(layout.IMAGE_SHARDS, Key("00000")).report
    assert (report.rows_in, report.rows_out) == (8, 6)
    assert report.dropped == {"not_adopted": 2}
    with Searcher.open(pool) as searcher:
        assert searcher.version.vectors == 6
        hits = searcher.search("thing", k=6)
        assert {hit.url for hit in hits} == contents.keys()
        rows = searcher.rows(searcher.ids([hit.uid for hit in hits])).to_pylist()
        copied = tmp_path / "images"
        assert copy_images(searcher, "thing", copied, 4) == (4, 0)
        with pytest.raises(ConfigurationError, match=r"results\.parquet, expected an empty folder"):
            copy_images(searcher, "thing", copied, 4)
        # As a kill leaves it.
        (copied / "results.parquet").rename(copied / "results.parquet.7.part")
        with pytest.raises(ConfigurationError, match=r"[.]jpg, expected an empty folder"):
            copy_images(searcher, "thing", copied, 1)  # images of more than this copy
        (copied / f"{hits[0].uid}.jpg").write_bytes(b"half")
        (copied / f"{hits[1].uid}.jpg").unlink()
        assert copy_images(searcher, "thing", copied, 4) == (4, 0)
    for hit in hits[:4]:
        assert (tmp_path / f"images/{hit.uid}.jpg").read_bytes() == contents[str(hit.url)]
    stored = Images(pool.store)
    for row in rows:
        assert stored.read(row["image_path"]) == contents[row["url"]]
        assert (row["original_width"], row["width"]) == (80, 40)
        fields = json.loads(stored.sample(row["image_path"])["json"])
        assert (fields["uid"], fields["license"]) == (row["uid"], "cc")
    lost = [tar for tar in pool.store.list("shards") if tar.endswith(".tar")][:1]
    pool.store.delete(lost[0])
    after = fetch_damaged(pool, Key("00000"), lost).manifest
    assert pool.store.exists(lost[0])
    assert after.report.rows_out == 6


def test_a_tar_without_rows_or_that_changed_is_named(
    run_shards: Callable[..., Result],
    root: Path,
    tmp_path: Path,
    encoder: Encoder,
    images: Callable[..., bytes],
) -> None:
    img2dataset_shards(tmp_path / "theirs", images)
    run_shards(tmp_path / "theirs")
    pool = made(pool_of(root, encoder), *TO_EMBEDDINGS[:2])
    with (tmp_path / "theirs/00001.tar").open("ab") as tar:
        tar.write(b"more")
    with pytest.raises(SourceChangedError, match="00001"):
        made(pool, layout.IMAGE_SHARDS)
    (tmp_path / "theirs/00001.parquet").rename(tmp_path / "theirs/00002.parquet")
    told = run_shards(tmp_path / "theirs").stderr
    assert "00002.parquet: found no tar file of that name beside it" in told
    (tmp_path / "theirs/00002.parquet").unlink()
    told = run_shards(tmp_path / "theirs").stderr
    assert "00001.tar: found no parquet file of that name beside it" in told
