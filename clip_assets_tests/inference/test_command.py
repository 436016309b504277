"""``clip-assets embed`` from its words to its files."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from clip_assets import cli, devices
from clip_assets_tests.inference.shards import Pair, tar_bytes
from clip_assets_tests.websites import Site

Embed = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Embed]:
    """``clip-assets`` in an empty folder, on the CPU."""
    for name in [name for name in os.environ if name.startswith("CLIP_ASSETS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLIP_ASSETS_DEVICES", "none")
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("clip_assets")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield lambda *words: CliRunner().invoke(
        cli.main, [str(word) for word in words], catch_exceptions=False
    )
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def embed(run: Embed, model_folder: Path) -> Callable[..., dict[str, Any]]:
    """The report of ``clip-assets embed``, told as json."""

    def embedded(*words: object) -> dict[str, Any]:
        done = run("embed", *words, "--model", f"local-dir:{model_folder}", "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return embedded


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Two tars of five samples: ``a.tar`` has the title and the picture of each elsewhere."""
    (tmp_path / "tars").mkdir()
    for name, extension in (("a0", "picture"), ("b1", "jpg")):
        pairs = [
            Pair(number, extension=extension, fields={"title": f"title {number}"})
            for number in range(5)
        ]
        (tmp_path / "tars" / f"{name}.tar").write_bytes(tar_bytes(pairs, name))
    return tmp_path / "tars"


def files(output: str) -> set[str]:
    found = {str(path.relative_to(output)) for path in Path(output).rglob("*") if path.is_file()}
    return found - {"model.json"}


def captions(output: str) -> list[str | None]:
    found = sorted(Path(output, "metadata").iterdir())
    return [text for file in found for text in pq.read_table(file)["caption"].to_pylist()]


def test_what_is_passed_over_is_told(
    run: Embed, embed: Any, tars: Path, model_folder: Path
) -> None:
    (tars / "notes.MD").write_text("no tar")
    assert embed(tars, "out")["passed_over"] == {".md": 1}
    told = run("embed", tars, "out", "--model", f"local-dir:{model_folder}").stdout
    assert "1 files passed over: .md" in told


def test_brace_patterns_and_keys(embed: Any, tars: Path) -> None:
    report = embed(f"{tars}/{{a0,b1}}.tar", "out")
    assert (report["rows_out"], report["dropped"]) == (5, {"missing image": 5})
    report = embed(tars / "a0.tar", "named", "--image-key", "picture", "--caption-key", "title")
    assert report["rows_out"] == 5
    assert captions("named") == [f"title {number}" for number in range(5)]
    assert (
        embed(tars / "a0.tar", "named", "--image-key", "picture", "--caption-key", "title")[
            "figures"
        ]["pieces_resumed"]
        == 1
    )


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["--no-text"], {"img_emb/img_emb_0.npy", "metadata/metadata_0.parquet"}),
        (["--no-image"], {"text_emb/text_emb_0.npy", "metadata/metadata_0.parquet"}),
        (["--no-metadata"], {"img_emb/img_emb_0.npy", "text_emb/text_emb_0.npy"}),
    ],
)
def test_what_is_not_wanted_is_not_there(
    embed: Any, tars: Path, words: list[str], written: set[str]
) -> None:
    embed(tars / "b1.tar", "out")
    embed(tars / "b1.tar", "out", *words)
    assert files("out") == written | {"stats/0.json"}


def test_nothing_wanted_is_refused(run: Embed, tars: Path) -> None:
    done = run("embed", tars, "out", "--no-image", "--no-text")
    assert (done.exit_code, Path("out").exists()) == (2, False)


def test_folder_of_images_with_captions_beside_them(
    embed: Any, tmp_path: Path, images: Callable[..., bytes]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, caption in enumerate(["one", "two"]):
        (folder / f"{number}.jpg").write_bytes(images(number))
        (folder / f"{number}.txt").write_text(caption)
    assert embed(folder, "out", "--batch-size", "1")["rows_out"] == 2
    assert captions("out") == ["one", "two"]
    assert np.load("out/img_emb/img_emb_0.npy").shape == (2, 32)


def test_remote_tars(embed: Any, tars: Path, site: Site) -> None:
    site.files |= {f"/{path.name}": path.read_bytes() for path in tars.iterdir()}
    assert embed(f"{site.url}/b{{1..1}}.tar", "out")["rows_out"] == 5


@pytest.mark.parametrize("source", ["nowhere", "nowhere.tar", "no*.tar", "{0..1}.tar"])
def test_missing_input_fails_before_a_model_is_loaded(run: Embed, source: str) -> None:
    # A model that does not exist is never asked for.
    done = run("embed", source, "out", "--model", "local-dir:/no/such/model")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "/no/such/model" not in line
    assert not Path("out").exists()


def test_missing_input_needs_no_torch(tmp_path: Path) -> None:

    probe = (
        "import sys; from clip_assets.cli import main\n"
        "try: main(['embed', 'nowhere', 'out'])\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (2, "False"), done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [("empty", "neither tars nor images"), ("a.jpg", "neither tars"), ("gone", "nothing there")],
)
def test_input_without_images_says_what_is_expected(
    run: Embed, tmp_path: Path, images: Callable[..., bytes], name: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").write_bytes(images(1))
    done = run("embed", name, "out", "--model", "demo")
    assert done.exit_code == 2
    assert f"error: {name}: found {said}" in done.stderr
    assert "images in .jpg, .jpeg, .png" in done.stderr


def test_images_without_captions_are_told(
    run: Embed, tmp_path: Path, images: Callable[..., bytes], model_folder: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(images(1))
    done = run("embed", "pictures", "out", "--model", f"local-dir:{model_folder}")
    assert "1 of 1 samples embedded" in done.stdout
    assert "1 without a caption" in done.stdout


def test_captions_that_are_longer_than_the_model_reads_are_told(
    run: Embed, tmp_path: Path, images: Callable[..., bytes], model_folder: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    for number, caption in enumerate(["a cat", "cat " * 75, "cat " * 76]):
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(images(number))
        (tmp_path / "pictures" / f"{number}.txt").write_text(caption)
    done = run("embed", "pictures", "out", "--model", f"local-dir:{model_folder}")
    assert "  1 captions are longer than the model reads" in done.stdout
    # A second run reads what the first one counted.
    done = run("embed", "pictures", "out", "--model", f"local-dir:{model_folder}")
    assert "  1 captions are longer than the model reads" in done.stdout


def test_a_device_that_is_not_there_is_one_line(
    run: Embed, tars: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLIP_ASSETS_DEVICES")
    # A number that no machine has.
    monkeypatch.setenv(devices.VISIBLE, "99")
    done = run("embed", tars, "out", "--model", f"local-dir:{model_folder}")
    assert done.exit_code != 0
    (line,) = done.stderr.splitlines()
    assert "device cuda:0" in line
    assert "devices: none" in line


def test_unusable_model_is_one_line(run: Embed, tars: Path) -> None:
    done = run("embed", tars, "out", "--model", "local-dir:/no/such/model")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "/no/such/model" in line
