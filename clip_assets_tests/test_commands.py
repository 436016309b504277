"""What single commands print and refuse, as far as that needs no model and no network."""

import io
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from clip_assets import cli, layout
from clip_assets.commands import demo, models
from clip_assets.layout import Key
from clip_assets.storage.catalog import Catalog
from clip_assets.storage.store import Store
from clip_assets_tests.websites import Site

Cli = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """Run a command in an empty folder with a Dagster instance of its own."""
    for name in [name for name in os.environ if name.startswith("CLIP_ASSETS_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("clip_assets")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield lambda *words: CliRunner().invoke(
        cli.main, [str(word) for word in words], catch_exceptions=False
    )
    logger.handlers[:], logger.level, logger.propagate = before


def write(name: str, *urls: str) -> Path:
    file = Path(name)
    file.write_text("url\n" + "".join(f"{url}\n" for url in urls))
    return file


def test_adding_tells_what_is_new_known_changed_and_gone(run: Cli) -> None:
    write("a.csv", "http://h/1")
    write("b.csv", "http://h/2")
    first = run("add", "a.csv", "b.csv")
    assert first.exit_code == 0
    assert "1 new partitions, 0 files known already\nnext: clip-assets run" in first.stdout
    assert "0 new partitions, 2 files known already" in run("add", "*.csv").stdout
    write("a.csv", "http://h/1", "http://h/3")
    Path("b.csv").unlink()
    seen = run("add", "*.csv")
    assert f"changed since it was planned: {Path('a.csv').absolute()}" in seen.stderr
    assert f"no longer there: {Path('b.csv').absolute()} (leave it out" in seen.stderr
    refreshed = run("add", "*.csv", "--refresh").stdout
    assert "00000" in refreshed
    assert "0 new partitions, 1 planned anew" in refreshed
    assert "next: clip-assets run" in refreshed


def test_names_of_files_command_no_terminal(run: Cli) -> None:
    source = write("a\x07\u202e.csv", "http://h/1")
    first = run("add", source)
    write(str(source), "http://h/1", "http://h/3")
    second = run("add", source)
    third = run("add", "b\x07.csv")
    assert "changed since it was planned" in second.stderr
    assert (first.exit_code, third.exit_code) == (0, 2)
    for done in (first, second, third):
        assert not {"\x07", "\u202e"} & {*done.output}


def test_progress_commands_no_terminal(run: Cli) -> None:
    run("config")  # sets the handler up
    handlers = logging.getLogger("clip_assets").handlers
    (handler,) = [handler for handler in handlers if handler.name == cli.HANDLER]
    record = logging.makeLogRecord({"msg": "%s: read\nall", "args": ("a\x07.csv",)})
    assert handler.format(record).endswith("a\\x07.csv: read\nall")


@pytest.mark.slow
def test_urls_of_an_own_machine_end_with_the_setting_that_allows_them(
    run: Cli, images: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", write("a.csv", *(f"{images.url}/{i}.jpg" for i in range(4))))
    select = ("run", "--select", "image_shards,*image_shards")
    told = run(*select).stdout
    assert "1 partitions worked on in 1 runs" in told
    for text in (told, run("status").stdout):
        assert "4 x private_address" in text
        assert f"such as {images.url}/0.jpg" in text
        assert "download.allow_hosts" in text
    assert json.loads(run(*select, "--json").stdout)["without_image"] == []
    monkeypatch.setenv("CLIP_ASSETS_DOWNLOAD__ALLOW_HOSTS", '["127.0.0.1"]')
    again = json.loads(run(*select, "--retry-failed", "--json").stdout)
    assert again["retried"] == {"00000": {"retried": 4, "recovered": 4}}
    assert "private_address" not in run("status").stdout


def test_sources_that_match_nothing_are_an_error(run: Cli) -> None:
    result = run("add", "*.zzz")
    assert result.exit_code == 2
    assert "*.zzz: found no source file" in result.stderr
    assert ".parquet" in result.stderr
    assert run("add", "").exit_code == 2
    assert run("add", "no-such.csv").exit_code == 2
    assert not Path("data").exists(), "a misspelt name makes no pool"


def test_dry_run_makes_no_pool(run: Cli) -> None:
    write("a.csv", "http://h/1")
    result = run("add", "a.csv", "--dry-run")
    assert "1 new partitions" in result.stdout
    assert "next" not in result.stdout
    assert not Path("data").exists()


def test_a_dry_run_reads_no_pool_that_it_would_misread(run: Cli) -> None:
    write("a.csv", "http://h/1")
    Store.open("data").write_bytes(layout.STORE, b'{"layout": 9, "least_reader": 9}')
    result = run("add", "a.csv", "--dry-run")
    assert result.exit_code == 2
    assert "Use a newer release" in result.stderr


@pytest.fixture
def images(site: Site) -> Site:
    """A web server of five images."""
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(picture, "JPEG")
    site.files |= {f"/{number}.jpg": picture.getvalue() for number in range(5)}
    return site


@pytest.mark.slow
def test_what_failed_is_fetched_again_when_asked_for(
    run: Cli, images: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_ASSETS_DOWNLOAD__ALLOW_HOSTS", '["127.0.0.1"]')
    images.busy |= {"/1.jpg", "/3.jpg"}
    run("add", write("a.csv", *(f"{images.url}/{i}.jpg" for i in range(5))))
    select = ("run", "--select", "image_shards,*image_shards", "--json")
    first = run(*select)
    assert (first.exit_code, json.loads(first.stdout)["retried"]) == (0, {})
    images.busy.remove("/3.jpg")

    other = json.loads(run(*select, "--retry-failed", "dns,tls").stdout)
    again = json.loads(run(*select, "--retry-failed").stdout)

    assert other["retried"] == {}
    assert again["retried"] == {"00000": {"retried": 2, "recovered": 1}}
    assert again["failures"] == {}
    report = Catalog(Store.open("data")).require("image_shards", Key("00000")).report
    assert (report.rows_out, report.dropped) == (4, {"http_503": 1})


def test_json_is_one_document(run: Cli) -> None:
    write("a.csv", "http://h/1")
    plans = json.loads(run("add", "a.csv", "--json").stdout)["plans"]
    assert [plan["partition"] for plan in plans] == ["00000"]
    assert json.loads(run("status", "--json").stdout)["partitions"]["00000"]


def test_a_folder_with_settings_alone_is_a_pool_to_fill(run: Cli) -> None:
    Path("data").mkdir()
    Path("data/pool.yaml").write_text("")
    result = run("status")
    assert result.exit_code == 0
    assert "no partitions yet. Next: clip-assets add" in result.stdout


def test_running_an_empty_pool_says_how_to_fill_it(run: Cli) -> None:
    Store.open("data")
    result = run("run")
    assert result.exit_code == 2
    assert "no partitions" in result.stderr
    assert "clip-assets add" in result.stderr


@pytest.mark.slow
def test_what_lacks_input_is_no_failure_beside_its_cause(run: Cli) -> None:
    Path("a.csv").write_text("a,b\n1,2\n")
    run("add", "a.csv")
    found = run("run", "--json")
    assert found.exit_code == 1
    assert list(json.loads(found.stdout)["failures"]) == ["raw_pairs 00000"]
    alone = run("run", "--select", "index_recipe", "--json")
    assert list(json.loads(alone.stdout)["failures"]) == ["index_recipe"]


@pytest.mark.parametrize("select", ["", " ", "raw_pairs,"])
def test_selection_of_nothing_is_an_error(run: Cli, select: str) -> None:
    result = run("run", "--select", select)
    assert result.exit_code == 2
    assert "--select" in result.stderr


@pytest.mark.parametrize(
    "words",
    [(), ("", "--uid", "x"), ("a cat", "--uid", "x")],
    ids=["none", "empty text and uid", "text and uid"],
)
def test_search_wants_one_query(run: Cli, words: tuple[str, ...]) -> None:
    result = run("search", *words)
    assert result.exit_code == 2
    assert "give one of" in result.stderr


def test_empty_text_is_refused(run: Cli) -> None:
    Store.open("data")
    assert "an empty text" in run("search", "").stderr


def test_sweeping_is_asked_for(run: Cli) -> None:
    store = Store.open("data")
    path = f"{layout.TEMPORARY}/{os.uname().nodename}-4194999-0123abcd-a.bin"
    left = Path(store.base, path)
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 10**6,) * 2)
    assert "removed" not in run("doctor").stdout
    assert left.exists()
    assert "removed 1 unpublished files" in run("doctor", "--sweep").stdout
    assert not left.exists()


def test_index_of_a_new_pool_has_no_versions(run: Cli) -> None:
    Store.open("data")
    assert run("index", "list").stdout == ""
    assert "clip-assets index list" in run("index", "use", "00001").stderr


@pytest.mark.parametrize("option", [("--pairs", "0"), ("--port", "0")])
def test_demo_of_nothing_is_refused(run: Cli, option: tuple[str, str]) -> None:
    result = run("demo", *option)
    assert result.exit_code == 2
    assert not Path("demo-pool").exists()


def test_demo_leaves_folders_of_others_alone(run: Cli) -> None:
    Path("mine").mkdir()
    Path("mine", "a.txt").write_text("mine")
    result = run("demo", "--folder", "mine", "--pairs", "5", "--port", "18911")
    assert result.exit_code == 2
    assert "files that no demo wrote" in result.stderr
    assert [path.name for path in Path("mine").iterdir()] == ["a.txt"]


def test_demo_goes_on_in_a_terminal_unless_asked_not_to() -> None:
    terminal, end = os.openpty()
    with os.fdopen(end) as stdin, Path(os.devnull).open() as nothing:
        assert demo.goes_on(stdin, no_serve=False)
        assert not demo.goes_on(stdin, no_serve=True)
        assert not demo.goes_on(nothing, no_serve=False)
    assert not demo.goes_on(stdin, no_serve=False), "it is closed by now"
    assert not demo.goes_on(None, no_serve=False)
    os.close(terminal)


def test_embedding_nothing_is_refused(run: Cli) -> None:
    result = run("embed", "in", "out", "--no-image", "--no-text")
    assert result.exit_code == 2
    assert "nothing to embed" in result.stderr


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", ("ViT-B-32", "laion2b_s34b_b79k")),
        ("ViT-B-32", ("ViT-B-32", None)),
        ("ViT-B-32//models/b32.pt", ("ViT-B-32", "/models/b32.pt")),
        ("hf-hub:laion/CLIP-ViT-B-32", ("hf-hub:laion/CLIP-ViT-B-32", None)),
        ("local-dir:models/b32", ("local-dir:models/b32", None)),
        ("demo", ("demo", None)),
    ],
)
def test_model_is_named_with_its_tag(given: str, meant: tuple[str, str | None]) -> None:
    assert models.named(given) == meant


@pytest.mark.slow
def test_images_are_embedded_and_models_become_folders(run: Cli) -> None:
    from PIL import Image

    Path("images").mkdir()
    Image.new("RGB", (32, 32), "red").save("images/a.png")
    Path("images/a.txt").write_text("a red picture")
    Path("images/b.jpg").write_bytes(b"no image")
    first = run("embed", "images", "out", "--model", "demo", "--json")
    report = json.loads(first.stdout)
    assert (report["rows_in"], report["rows_out"]) == (2, 1)
    assert Path("out/img_emb/img_emb_0.npy").exists()
    assert "1 of 2 samples" in run("embed", "images", "out", "--model", "demo").stdout
    Path("full").mkdir()
    Path("full/x").write_text("")
    assert "a folder with files" in run("models", "pull", "ViT-B-32/x", "full").stderr


@pytest.mark.slow
def test_a_run_does_not_say_that_nothing_is_to_do_while_a_file_is_gone(run: Cli) -> None:
    run("add", write("a.csv", "http://h/1"))
    select = ("run", "--select", "raw_pairs")
    run(*select)
    assert "nothing to do" in run(*select).stdout
    Path("data", layout.raw(Key("00000"))).unlink()
    told = run(*select)
    assert told.exit_code == 1
    assert "nothing to do" not in told.output
    assert "raw/00000.parquet is gone" in told.stderr
    assert "clip-assets verify --repair" in told.stderr
    assert run("verify", "--repair").exit_code == 0
    assert "nothing to do" in run(*select).stdout


def test_a_secret_of_a_source_is_in_its_plan_alone(run: Cli, site: Site, tmp_path: Path) -> None:
    source = f"{site.url.replace('//', '//user:s3cret@')}/pairs.csv?X-Amz-Signature=s3cret"
    # Half of it cannot be a pair, so that rejects name the source.
    site.files["/pairs.csv?X-Amz-Signature=s3cret"] = b"url,caption\nhttp://h/1,a\n,b\n"
    told = [run("add", source), run("add", source, "--json"), run("run", "--select", "raw_pairs")]
    site.files.clear()
    lost = [run("add", source, "--refresh"), run("add", f"{source}&n=2")]
    site.status = 403
    told += [*lost, run("add", source)]
    (plan,) = Path("data/partitions").iterdir()
    plan.write_text(plan.read_text().replace('"etag": "', '"etag": "other'))
    told += [run(*words, *kind) for words in FAILING for kind in ((), ("--json",))]
    assert [result.exit_code for result in told] == [0, 0, 0, 2, 2, 2, 1, 1, 0, 0]
    assert all("s3cret" not in result.output for result in told)
    assert "user:***@" in told[-1].output
    with_secret = [path for path in tmp_path.rglob("*") if path.is_file() and s3cret_in(path)]
    assert [path.name for path in with_secret] == [plan.name]
    assert plan.stat().st_mode & 0o077 == 0


FAILING = ("run", "--select", "raw_pairs"), ("status",)


def s3cret_in(path: Path) -> bool:
    return b"s3cret" in path.read_bytes()
