"""Documents that can be wrong are generated, or compared with the code."""

import re
import subprocess
import sys

import pytest
from click import Group

from clip_assets import errors, layout
from clip_assets.cli import main
from clip_assets.definitions import defs
from clip_assets.pairs import columns
from clip_assets.pairs.formats import lines
from clip_assets.pairs.formats.dialect import MAX_COLUMNS
from clip_assets.partitions import listing
from clip_assets_tests.pools import CHECKOUT

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def test_generated_documents_are_up_to_date() -> None:
    command = [sys.executable, "docs/build.py", "--check"]
    checked = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_every_asset_is_in_the_graph_of_the_readme() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    for spec in defs.resolve_all_asset_specs():
        assert spec.key.to_user_string() in readme


def test_commands_of_the_documents_exist() -> None:
    named = set(re.findall(r"^clip-assets (\w+)", TEXT, re.MULTILINE))
    assert named, "the README shows commands"
    assert named <= set(main.commands)


def test_every_command_and_option_explains_itself() -> None:
    commands = dict(main.commands)
    for name, command in main.commands.items():
        if isinstance(command, Group):
            commands |= {f"{name} {inner}": found for inner, found in command.commands.items()}
    for name, command in commands.items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or parameter.help, (name, parameter.name)


def test_make_help_tells_every_target() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: ([a-z-]+)$", makefile, re.MULTILINE))
    output = subprocess.run(
        ["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    told = {line.split()[0] for line in output.stdout.splitlines() if line.strip()}
    assert targets <= told


def test_every_column_name_and_limit_of_sources_is_told() -> None:
    page = (CHECKOUT / "docs/sources.md").read_text()
    for column, names in columns.NAMES.items():
        assert f"| `{column}` | {', '.join(f'`{name}`' for name in names)} |" in page
    suffixes = (*listing.FORMATS, *listing.COMPRESSIONS)
    reasons = ("no url", "too few columns", "too many columns", "broken quoting", "no json object")
    numbers = (f"{columns.MAX_URL_BYTES:,}", f"{lines.MAX_RECORD_BYTES:,}", f"{MAX_COLUMNS:,}")
    told = (*suffixes, *reasons, *numbers, "datacomp:datacomp_1b")
    assert [text for text in told if text not in page] == []


def test_layout_version_is_told() -> None:
    assert f"Layout version: {layout.VERSION}." in TEXT
    assert errors.LayoutVersionError.__doc__
