"""File, environment and arguments make one set of settings; the later wins."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from clip_assets import cli, layout, settings
from clip_assets.commands.config import describe
from clip_assets.commands.subset_group import subset
from clip_assets.errors import ConfigurationError
from clip_assets.settings import named


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CLIP_ASSETS_ROOT", "CLIP_ASSETS_POOL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(root: Path, content: object) -> None:
    (root / layout.SETTINGS_FILE).write_text(yaml.safe_dump(content))


def test_defaults_hold_without_a_file(root: Path) -> None:
    found = settings.load(str(root))
    assert found.root == str(root)
    assert found.download == settings.DownloadSettings()


def test_environment_wins_over_the_file_setting_by_setting(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, {"download": {"image_size": 128, "retries": 3}})
    monkeypatch.setenv("CLIP_ASSETS_DOWNLOAD__RETRIES", "5")
    found = settings.load(str(root)).download
    assert (found.image_size, found.retries) == (128, 5)


def test_root_is_found_in_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_ASSETS_ROOT", str(root))
    write(root, {"index": {"flat_limit": 7}})
    assert settings.load().index.flat_limit == 7
    assert settings.load().root == str(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"downlod": {}}, "downlod: no such setting; the nearest is download"),
        ({"download": {"retrys": 1}}, "download.retrys: .*nearest is download.retries"),
        ({"download": {"Per-Host": 1}}, "download.Per-Host: .*nearest is download.per_host"),
        ({"image_size": 1}, "image_size: .*nearest is download.image_size"),
        ({"download": {"zzzzz": 1}}, "download.zzzzz: no such setting,"),
        ({"subsets": {"mine": {"base": 1}}}, "subsets.mine: needs one of baseline"),
        ({"subset_shards": {"no_fliter": {}}}, "subset_shards: .*'no_fliter'.*is no_filter"),
        (
            {"subsets": {"m": {"where": 1}}, "subset_shards": {"m": {}}},
            "found subsets.m.where: [^;]*$",
        ),
        ({"subsets": {"m": {"by": "x"}}}, "subsets.m: say either threshold or fraction"),
        ({1: 2}, "no mapping"),
        ({"download": {"image_size": "big"}}, "download.image_size: .*integer"),
        ({"download": {"image_size": 0}}, "download.image_size: .*greater than or equal to 1"),
        (["a"], "no mapping"),
    ],
)
def test_wrong_setting_is_named(root: Path, content: object, message: str) -> None:
    write(root, content)
    with pytest.raises(ConfigurationError, match=message):
        settings.load(str(root))


def test_broken_yaml_is_a_configuration_error(root: Path) -> None:
    (root / layout.SETTINGS_FILE).write_text("download: [")
    with pytest.raises(ConfigurationError, match="valid yaml"):
        settings.load(str(root))


@pytest.mark.parametrize("signs", ["[]", "{}"])
def test_yaml_of_great_depth_is_refused_in_words(root: Path, signs: str) -> None:
    deep = signs[0] * 5000 + signs[1] * 5000
    (root / layout.SETTINGS_FILE).write_text(f"download: {deep}")
    with pytest.raises(ConfigurationError, match="nested too deep"):
        settings.load(str(root))


def run_config(root: Path) -> Result:
    return CliRunner().invoke(cli.main, ["config", "--root", str(root)], catch_exceptions=False)


def test_a_wrong_field_is_marked_where_every_setting_is_explained(root: Path) -> None:
    download = {"retrys": 1, "image_size": "big"}
    write(
        root,
        {
            "download": download,
            "sorces": {},
            "zzzzz": 1,
            "subsets": {"m": {"where": "true", "x": 1}},
        },
    )
    done = run_config(root)
    assert done.exit_code == 2
    assert "download.retrys: no such setting; the nearest is download.retries" in done.stderr
    lines = done.stdout.splitlines()
    marked = {
        mark.split(":")[1].strip(): after
        for mark, *below in (lines[n:] for n, line in enumerate(lines) if "# WRONG: " in line)
        if (after := next((line for line in below if not line.strip().startswith("#")), ""))
    }
    assert marked["download.retrys"] == "  retries: 1"
    assert marked["download.image_size"] == "  image_size: 256"
    assert marked["sorces"] == "sources:"
    assert marked["subsets.m.x"].startswith("subsets:")
    assert lines[1] == "# WRONG: zzzzz: no such setting"
    (root / layout.SETTINGS_FILE).write_text(done.stdout)
    assert settings.load(str(root)) == settings.Settings(root=str(root))


@pytest.mark.parametrize("content", ["download: [", "[a]", "root: x", "1: 2"])
def test_settings_are_explained_whatever_the_file_holds(root: Path, content: str) -> None:
    (root / layout.SETTINGS_FILE).write_text(content)
    done = run_config(root)
    assert (done.exit_code, "  retries: 1" in done.stdout) == (2, True)
    assert str(root) in done.stderr


def test_a_wrong_variable_does_not_hide_the_settings(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_ASSETS_DOWNLOAD__RETRIES", "many")
    done = run_config(root)
    assert done.exit_code == 2
    assert "# WRONG: download.retries" in done.stdout
    assert "CLIP_ASSETS_DOWNLOAD__RETRIES" in done.stderr


def test_root_in_the_file_is_refused(root: Path) -> None:
    write(root, {"root": "/elsewhere"})
    with pytest.raises(ConfigurationError, match="CLIP_ASSETS_ROOT"):
        settings.load(str(root))


def test_wrong_variable_is_blamed_and_not_the_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, {"download": {"retries": -1}})
    monkeypatch.setenv("CLIP_ASSETS_DOWNLOAD__IMAGE_SIZE", "big")
    with pytest.raises(ConfigurationError) as caught:
        settings.load(str(root))
    assert caught.value.where == f"{root}/{layout.SETTINGS_FILE}, CLIP_ASSETS_DOWNLOAD__IMAGE_SIZE"
    write(root, {"download": {"retries": 1}})
    with pytest.raises(ConfigurationError) as caught:
        settings.load(str(root))
    assert caught.value.where == "CLIP_ASSETS_DOWNLOAD__IMAGE_SIZE"


def test_variable_that_is_no_json_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_ASSETS_SOURCES__WATCH", "foo")
    with pytest.raises(ConfigurationError, match="CLIP_ASSETS_SOURCES__WATCH"):
        settings.load(str(root))


@pytest.mark.parametrize("named", ["foo://x/pool.yaml", "folder"])
def test_file_that_cannot_be_read_is_a_configuration_error(root: Path, named: str) -> None:
    (root / "folder").mkdir()
    with pytest.raises(ConfigurationError, match="--pool"):
        settings.load(str(root), named if "://" in named else str(root / named))


def test_named_file_must_exist(root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no\.yaml: found no file"):
        settings.load(str(root), str(root / "no.yaml"))


def test_description_is_a_valid_pool_file(root: Path) -> None:
    assert "[default:" not in describe(settings.load(str(root)))
    mine = {"baseline": "basic_filter", "language": "any"}
    write(root, {"download": {"image_size": 128}, "subsets": {"mine": mine}})
    before = settings.load(str(root))
    text = describe(before)
    assert "[default: 256]" in text
    described = yaml.safe_load(text)
    write(root, described)
    assert settings.load(str(root)) == before
    assert before.download.image_size == 128
    assert list(before.subsets) == ["no_filter", "basic_filter", "mine"]


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "../up", "a/b", "..", ".hidden", "-x", "é", "a" * 65, "a\n"]
)
def test_name_that_is_no_file_name_is_refused_for_a_subset(root: Path, name: str) -> None:
    write(root, {"subsets": {name: {"baseline": "no_filter"}}})
    with pytest.raises(ConfigurationError, match="is no name of letters"):
        settings.load(str(root))


def test_a_command_is_no_name_of_a_subset(root: Path) -> None:
    assert set(named.COMMANDS) == set(subset.commands)
    for name in subset.commands:
        write(root, {"subsets": {name: {"baseline": "no_filter"}}})
        with pytest.raises(ConfigurationError, match=f"is a command: clip-assets subset {name}"):
            settings.load(str(root))


def test_a_subset_that_every_pool_has_is_not_defined_anew(root: Path) -> None:
    write(root, {"subsets": {"no_filter": {"baseline": "no_filter"}}})
    assert list(settings.load(str(root)).subsets) == ["no_filter", "basic_filter"]
    wide = {"baseline": "basic_filter", "language": "any", "with_image": False}
    for name, other in (("no_filter", wide), ("basic_filter", wide)):
        write(root, {"subsets": {name: other}})
        with pytest.raises(ConfigurationError, match="choose another name"):
            settings.load(str(root))


def test_what_every_pool_has_may_be_told_a_language_model(root: Path) -> None:
    whole = {"baseline": "basic_filter", "language_model": "/models/lid.176.bin"}
    write(root, {"subsets": {"basic_filter": whole}})
    told = settings.load(str(root)).subsets["basic_filter"].model_dump()
    assert (told["language"], told["language_model"]) == ("en", "/models/lid.176.bin")


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({}, r"subsets\.whole.*language_model, the path of fastText's lid\.176\.bin"),
        ({"language": "any", "language_model": "m.bin"}, "asks no language_model"),
        ({"language": ""}, "at least 1 character"),
    ],
)
def test_a_language_rule_needs_a_model(root: Path, rule: dict[str, str], fault: str) -> None:
    write(root, {"subsets": {"whole": {"baseline": "basic_filter"} | rule}})
    with pytest.raises(ConfigurationError, match=fault):
        settings.load(str(root))


def test_every_setting_is_documented() -> None:
    for name, field in settings.Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, settings.Section):
            for inner, inner_field in section.model_fields.items():
                assert inner_field.description, f"{name}.{inner}"
        else:
            assert field.description, name


@pytest.mark.parametrize(
    ("text", "count"),
    [("16G", 16 << 30), ("1.5 GiB", 3 << 29), ("512mb", 512 << 20), ("2_097_152", 1 << 21)],
)
def test_bytes_are_written_as_people_do(root: Path, text: str, count: int) -> None:
    write(root, {"index": {"max_memory_bytes": text}})
    assert settings.load(str(root)).index.max_memory_bytes == count


@pytest.mark.parametrize("text", ["16X", "G", "-1G", "much"])
def test_what_is_no_amount_of_bytes_is_named(root: Path, text: str) -> None:
    write(root, {"index": {"max_memory_bytes": text}})
    with pytest.raises(ConfigurationError, match=r"max_memory_bytes.*such as 16G"):
        settings.load(str(root))


def test_settings_can_be_imported_deep_within_other_imports() -> None:
    # Of kinds of subsets, any of which may hold the others, none is described within another.
    script = "import pydantic, sys; sys.setrecursionlimit(300); import clip_assets.settings"
    subprocess.run([sys.executable, "-c", script], check=True)
