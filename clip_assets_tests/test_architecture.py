"""The rules of docs/architecture.md, executed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import clip_assets

PACKAGE = Path(clip_assets.__file__).parent
STAGES = {
    "pairs", "dedup", "download", "inference", "metadata", "subsets", "reshard", "stats", "index",
    "publishing",
}  # fmt: skip
LAYERS = [
    {"layout", "schemas", "meanings", "errors", "terminal", "masking", "processes", "surface"},
    {"files"},
    {"settings", "devices"},
    {"storage"},
    {"webdataset", "encoders", "partitions"},
    {"pool"},
    STAGES,
    {"retrieval"},
    {"bricks"},
    {"streaming"},
    {"contrast"},
    {"experiment"},
    {"graph"},
    {"states", "status", "verification"},
    {"service"},
    {"orchestration"},
    {"defs"},
    {"definitions", "components", "doctor", "demo", "cli", "commands", "client"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
INDEX = {  # its sub-packages, and what each may import of the others and of the pool
    "engine": {"engine"},
    "effort": {"engine", "effort"},
    "folder": {"engine", "effort", "folder"},
}
SERVICE = {  # its sub-packages, and what of the service each may import
    "measures": {"measures"},
    "limits": {"measures", "limits"},
    "hosting": {"limits", "hosting"},
    "search": {"measures", "limits", "hosting", "search"},
    "v1": {"measures", "limits", "hosting", "search", "v1"},
    "clip_retrieval": {"measures", "limits", "hosting", "search", "clip_retrieval"},
}
HEAVY = ["torch", "open_clip", "faiss", "autofaiss", "img2dataset", "matplotlib", "pandas"]
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    """The package's part that a module belongs to: its folder, or itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(path: Path) -> list[str]:
    """Every module that a module imports, inside functions too."""
    return [*_imports(path)]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "clip_assets":
            yield from (f"clip_assets.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_imports_go_downwards() -> None:
    used = [
        (path, part_of(path), module.split(".")[1])
        for path in MODULES
        for module in imports(path)
        if module.startswith("clip_assets.")
    ]
    assert [one for one in used if LEVEL[one[2]] > LEVEL[one[1]]] == []
    assert [one for one in used if one[1] != one[2] and {*one[1:]} <= STAGES] == []


def test_an_index_is_searched_and_calibrated_without_a_pool() -> None:
    inside = [(path, path.parent.name) for path in MODULES if path.parent.name in INDEX]
    used = [
        (path, room, module.split(".")[1:3])
        for path, room in inside
        for module in imports(path)
        if module.startswith(("clip_assets.index.", "clip_assets.pool"))
    ]
    assert {room for _, room, _ in used} == {*INDEX}
    assert [one for one in used if one[2][0] == "pool" or one[2][1] not in INDEX[one[1]]] == []


def test_what_a_service_is_made_of_knows_nothing_of_what_is_made_of_it() -> None:
    service = PACKAGE / "service"
    rooms = {path.parent.name for path in service.glob("*/*.py")}
    used = [
        (path, path.parent.name, [*module.split("."), "itself"][2])
        for path in MODULES
        if path.parent.parent == service
        for module in imports(path)
        if module.startswith("clip_assets.service")
    ]
    assert rooms == {*SERVICE} == {room for _, room, _ in used}
    assert [one for one in used if one[2] not in SERVICE[one[1]]] == []


def test_only_the_dagster_layer_imports_dagster() -> None:
    users = {
        part_of(path)
        for path in MODULES
        if any(module.split(".")[0].startswith("dagster") for module in imports(path))
    }
    assert users == {"defs", "orchestration", "definitions", "components"}


def rooms_that_import(*modules: str) -> set[str]:
    return {
        str(path.parent.relative_to(PACKAGE))
        for path in MODULES
        if {*modules} & {module.split(".")[0] for module in imports(path)}
    }


def test_one_room_imports_models_and_few_make_tensors() -> None:
    assert rooms_that_import("open_clip", "torchvision", "safetensors") == {"encoders/openclip"}
    tensors = {"encoders/openclip", "streaming", "experiment", "index"}
    assert rooms_that_import("torch") == tensors


def test_only_settings_and_few_named_places_read_the_environment() -> None:
    readers = {
        str(path.relative_to(PACKAGE)) for path in MODULES if "os.environ" in path.read_text()
    }
    assert readers <= {
        "orchestration/executors.py",  # which executor
        "orchestration/variables.py",  # numbers that shape the code location
        "orchestration/resources.py",  # a root with a secret
        "files/filesystem.py",  # what urls of sources name
        "orchestration/fill.py",  # whether assets are partitioned in this process
        "devices.py",  # CUDA's own variable
        "files/pinned.py",  # the desktop's own variable
        "encoders/openclip/lazy_open_clip.py",  # whether a library is imported whole
        "webdataset/blurring.py",  # a library's switch against look-ups
    }


def test_modules_are_small() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in MODULES}
    # The layout is one contract, read from top to bottom.
    assert lines.pop(PACKAGE / "layout.py") <= 500
    assert [(path, count) for path, count in lines.items() if count > 300] == []


LOAD = """
import sys
import clip_assets.definitions
print(*sorted(set(sys.argv[1:]) & set(sys.modules)))
"""


def test_loading_the_code_location_is_cheap() -> None:
    command = [sys.executable, "-c", LOAD, *HEAVY]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert loaded == [], "heavy libraries are imported by steps, not by the location"


def test_stages_do_not_load_dagster() -> None:
    probe = "import sys; from clip_assets import status; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_every_part_has_its_tests() -> None:
    tests = Path(__file__).parent
    missing = {
        name
        for name in {part_of(path) for path in MODULES}
        if not (tests / name).is_dir() and not (tests / f"test_{name}.py").is_file()
    }
    assert missing == set()
