"""What the command line promises whatever the command: one line for an error, exit code 2."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from clip_assets import cli, layout
from clip_assets.storage.store import Store

Cli = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """Run a command in an empty folder; exceptions that it does not catch are raised here."""
    for name in [name for name in os.environ if name.startswith("CLIP_ASSETS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("clip_assets")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield lambda *words: CliRunner().invoke(
        cli.main, [str(word) for word in words], catch_exceptions=False
    )
    logger.handlers[:], logger.level, logger.propagate = before


def refused(result: Result) -> str:
    """The one line of an error."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("command", ["status", "doctor", "index list", "search x", "run"])
@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("foo://x", "Protocol not known: foo"),
        ("file", "NotADirectoryError"),
        ("/proc/nope", "no pool"),
        ("nowhere", "clip-assets add"),
    ],
)
def test_unusable_root_is_one_line(run: Cli, command: str, root: str, message: str) -> None:
    Path("file").write_text("")
    assert message in refused(run(*command.split(), "--root", root))
    assert not Path("nowhere").exists(), "looking makes no pool"


@pytest.mark.parametrize("root", ["foo://x", "file", "/proc/nope"])
def test_pool_that_cannot_be_made_is_one_line(run: Cli, root: str) -> None:
    Path("file").write_text("")
    Path("a.csv").write_text("url\nhttp://h/1\n")
    assert "--root" in refused(run("add", "a.csv", "--root", root))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\udcff"])
def test_damaged_store_is_one_line(run: Cli, content: str) -> None:
    Path("data").mkdir()
    Path("data", layout.STORE).write_text(content, errors="surrogateescape")
    assert "a damaged file" in refused(run("status"))


def test_settings_file_that_is_a_folder_is_one_line(run: Cli) -> None:
    Path("data", layout.SETTINGS_FILE).mkdir(parents=True)
    assert "IsADirectoryError" in refused(run("status"))


def test_variable_that_is_no_json_is_one_line(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_ASSETS_SOURCES__WATCH", "foo")
    assert "CLIP_ASSETS_SOURCES__WATCH" in refused(run("status"))


def test_file_without_permission_is_one_line(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "secret.csv")

    monkeypatch.setattr("clip_assets.settings.load", fail)
    assert refused(run("config")) == "error: secret.csv: Permission denied"


def test_archive_is_no_embedding(run: Cli, tmp_path: Path) -> None:
    Store.open("data")
    np.savez("z.npz", a=np.zeros(3, np.float32))
    assert "one vector" in refused(run("search", "--embedding", "z.npz"))


def test_search_before_the_first_index_loads_no_model(tmp_path: Path) -> None:
    Store.open(str(tmp_path))
    probe = (
        "import sys; from clip_assets import cli\n"
        "try: cli.main()\n"
        "finally: print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", probe, "search", "a cat", "--root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Run: clip-assets run" in done.stderr
    assert done.stdout.strip() == "False"


def test_progress_is_shown_once_however_often_commands_run(
    run: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    root = logging.getLogger()
    other = logging.Handler()
    other.emit = lambda record: shown.append(record.getMessage())  # type: ignore[method-assign]
    root.addHandler(other)
    try:
        for _ in range(2):
            assert run("config").exit_code == 0
        cli.main(["config"], standalone_mode=False)
        logging.getLogger("clip_assets.x").info("one line")
    finally:
        root.removeHandler(other)
    assert capsys.readouterr().err.count("one line") == 1
    assert shown == []


def test_version_is_told(run: Cli) -> None:
    assert run("--version").stdout.startswith("clip-assets, version ")


@pytest.mark.parametrize("name", sorted(cli.main.commands))
def test_every_command_explains_itself(run: Cli, name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert (cli.main.commands[name].help or "").strip().split("\n")[0].split()[0] in result.stdout


def commands_of(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from commands_of(command)


@pytest.mark.parametrize("command", commands_of(cli.main), ids=lambda command: command.name)
def test_examples_of_a_help_are_lines_of_their_own(command: click.Command) -> None:
    assert "\\b" not in (command.help or "")


def test_every_command_is_in_the_changelog_or_readme() -> None:
    checkout = Path(__file__).parents[1]
    said = (checkout / "README.md").read_text() + (checkout / "CHANGELOG.md").read_text()
    missing = [
        n for n in cli.main.commands if f"clip-assets {n}" not in said and f"`{n}`" not in said
    ]
    assert missing == []
