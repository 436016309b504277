"""Earlier versions of a subset: kept, named, bounded in number, and readable by who names them."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clip_assets import layout
from clip_assets.cli import main
from clip_assets.commands.reshard import _file_of
from clip_assets.contrast.side_by_side import compared
from clip_assets.errors import ConfigurationError, MissingArtifactError
from clip_assets.layout import Key
from clip_assets.pool import subset_versions
from clip_assets.storage.manifests import Manifest
from clip_assets.subsets import subset_files
from clip_assets_tests.outcomes import Outcomes, Pair

NAME = Key("mine")


@pytest.fixture
def made(made: Outcomes) -> Outcomes:
    """Nine pairs."""
    made.add(0, [Pair(f"caption {n}", width=100 * n) for n in range(9)])
    made.metadata()
    return made


def wide(made: Outcomes, width: int) -> Manifest:
    """The subset of what is at least so wide."""
    made.set(subsets={"mine": {"where": f"original_width >= {width}"}})
    return made.subset("mine")


def listed(made: Outcomes, name: str) -> int:
    with made.store.local(subset_versions.path_of(made.pool, name)) as file:
        return len(np.load(file))


def told(manifest: Manifest) -> list[str]:
    versions = [output.sha256[:12] for output in subset_versions.files(manifest)][1:]
    assert manifest.report.figures["earlier_versions"] == versions[::-1]
    return versions


def test_a_version_means_the_same_ever_after(made: Outcomes) -> None:
    first = wide(made, 500)
    assert told(first) == []
    one = first.report.figures["version"]
    second = wide(made, 600)
    assert told(second) == [one]
    assert second.report.figures["before"]["removed_uids"] == 1
    third = wide(made, 700)
    two = second.report.figures["version"]
    assert told(third) == [two, one]
    assert [listed(made, f"mine@{v}") for v in (one, two)] == [4, 3]
    assert [listed(made, name) for name in ("mine", f"mine@{third.report.figures['version']}")] == [
        2,
        2,
    ]
    # What comes back is the newest one again, and not kept twice.
    again = wide(made, 500)
    assert again.report.figures["version"] == one
    assert told(again) == [third.report.figures["version"], two]
    assert listed(made, f"mine@{one[:6]}") == 4
    with pytest.raises(ConfigurationError, match=f"no such version.*{one}"):
        listed(made, "mine@ffffffff")


def test_a_definition_that_lists_the_same_makes_no_version(made: Outcomes) -> None:
    first = wide(made, 500)
    second = wide(made, 450)
    assert told(second) == []
    assert second.report.figures["version"] == first.report.figures["version"]


def test_old_ones_go(made: Outcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subset_versions, "KEPT", 2)
    for width in (100, 200, 300, 400):
        last = wide(made, width)
    kept = [path for path in made.store.list(layout.SUBSETS) if path.count("/") == 2]
    assert sorted(kept) == sorted(layout.subset_version("mine", version) for version in told(last))
    assert len(kept) == 2
    assert [listed(made, f"mine@{version}") for version in told(last)] == [6, 7]


def test_a_killed_run_loses_no_version(made: Outcomes, monkeypatch: pytest.MonkeyPatch) -> None:
    one = wide(made, 500).report.figures["version"]
    with monkeypatch.context() as patch:
        patch.setattr(subset_files, "Report", None)
        with pytest.raises(TypeError):
            wide(made, 600)
    again = wide(made, 600)
    assert told(again) == [one]
    assert listed(made, f"mine@{one}") == 4


def test_who_names_a_version_gets_it(made: Outcomes, tmp_path: Path) -> None:
    one = wide(made, 500).report.figures["version"]
    wide(made, 600)
    tally = compared(made.pool, ["mine", f"mine@{one}"])
    assert tally.pairs.tolist() == [3, 4]
    assert tally.common[0].tolist() == [3, 3]
    with pytest.raises(MissingArtifactError):
        compared(made.pool, ["mine", "no_filter"])
    settings = tmp_path / "pool.yaml"
    settings.write_text("subsets:\n  mine: {where: original_width >= 600}\n")
    common = ["--root", str(made.store.base), "--pool", str(settings)]
    done = CliRunner().invoke(main, ["subset", "versions", "mine", *common])
    assert done.exit_code == 0, done.output
    assert [line.partition(" ")[0] for line in done.output.splitlines()][1] == f"mine@{one}"
    root = str(made.store.base)
    (Path(root) / layout.SETTINGS_FILE).write_bytes(settings.read_bytes())
    assert _file_of(f"mine@{one}", root).endswith(layout.subset_version("mine", one))
    assert _file_of("mine", root).endswith(layout.subset("mine"))
    for name in ("a/mine", "mine.npy"):
        assert _file_of(name, root) == name
    with pytest.raises(ConfigurationError, match=r"'other': found no such subset.*expected one of"):
        _file_of("other", root)
