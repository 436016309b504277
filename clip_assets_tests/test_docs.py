"""Documents that can be wrong are generated, or compared with the code."""

import inspect
import pkgutil
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from click import Group

from clip_assets import errors, layout
from clip_assets.cli import main
from clip_assets.graph import ASSETS
from clip_assets.pairs import columns
from clip_assets.pairs.formats import lines
from clip_assets.partitions import listing
from clip_assets.settings import Settings
from clip_assets_tests.pools import CHECKOUT
from clip_assets_tests.test_architecture import LAYERS

TOP = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted((CHECKOUT / "docs").rglob("*.md"))]
DECISIONS = sorted((CHECKOUT / "docs/decisions").glob("0*.md"))
NEW = {"clip_assets/metadata/aesthetic_scores.py", "clip_assets/defs/aesthetics.py"}
"""Files of the example of a new asset."""

SETTINGS = {"download", "inference", "index"}
"""Sections of the settings, and packages: a name in one of them may be a setting."""

TEXT = "\n".join(page.read_text() for page in PAGES)


def test_generated_documents_are_up_to_date() -> None:
    command = [sys.executable, "docs/build.py", "--check"]
    checked = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Every link of a page to a file or a heading of this project."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        yield ((page.parent / path).resolve() if path else page), heading


@cache
def anchors(page: Path) -> set[str]:
    """What links to headings of a page may say."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target, heading in links(page):
            assert target.exists(), f"{page}: {target}"
            assert not heading or heading in anchors(target), f"{page}: {target}#{heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_modules_that_a_page_names_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    files = re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    roots = (CHECKOUT, CHECKOUT / "clip_assets", CHECKOUT / "clip_assets/settings", page.parent)
    lost = [name for name in files if not any((root / name).exists() for root in roots)]
    assert [name for name in lost if name not in NEW] == []
    package = {path.stem for path in (CHECKOUT / "clip_assets").iterdir()}
    for name in re.findall(r"`(\w+(?:\.\w+)+)`", text):
        first, *_, last = name.split(".")
        if first in package - SETTINGS and last not in ("py", "yaml", "json", "hdf5"):
            assert pkgutil.resolve_name(f"clip_assets.{name}") is not None


def test_every_page_is_linked() -> None:
    linked = {target for page in PAGES for target, _ in links(page) if target != page}
    assert set(PAGES) - linked == {CHECKOUT / "README.md"}


def test_readme_says_where_every_page_is() -> None:
    listed = {target for target, _ in links(CHECKOUT / "README.md")}
    pages = {page for page in PAGES if page not in DECISIONS and page.name != "README.md"}
    assert pages - listed == set()


def test_lines_of_text_fit_an_editor() -> None:
    for page in PAGES:
        text = re.sub(r"```text\n.*?```", "", page.read_text(), flags=re.DOTALL)
        lines_of_text = [line for line in text.splitlines() if not line.startswith("|")]
        assert [line for line in lines_of_text if len(line) > 110] == [], page


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name[:4])
def test_decision_has_a_date_and_a_status(page: Path) -> None:
    title, _, dated = page.read_text().splitlines()[:3]
    assert title.startswith(f"# {int(page.name[:4])}. ")
    assert re.match(r"Date: 2\d{3}-\d\d-\d\d\. Status: (in force|replaced by \[)", dated)
    assert f"[{title[2:]}]({page.name})" in " ".join(
        (page.parent / "README.md").read_text().split()
    )


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_every_asset_is_in_the_graph_with_its_axis_below_what_it_reads(page: str) -> None:
    [graph] = re.findall(r"```mermaid\n(.*?)```", (CHECKOUT / page).read_text(), re.DOTALL)
    mark = {"partition": " [p]", "subset": " [s]", "pool": ""}
    places = {name: graph.find(f'{name}["{name}{mark[ASSETS[name].axis]}"]') for name in ASSETS}
    assert min(places.values()) > 0
    for asset in ASSETS.values():
        for dep in asset.deps:
            assert f"{dep} --> {asset.name}\n" in graph
            assert places[dep] < places[asset.name]


def test_every_path_of_the_layout_is_told() -> None:
    page = (CHECKOUT / "docs/layout.md").read_text()
    told = set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE))
    assert {kind.template for kind in layout.ARTIFACTS} <= told
    build = runpy.run_path(str(CHECKOUT / "docs/build.py"))
    helpers = {"partition_key", "artifact", "made_by", "needs_rows", "shard_name", "shard_folder"}
    folders = {"PLANS", "PICTURES", "VERSIONS", "version_folder", "TAR_INDEX", "tar_index_folder"}
    folders |= {"HUB", "TAKEDOWNS", "subset_shard_folder"}
    paths = {
        name
        for name, value in vars(layout).items()
        if inspect.isfunction(value) or (isinstance(value, str) and name.isupper())
    }
    others = {name for name in paths if getattr(layout, name) in ASSETS} | {"WHOLE"}
    assert paths - others - helpers - folders - {"_TEXT"} == set(build["MAKERS"])
    placeholders = set(re.findall(r"<(\w+)>", " ".join(told)))
    assert placeholders == set(build["PLACEHOLDERS"])
    heeding = [name for name, asset in ASSETS.items() if asset.heeds]
    assert all(f"`{name}`" in build["MAKERS"]["store_wide"] for name in heeding)


def test_variables_of_the_documents_are_read_by_somebody() -> None:
    package = CHECKOUT / "clip_assets"
    sources = "\n".join(path.read_text() for path in package.rglob("*.py"))
    known = set(re.findall(r"CLIP_ASSETS_[A-Z_]+", sources))
    for name, field in Settings.model_fields.items():
        known.add(f"CLIP_ASSETS_{name}".upper())
        inner = getattr(field.annotation, "model_fields", {})
        known |= {f"CLIP_ASSETS_{name}__{setting}".upper() for setting in inner}
    named = set(re.findall(r"CLIP_ASSETS_[A-Z_]+[A-Z]", TEXT))
    assert named
    assert named <= known, named - known


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
    limits = (columns.MAX_URL_BYTES, lines.MAX_RECORD_BYTES, columns.MAX_COLUMNS)
    numbers = tuple(f"{limit:,}" for limit in limits)
    told = (*suffixes, *reasons, *numbers, "datacomp:datacomp_1b")
    assert [text for text in told if text not in page] == []


def test_layout_version_is_told() -> None:
    assert f"Layout version: {layout.VERSION}." in TEXT
    assert errors.LayoutVersionError.__doc__


def test_picture_of_the_layers_is_the_tested_one() -> None:
    page = (CHECKOUT / "docs/architecture.md").read_text()
    [picture] = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    drawn = [set(re.split(r" {2,}", line)[0].split()) for line in picture.splitlines()]
    assert drawn == LAYERS[::-1]
