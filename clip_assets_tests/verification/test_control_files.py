"""Every control file of a pool, damaged in every way: commands end in our words, and right.

The files are those that a real pool has and that are text, so a new one is covered by itself.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from clip_assets import layout
from clip_assets.cli import WRONG, main
from clip_assets.publishing.version_file import hub_version
from clip_assets.reshard.kept_shards import subset_tar_stats
from clip_assets.storage.manifests import Failure
from clip_assets_tests.verification.conftest import Whole

NO_CONTROL = {
    *(".tar", ".parquet", ".npy", ".npz", ".arrow", ".index", ".png", ".jpg", ".html", ".lock"),
}
"""Endings of what is data, or for people."""

TOLD_BY_DIGEST = (
    *(layout.partition_stats, layout.stats, layout.shard_stats),
    *(subset_tar_stats, layout.hub_card, layout.hub_croissant, hub_version),
)
"""Files for other programs and counts: verify compares them, and no command reads them."""

Damage = Callable[[Path], object]


def _value(file: Path) -> dict[str, object]:
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        return {}


def _nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"[" * levels + b"]" * levels + b"}" * levels


def _each_field(file: Path, value: object) -> bytes:
    return json.dumps(dict.fromkeys(_value(file) or {"a": 1}, value)).encode()


DAMAGES: dict[str, Damage] = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "no json": lambda file: file.write_bytes(b"<html>502 Bad Gateway</html>"),
    "a list": lambda file: file.write_bytes(b"[1, 2]"),
    "a text": lambda file: file.write_bytes(b'"text"'),
    "null": lambda file: file.write_bytes(b"null"),
    "no field": lambda file: file.write_bytes(b"{}"),
    "unknown field": lambda file: file.write_bytes(json.dumps(_value(file) | {"zz": 1}).encode()),
    "all null": lambda file: file.write_bytes(_each_field(file, None)),
    "all lists": lambda file: file.write_bytes(_each_field(file, [[]])),
    "NaN": lambda file: file.write_bytes(_each_field(file, float("nan"))),
    "huge": lambda file: file.write_bytes(_each_field(file, 10**400)),
    "negative": lambda file: file.write_bytes(_each_field(file, -1)),
    "digits without end": lambda file: file.write_bytes(b'{"layout": ' + b"9" * 10_000 + b"}"),
    "deep": lambda file: file.write_bytes(_nested(100_000)),
    "UTF-16": lambda file: file.write_bytes(file.read_bytes().decode().encode("utf-16")),
    "not UTF-8": lambda file: file.write_bytes(b'{"\xff": 1}'),
    "a future version": lambda file: file.write_bytes(b'{"layout": 99, "least_reader": 99}'),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


def kinds(root: Path) -> dict[str, Path]:
    """One control file of each kind that a pool has, by the folder and the ending of its name."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    texts = [file for file in files if file.suffix not in NO_CONTROL]
    names = {file: str(file.relative_to(root)) for file in texts}
    read = {
        file: name for file, name in names.items() if not any(k.holds(name) for k in TOLD_BY_DIGEST)
    }
    # One of each folder: the others are read by the same line.
    return {
        f"{Path(name).parent}/{'*' if '/' in name else name}": file for file, name in read.items()
    }


def of_commands(root: Path) -> Iterator[tuple[str, int, str]]:
    """What each command that reads a pool ends with: its exit code and its words."""
    vector = root.parent / "vector.npy"
    for command in (
        ["status"],
        ["index", "list"],
        ["search", "--embedding", str(vector)],
        ["config"],
    ):
        result = CliRunner().invoke(main, [*command, "--root", str(root)])
        is_ours = result.exception is None or isinstance(result.exception, SystemExit)
        assert is_ours, (command, result.exc_info)
        yield command[0], result.exit_code, result.output


@pytest.fixture
def searchable(whole: Whole) -> Whole:
    import numpy as np

    [(_, _, output)] = [
        entry for entry in whole.outputs() if entry[2].path == layout.img_emb(layout.Key("00000"))
    ]
    vector = np.load(whole.file(output.path))[0].astype("float32")
    np.save(whole.root.parent / "vector.npy", vector)
    failed = Failure("X", "something", "2026-01-01T00:00:00+00:00")
    whole.pool.catalog.put_failure(layout.SUBSETS, layout.Key("no_filter"), failed)
    return whole


def test_the_pool_has_every_kind_of_control_file(searchable: Whole) -> None:
    every = {file.relative_to(searchable.root).parts[0] for file in kinds(searchable.root).values()}
    wanted = {layout.STORE, layout.MODEL, layout.SETTINGS_FILE, layout.PLANS, layout.VERSIONS}
    assert every >= wanted | {"manifests", "failures", "recipe"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_control_files_end_in_our_words(searchable: Whole, damage: str) -> None:
    before = {name: text for name, _, text in of_commands(searchable.root)}
    for kind, file in kinds(searchable.root).items():
        kept = file.read_bytes()
        DAMAGES[damage](file)
        told = list(of_commands(searchable.root))
        name = str(file.relative_to(searchable.root))
        # Each command is right, as far as it reads the file, or names it.
        wrong = [
            (command, text)
            for command, code, text in told
            if code == WRONG and name not in text and file.name not in text
        ]
        assert not wrong, (kind, wrong)
        silent = [c for c, code, text in told if code == 0 and text not in (before[c], "")]
        assert all(command == "status" or kind == "./pool.yaml" for command in silent), (kind, told)
        # An empty settings file sets nothing, and a later release may say more of a store.
        # Other bytes of the same length are told by verify --deep, and by whoever takes them in.
        may_be_right = kind == "./pool.yaml" or (kind, damage) in {
            ("./store.json", "unknown field"),
            ("recipe/*", "zeros"),
        }
        assert may_be_right or any(name in text for _, _, text in told), (kind, told)
        if file.is_dir():
            shutil.rmtree(file)
        file.write_bytes(kept)
    assert {name: text for name, _, text in of_commands(searchable.root)} == before


@pytest.mark.parametrize(
    "content", ["", "00009-12345678", "../../etc", "/etc/passwd", "manifest.json", "x" * 10**6, "é"]
)
def test_what_serves_no_version_is_refused_with_the_one_to_go_back_to(
    searchable: Whole, content: str
) -> None:
    [version] = [path.name for path in searchable.file("index").iterdir() if path.is_dir()]
    searchable.file(layout.CURRENT).write_text(content)
    for command in (["status"], ["index", "list"], ["search", "x"]):
        text = CliRunner().invoke(main, [*command, "--root", str(searchable.root)]).output
        assert layout.CURRENT in text
        assert f"clip-assets index use {version}" in text
        assert len(text) < 5_000
    use = CliRunner().invoke(main, ["index", "use", version, "--root", str(searchable.root)])
    assert use.output == f"serving {version}\n"
    assert searchable.file(layout.CURRENT).read_text().strip() == version


def test_a_byte_order_mark_is_passed_over(searchable: Whole) -> None:
    before = list(of_commands(searchable.root))
    for file in kinds(searchable.root).values():
        if file.suffix == ".json":
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    # A manifest knows how long the files are that it names.
    told = {text for _, code, text in of_commands(searchable.root) if code == WRONG}
    assert all("as its manifest says" in text for text in told)
    assert before[0][1] == 0


@pytest.mark.parametrize("content", [None, "no version"], ids=["gone", "damaged"])
def test_that_nothing_is_served_is_noticed_where_nothing_is_to_do(
    searchable: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    searchable.pool.catalog.forget_failure(layout.SUBSETS, layout.Key("no_filter"))
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    file = searchable.file(layout.CURRENT)
    file.unlink()
    if content is not None:
        file.write_text(content)
    for command in ("doctor", "run"):
        result = CliRunner().invoke(main, ["-q", command, "--root", str(searchable.root)])
        assert (result.exit_code, layout.CURRENT in result.output) == (1, True), result.output
        assert "clip-assets verify --repair" in result.output
