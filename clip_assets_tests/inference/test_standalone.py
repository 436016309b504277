"""Webdatasets and folders of images to clip-retrieval's layout."""

import io
import json
import os
import re
import shutil
import tarfile
import tracemalloc
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import (
    ConfigurationError,
    ModelMismatchError,
    SchemaError,
    SourceError,
    SourceMissingError,
    UnsoundVectorsError,
)
from clip_assets.files.listing import LOOP, NO_FILE
from clip_assets.inference.sources import GONE, MemberNames, expand_braces, input_of
from clip_assets.inference.standalone import Wanted, embed_pieces
from clip_assets.settings import InferenceSettings
from clip_assets.storage.manifests import Report
from clip_assets.webdataset.index import LINK, SPARSE
from clip_assets_tests.inference.shards import Meddled, Pair, tar_bytes
from clip_assets_tests.servers import Bucket, Hub
from clip_assets_tests.websites import Site

Embed = Callable[..., Report]


@pytest.fixture
def embed(inference: InferenceSettings, encoder: Encoder) -> Embed:
    def run(source: object, output: object, **wanted: Any) -> Report:
        chosen = Wanted(**wanted)
        pieces = input_of(str(source), chosen.names).pieces
        return embed_pieces(pieces, str(output), inference, encoder, chosen)

    return run


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Three tars of ten samples."""
    folder = tmp_path / "tars"
    folder.mkdir()
    for number in range(3):
        pairs = [Pair(10 * number + n) for n in range(10)]
        (folder / f"{number:05d}.tar").write_bytes(tar_bytes(pairs, f"{number:05d}"))
    return folder


@pytest.fixture
def pictures(tmp_path: Path, images: Callable[..., bytes]) -> Path:
    """A folder with captions as txt, as json and not at all, some of it below."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(images(1))
    (folder / "a.txt").write_text("first")
    (folder / "b.PNG").write_bytes(images(2, form="PNG"))
    (folder / "b.json").write_text(json.dumps({"caption": "second", "uid": "u", "width": 7}))
    (folder / "below" / "c.webp").write_bytes(images(3, form="WEBP"))
    (folder / "broken.jpg").write_bytes(b"")
    (folder / "notes.md").write_text("no image")
    return folder


def rows_of(output: Path) -> list[dict[str, Any]]:
    files = sorted((output / "metadata").iterdir())
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_a_folder_of_tars_is_embedded_in_order(
    tars: Path, tmp_path: Path, embed: Embed, encoder: Encoder
) -> None:
    output = tmp_path / "out"
    report = embed(tars, output)
    assert (report.rows_in, report.rows_out, report.dropped) == (30, 30, {})
    rows = rows_of(output)
    assert [row["uid"] for row in rows] == [Pair(n).uid for n in range(30)]
    assert sorted(path.name for path in (output / "img_emb").iterdir()) == [
        f"img_emb_{n}.npy" for n in range(3)
    ]
    text = np.concatenate([np.load(output / "text_emb" / f"text_emb_{n}.npy") for n in range(3)])
    expected = encoder.encode_text([row["caption"] for row in rows])
    np.testing.assert_allclose(text, expected, atol=1e-3)
    assert json.loads(rows[3]["json"])["url"] == "https://images.example/3.jpg"


def nested(depth: int) -> bytes:
    return b'{"deep": ' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize("content", [nested(100_000), b"[1]", b"{", b"\xff\xfe", b"1" * 5000])
def test_a_json_that_is_none_costs_one_sample(tmp_path: Path, embed: Embed, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes([Pair(1), Pair(2, json=content), Pair(3)]))
    report = embed(tmp_path / "a.tar", tmp_path / "out")
    assert report.dropped == {"malformed json": 1}
    assert [row["uid"] for row in rows_of(tmp_path / "out")] == [Pair(1).uid, Pair(3).uid]


def test_a_json_about_as_deep_as_can_be_parsed_costs_one_sample_at_most(
    tmp_path: Path, embed: Embed
) -> None:
    # What can be parsed in one place of the program may be too deep for another.
    pairs = [Pair(depth, json=nested(depth)) for depth in range(800, 1000, 2)]
    (tmp_path / "a.tar").write_bytes(tar_bytes(pairs))
    report = embed(tmp_path / "a.tar", tmp_path / "out")
    assert report.rows_out + report.dropped.get("malformed json", 0) == len(pairs)


@pytest.mark.parametrize(
    "value", [True, 1.5, -1, 2**31, 10**400, "8", None, [1], {"a": 1}, float("nan"), "\ud800"]
)
def test_a_field_of_another_type_is_no_fault(tmp_path: Path, embed: Embed, value: object) -> None:
    fields = dict.fromkeys(("width", "height", "url", "sha256", "uid"), value)
    (tmp_path / "a.tar").write_bytes(tar_bytes([Pair(1, fields=fields)]))
    assert embed(tmp_path / "a.tar", tmp_path / "out").rows_out == 1
    (row,) = rows_of(tmp_path / "out")
    assert (row["width"], row["height"]) == (None, None)


def test_links_and_sparse_members_cost_their_sample_only(tmp_path: Path, embed: Embed) -> None:
    kinds = {"link": tarfile.LNKTYPE, "other": tarfile.SYMTYPE, "sparse": tarfile.GNUTYPE_SPARSE}
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in ({"image": tarfile.REGTYPE} | kinds | {"last": tarfile.REGTYPE}).items():
            info = tarfile.TarInfo(f"{name}.jpg")
            info.type, info.linkname = kind, "image.jpg"
            content = Pair(1).members("1")["jpg"] if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    report = embed(tmp_path / "a.tar", tmp_path / "out")
    assert report.dropped == {LINK: 2, SPARSE: 1}
    assert [row["key"] for row in rows_of(tmp_path / "out")] == ["image", "last"]


def test_names_that_are_no_utf8_cost_nothing(
    tmp_path: Path,
    embed: Embed,
    images: Callable[..., bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "clip_assets")
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(images(1))
    assert embed(folder, tmp_path / "out").rows_out == 1
    assert embed(folder, tmp_path / "out").figures["pieces_resumed"] == 1
    assert [row["image_path"] for row in rows_of(tmp_path / "out")] == ["caf?.jpg"]
    caplog.text.encode()  # what a log or a terminal could not take would raise here


@pytest.mark.parametrize("pattern", ["{00000..00002}.tar", "*.tar", "0000{0,1,2}.tar"])
def test_patterns_name_the_same_tars(
    tars: Path, tmp_path: Path, embed: Embed, pattern: str
) -> None:
    assert embed(tars / pattern, tmp_path / "out").rows_out == 30


def test_a_folder_of_images_is_embedded_with_the_captions_beside_them(
    pictures: Path, tmp_path: Path, embed: Embed, encoder: Encoder
) -> None:
    output = tmp_path / "out"
    report = embed(pictures, output)
    assert report.dropped == {"empty image": 1}
    assert report.figures["without_caption"] == 1
    rows = rows_of(output)
    assert [(row["image_path"], row["caption"]) for row in rows] == [
        ("a.jpg", "first"),
        ("b.PNG", "second"),
        ("below/c.webp", None),
    ]
    assert (rows[1]["uid"], rows[1]["width"]) == ("u", 7)
    image = np.load(output / "img_emb" / "img_emb_0.npy")
    expected = encoder.encode_images([encoder.preprocess((pictures / "a.jpg").read_bytes())])
    np.testing.assert_allclose(image[:1], expected, atol=1e-3)


@pytest.mark.parametrize("name", ["set [v2]", "set{a}", "set{a,b}", "what?", "all*", "[ab]"])
@pytest.mark.parametrize("rest", ["", "/0.tar", "/*.tar", "/{0,1}.tar", "/[01].tar", "/{0..1}.tar"])
def test_what_is_there_under_exactly_that_name_is_no_pattern(
    tmp_path: Path, name: str, rest: str
) -> None:
    for folder in (name, "seta", "a", "what!", "all others"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.tar").write_bytes(tar_bytes([Pair(1)]))
    (tmp_path / name / "1.tar").write_bytes(tar_bytes([Pair(2)]))
    found = input_of(f"{tmp_path}/{name}{rest}", MemberNames()).pieces
    expected = ["0.tar"] if rest == "/0.tar" else ["0.tar", "1.tar"]
    assert [piece.where for piece in found] == [f"{tmp_path}/{name}/{tar}" for tar in expected]


def test_tars_may_be_called_like_patterns(tmp_path: Path) -> None:
    for name in ("a{1,2}.tar", "[b].tar", "c?.tar"):
        (tmp_path / name).write_bytes(tar_bytes([Pair(1)]))
        (piece,) = input_of(f"{tmp_path}/{name}", MemberNames()).pieces
        assert piece.where == f"{tmp_path}/{name}"


def test_a_folder_of_images_may_be_called_like_a_pattern(
    tmp_path: Path, pictures: Path, embed: Embed
) -> None:
    pictures.rename(tmp_path / "set{a,b} [v2]")
    assert embed(tmp_path / "set{a,b} [v2]", tmp_path / "out").rows_out == 3


def test_endings_may_be_of_any_case_and_kind_of_jpeg(
    tmp_path: Path, embed: Embed, images: Callable[..., bytes]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.JPG", "b.jfif", "c.JPE", "d.Avif"):
        (folder / name).write_bytes(images(1))
    (folder / "a.TXT").write_text("first")
    (folder / "b.Json").write_text('{"caption": "second"}')
    embed(folder, tmp_path / "out")
    kept = [(row["image_path"], row["caption"]) for row in rows_of(tmp_path / "out")]
    assert kept == [("a.JPG", "first"), ("b.jfif", "second"), ("c.JPE", None), ("d.Avif", None)]
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / "A.TAR").write_bytes(tar_bytes([Pair(1, extension="jfif")]))
    for source in ("tars", "tars/A.TAR", "tars/*"):
        assert embed(tmp_path / source, tmp_path / "tar-out").rows_out == 1


def test_what_is_passed_over_is_counted(pictures: Path, tars: Path) -> None:
    (pictures / "alone.txt").write_text("a caption without an image")
    (pictures / "below" / "d.HEIC").write_bytes(b"")
    (pictures / "below" / "e.tar").write_bytes(b"")
    (pictures / "LICENSE").write_bytes(b"")
    counted = {".md": 1, ".txt": 1, ".heic": 1, ".tar": 1, "without an ending": 1}
    assert input_of(str(pictures), MemberNames()).passed_over == counted
    for name in ("a.tar.gz", "b.jpg", "c.zip"):
        (tars / name).write_bytes(b"")
    (tars / "below").mkdir()
    shutil.copy(tars / "00000.tar", tars / "below")
    counted = {".gz": 1, ".jpg": 1, ".zip": 1}
    found = input_of(str(tars), MemberNames())
    assert (len(found.pieces), found.passed_over) == (3, counted | {".tar": 1})
    assert input_of(f"{tars}/*", MemberNames()).passed_over == counted


def test_links_that_lead_round_and_pipes_are_counted(pictures: Path, tars: Path) -> None:
    for folder in (pictures, tars):
        (folder / "loop").symlink_to(folder)
        os.mkfifo(folder / "pipe.jpg")
        passed_over = input_of(str(folder), MemberNames()).passed_over
        assert (passed_over[LOOP], passed_over[NO_FILE]) == (1, 1)


def test_a_tar_of_which_only_the_size_is_told_is_known_by_its_content(
    site: Site, tmp_path: Path, embed: Embed
) -> None:
    images = [Pair(number).members("a")["jpg"].ljust(20_000, b"\0") for number in (3, 4)]
    first, second = (tar_bytes([Pair(3, image)]) for image in images)
    assert len(first) == len(second)
    resumed: list[object] = []
    for content in (first, first, second):
        site.files["/a.tar"], site.etags["/a.tar"] = content, ""
        report = embed(f"{site.url}/a.tar", tmp_path / "out")
        resumed.append(report.figures["pieces_resumed"])
    assert resumed == [0, 1, 0]


@pytest.mark.parametrize("text", ["NaN", "-Infinity"])
def test_numbers_that_json_has_not_are_null(tmp_path: Path, embed: Embed, text: str) -> None:
    sample = Pair(1).members("a") | {"json": f'{{"score": {text}, "url": "u"}}'.encode()}
    for extension, content in sample.items():
        (tmp_path / f"a.{extension}").write_bytes(content)
    embed(tmp_path, tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert json.loads(row["json"], parse_constant=pytest.fail) == {"score": None, "url": "u"}


def test_a_piece_without_samples_leaves_no_files(tmp_path: Path, tars: Path, embed: Embed) -> None:
    """Readers of the folder fail at files without rows."""
    (tars / "00001.tar").write_bytes(tar_bytes([]))
    report = embed(tars, tmp_path / "out")
    assert report.figures["pieces"] == 3
    names = [path.name for path in sorted((tmp_path / "out" / "metadata").iterdir())]
    assert names == ["metadata_0.parquet", "metadata_2.parquet"]
    assert sorted(path.name for path in (tmp_path / "out" / "img_emb").iterdir()) == [
        "img_emb_0.npy",
        "img_emb_2.npy",
    ]
    assert embed(tars, tmp_path / "out").figures["pieces_resumed"] == 3


def test_what_is_not_wanted_is_not_written(tars: Path, tmp_path: Path, embed: Embed) -> None:
    embed(tars, tmp_path / "images", text=False, metadata=False)
    assert {path.name for path in (tmp_path / "images").iterdir()} >= {"img_emb", "stats"}
    assert not (tmp_path / "images" / "text_emb").exists()
    assert not (tmp_path / "images" / "metadata").exists()
    embed(tars, tmp_path / "texts", image=False)
    assert not (tmp_path / "texts" / "img_emb").exists()
    assert {row["similarity"] for row in rows_of(tmp_path / "texts")} == {None}
    with pytest.raises(ConfigurationError, match="neither"):
        embed(tars, tmp_path / "nothing", image=False, text=False)


def test_other_members_and_fields_can_be_named(tmp_path: Path, embed: Embed) -> None:
    pairs = [
        Pair(1, extension="picture", fields={"title": "one"}),
        Pair(2, extension="jpg", fields={"title": "two"}),
    ]
    (tmp_path / "a.tar").write_bytes(tar_bytes(pairs))
    report = embed(tmp_path / "a.tar", tmp_path / "out", names=MemberNames("picture", "title"))
    assert report.dropped == {"missing image": 1}
    assert [row["caption"] for row in rows_of(tmp_path / "out")] == ["one"]


def test_a_second_run_does_only_what_changed(tars: Path, tmp_path: Path, embed: Embed) -> None:
    output = tmp_path / "out"
    embed(tars, output)
    assert embed(tars, output).figures["pieces_resumed"] == 3
    (tars / "00001.tar").write_bytes(tar_bytes([Pair(77)]))
    report = embed(tars, output)
    assert (report.figures["pieces_resumed"], report.rows_out) == (2, 21)
    assert embed(tars, output, text=False).figures["pieces_resumed"] == 0


def served(site: Site, hub: Hub, folder: Path, holder: str, version: int, tar: bytes) -> str:
    """A version of a tar, by its url, with nothing else to tell it by than what a holder has."""
    match holder:
        case "mtime":
            (folder / "a.tar").write_bytes(tar)
            os.utime(folder / "a.tar", (version, version))
            return str(folder / "a.tar")
        case "blob_id":
            hub.files["some/data"] = {"a.tar": tar}
            return "hf://datasets/some/data/a.tar"
        case "ETag":
            site.etags["/a.tar"] = f'"{version}"'
        case _:
            site.changed_at = f"Mon, 0{version} Jan 2024 00:00:00 GMT"
    site.files["/a.tar"] = tar
    return f"{site.url}/a.tar"


@pytest.mark.parametrize("holder", ["mtime", "blob_id", "ETag", "Last-Modified"])
def test_another_tar_of_the_same_size_is_embedded_again(
    site: Site, hub: Hub, tmp_path: Path, embed: Embed, holder: str
) -> None:
    first, second = tar_bytes([Pair(1)]), tar_bytes([Pair(2)])
    assert len(first) == len(second)
    embed(served(site, hub, tmp_path, holder, 1, first), tmp_path / "out")
    again = embed(served(site, hub, tmp_path, holder, 1, first), tmp_path / "out")
    assert again.figures["pieces_resumed"] == 1
    report = embed(served(site, hub, tmp_path, holder, 2, second), tmp_path / "out")
    assert report.figures["pieces_resumed"] == 0
    assert [row["caption"] for row in rows_of(tmp_path / "out")] == ["picture number 2"]


def test_another_image_of_the_same_size_is_embedded_again(
    site: Site, tmp_path: Path, embed: Embed, images: Callable[..., bytes]
) -> None:
    site.files |= {"/f/": b'<a href="a.bmp">a</a>', "/f/a.bmp": images(1, form="BMP")}
    embed(f"{site.url}/f/", tmp_path / "out")
    assert embed(f"{site.url}/f/", tmp_path / "out").figures["pieces_resumed"] == 1
    site.files["/f/a.bmp"] = images(2, form="BMP")
    site.etags["/f/a.bmp"] = '"2"'
    assert embed(f"{site.url}/f/", tmp_path / "out").figures["pieces_resumed"] == 0


@pytest.mark.parametrize("name", ["a.tar", "*.tar", "", "{a,b}.tar"])
def test_a_server_that_fails_or_is_not_there_is_told(
    site: Site, unused_url: str, name: str
) -> None:
    site.status = 500
    with pytest.raises(SourceError, match=r"500.*expected.*network") as caught:
        input_of(f"{site.url}/{name}", MemberNames())
    assert not isinstance(caught.value, SourceMissingError)
    with pytest.raises(SourceError, match=r"expected.*network") as caught:
        input_of(f"{unused_url}/{name}", MemberNames())
    assert not isinstance(caught.value, SourceMissingError)


def test_a_server_that_fails_while_it_is_read_is_told(
    site: Site, images: Callable[..., bytes], tars: Path
) -> None:
    site.files |= {"/f/": b'<a href="a.jpg">a</a>', "/f/a.jpg": images(1)}
    site.files["/00000.tar"] = (tars / "00000.tar").read_bytes()
    pieces = [
        *input_of(f"{site.url}/f/", MemberNames()).pieces,
        *input_of(f"{site.url}/00000.tar", MemberNames()).pieces,
    ]
    site.status = 503
    for piece in pieces:
        with pytest.raises(SourceError, match="503"):
            list(piece.samples())


def test_a_remote_tar_that_changed_since_it_was_listed_is_told(site: Site, tars: Path) -> None:
    site.files["/a.tar"] = (tars / "00000.tar").read_bytes()
    (piece,) = input_of(f"{site.url}/a.tar", MemberNames()).pieces
    site.files["/a.tar"] = tar_bytes([Pair(1)])
    with pytest.raises(SchemaError, match="changed"):
        list(piece.samples())


def test_an_image_that_is_gone_is_dropped_and_a_tar_is_missed(
    pictures: Path, tars: Path, tmp_path: Path, embed: Embed
) -> None:
    (pictures / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert embed(pictures, tmp_path / "out").dropped == {"empty image": 1, GONE: 1}
    (piece, *_) = input_of(str(tars), MemberNames()).pieces
    (tars / "00000.tar").unlink()
    with pytest.raises(SourceMissingError, match=r"00000\.tar"):
        list(piece.samples())


def test_a_bucket_that_is_not_there_is_told(bucket: Bucket) -> None:
    protocol = bucket.url.partition(":")[0]
    for name in ("a.tar", "*.tar", "folder"):
        with pytest.raises(SourceMissingError, match="nobody"):
            input_of(f"{protocol}://nobody/{name}", MemberNames())


def test_a_shorter_input_leaves_nothing_of_a_longer_one(
    tars: Path, tmp_path: Path, embed: Embed
) -> None:
    output = tmp_path / "out"
    embed(tars, output)
    foreign = output / "stats" / "7.json"
    foreign.write_text('{"sample_count": 1}')
    (tars / "00002.tar").unlink()
    assert embed(tars, output).rows_out == 20
    assert len(rows_of(output)) == 20
    for number in range(3, 12):
        (tars / f"{number:05d}.tar").write_bytes((tars / "00000.tar").read_bytes())
    embed(tars, output)
    for folder in ("img_emb", "text_emb", "metadata"):
        assert len(list((output / folder).iterdir())) == 11
    assert foreign.exists(), "what we did not write is not ours to remove"


def test_members_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    class Film(Pair):
        def members(self, key: str) -> dict[str, bytes]:
            return {"mp4": bytes(64 * 2**20)} | super().members(key)

    (tmp_path / "a.tar").write_bytes(tar_bytes([Film(1)]))
    (piece,) = input_of(str(tmp_path / "a.tar"), MemberNames()).pieces
    tracemalloc.start()
    try:
        (sample,) = piece.samples()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sample.caption == "picture number 1"
    assert peak < 32 * 2**20


def test_vectors_of_nan_claim_no_output(
    tars: Path, tmp_path: Path, embed: Embed, model_folder: Path
) -> None:
    from safetensors.torch import load_file, save_file

    from clip_assets.encoders.openclip.loading import load_encoder

    folder = shutil.copytree(model_folder, tmp_path / "broken")
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["text_projection"] *= float("nan")
    save_file(weights, folder / "open_clip_model.safetensors")
    broken = InferenceSettings(model=f"local-dir:{folder}")
    output = tmp_path / "out"
    with pytest.raises(UnsoundVectorsError, match=r"00000\.tar: text embeddings"):
        embed_pieces(
            input_of(str(tars), MemberNames()).pieces,
            str(output),
            broken,
            load_encoder(broken, "cpu"),
        )
    assert embed(tars, output).rows_out == 30


def test_a_truncated_tar_stops_it_and_what_came_before_stays(
    tars: Path, tmp_path: Path, embed: Embed
) -> None:
    with (tars / "00002.tar").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(SchemaError, match=r"00002\.tar"):
        embed(tars, tmp_path / "out")
    assert len(rows_of(tmp_path / "out")) == 20


@pytest.mark.parametrize("change", [b"", bytes(10_240)], ids=["replaced", "grown"])
def test_a_tar_that_changes_while_it_is_read_stops_it(
    tmp_path: Path, inference: InferenceSettings, encoder: Encoder, change: bytes
) -> None:
    tar = tmp_path / "a.tar"
    tar.write_bytes(tar_bytes([Pair(n) for n in range(60)]))

    def meddle() -> None:
        other = tmp_path / "b.tar"
        other.write_bytes(tar.read_bytes() + change)
        other.replace(tar)

    pieces = input_of(str(tar), MemberNames()).pieces
    with pytest.raises(SchemaError, match=r"a\.tar.*changed while it was read"):
        embed_pieces(pieces, str(tmp_path / "out"), inference, Meddled(encoder, meddle))
    assert not (tmp_path / "out" / "img_emb").exists()


def test_another_model_into_the_same_output_is_refused(
    tars: Path, tmp_path: Path, embed: Embed, make_model: Callable[..., Path]
) -> None:
    from clip_assets.encoders.openclip.loading import load_encoder

    embed(tars, tmp_path / "out")
    other = InferenceSettings(model=f"local-dir:{make_model(seed=1)}")
    stranger = load_encoder(other, "cpu")
    with pytest.raises(ModelMismatchError):
        embed_pieces(
            input_of(str(tars), MemberNames()).pieces, str(tmp_path / "out"), other, stranger
        )


@pytest.mark.parametrize("name", ["nowhere", "nowhere.tar", "no*.tar"])
def test_an_input_that_is_not_there_says_so(tmp_path: Path, embed: Embed, name: str) -> None:
    with pytest.raises(SourceMissingError, match=re.escape(name)):
        embed(tmp_path / name, tmp_path / "out")


def test_tars_and_outputs_may_be_remote(site: Site, tars: Path, embed: Embed) -> None:
    site.files |= {f"/{path.name}": path.read_bytes() for path in tars.iterdir()}
    output = f"memory://{uuid.uuid4().hex}"
    assert embed(f"{site.url}/0000{{0..2}}.tar", output).rows_out == 30
    assert embed(f"{site.url}/0000{{0..2}}.tar", output).figures["pieces_resumed"] == 3
    with pytest.raises(SourceMissingError, match=r"00009\.tar"):
        embed(f"{site.url}/00009.tar", f"memory://{uuid.uuid4().hex}")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a", ["a"]),
        ("a{1..3}", ["a1", "a2", "a3"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("{x}", ["x"]),
        ("{3..1}", ["3", "2", "1"]),
    ],
)
def test_braces_mean_what_they_mean_in_a_shell(pattern: str, names: list[str]) -> None:
    assert expand_braces(pattern) == names
