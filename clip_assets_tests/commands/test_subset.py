"""``clip-assets subset``: definitions added to a file that people write, trials, and folders."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from clip_assets import layout
from clip_assets.errors import ConfigurationError
from clip_assets.graph import open_pool
from clip_assets.layout import Key
from clip_assets.orchestration.instance import opened
from clip_assets.orchestration.partitions import registered
from clip_assets.settings.adding import add_subset
from clip_assets.storage.store import Store
from clip_assets_tests.commands.conftest import Cli
from clip_assets_tests.outcomes import Outcomes, Pair


@pytest.fixture
def made(local_store: Store) -> Outcomes:
    """Six pairs in two partitions."""
    made = Outcomes(local_store)
    for number in range(2):
        made.add(number, [Pair(f"caption {n}", width=100 * n) for n in range(3)])
    made.metadata()
    return made


@pytest.fixture
def root(made: Outcomes) -> Path:
    return Path(made.store.base)


def test_a_subset_is_defined_made_and_known_to_dagster(
    made: Outcomes, root: Path, run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (root / layout.SETTINGS_FILE).write_text(
        "# ours\nsubsets:  # mine\n  # the last\n  a: {sample: 1}\n"
    )
    tried = run("subset", "wide", "--where", "original_width >= 100", "--dry-run")
    assert "wide: 4 of 6 pairs (where 2)" in tried.output
    assert not made.pool.settings.subsets.keys() & {"wide"}
    done = run("subset", "wide", "--where", "original_width >= 100")
    assert done.exit_code == 0, done.output
    assert "wide: 4 of 6 pairs (where 2)" in done.output
    assert len(made.uids("wide")) == 4
    text = (root / layout.SETTINGS_FILE).read_text()
    assert text.startswith("# ours\nsubsets:  # mine\n  wide: {where: original_width >= 100}\n")
    assert text.endswith("  # the last\n  a: {sample: 1}\n")
    with opened() as instance:
        assert Key("wide") in registered(instance, "subset")
    # Again, it is there; with another definition it is refused.
    assert run("subset", "wide", "--where", "original_width >= 100").exit_code == 0
    assert run("subset", "wide").exit_code == 0
    assert (root / layout.SETTINGS_FILE).read_text() == text
    refused = run("subset", "wide", "--where", "true")
    assert (refused.exit_code, "another definition" in refused.output) == (2, True)
    assert open_pool(str(root)).catalog.require(layout.SUBSETS, Key("wide")).report.rows_out == 4


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["nothing"], "one of no_filter, basic_filter"),
        (["x", "--where", "widht > 1", "--dry-run"], "perhaps"),
        (["x", "--baseline", "best"], "needs one of baseline"),
        (["x", "--by", "similarity"], "either threshold or fraction"),
        (["x", "--of", "nofilter", "--sample", "1"], "nearest is no_filter"),
        (["x", "--define", "{where: 'true', sample: 1}"], "no such setting"),
        (["x", "--define", "[1]"], "no definition"),
        (["x/y", "--where", "true"], "no name of letters"),
        (["x", "--where", "true", "--output", "a.npy"], "belongs to --metadata"),
        (["x", "--where", "true", "--metadata", "/no/such"], "says where"),
    ],
)
@pytest.mark.usefixtures("made")
def test_what_is_wrong_is_said_before_anything_is_written(
    run: Cli, root: Path, words: list[str], fault: str
) -> None:
    done = run("subset", *words)
    assert done.exit_code == 2
    assert fault in done.output
    assert not (root / layout.SETTINGS_FILE).exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "subsets:\n  new: {sample: 0.5}\n"),
        ("# only a comment", "# only a comment\nsubsets:\n  new: {sample: 0.5}\n"),
        ("index: {flat_limit: 9}", "index: {flat_limit: 9}\nsubsets:\n  new: {sample: 0.5}\n"),
        ("subsets:\n", "subsets:\n  new: {sample: 0.5}\n"),
        ("subsets:", "subsets:\n  new: {sample: 0.5}\n"),
        (
            "subsets: # these\n    # the first\n    a:\n        where: 'true' # all\n\nindex: {}\n",
            "subsets: # these\n    new: {sample: 0.5}\n"
            "    # the first\n    a:\n        where: 'true' # all\n\nindex: {}\n",
        ),
        ("subsets:\r\n  a: {of: b}\r\n", "subsets:\r\n  new: {sample: 0.5}\r\n  a: {of: b}\r\n"),
        ("'subsets':\n  a: {sample: 1}", "'subsets':\n  new: {sample: 0.5}\n  a: {sample: 1}"),
        ("---\nsubsets:\n  a: &b {sample: 1}\n  c: *b\n...\n",
         "---\nsubsets:\n  new: {sample: 0.5}\n  a: &b {sample: 1}\n  c: *b\n...\n"),
        ("subsets: {a: {sample: 1}}\n", None),
        ("{subsets: {}}\n", None),
        ("{}\n", None),
        ("x: &s\n  a: {sample: 1}\nsubsets: *s\n", None),
        ("index: {}\n...\n", None),
        ("? subsets\n: a: {sample: 1}\n", None),
    ],
)  # fmt: skip
def test_a_definition_is_added_and_nothing_else_changes(
    tmp_path: Path, before: str, after: str | None
) -> None:
    file = tmp_path / "pool.yaml"
    file.write_bytes(before.encode())
    file.chmod(0o640)
    if after is None:
        with pytest.raises(ConfigurationError, match=r"add there: new: \{sample: 0.5\}"):
            add_subset(file, "new", {"sample": 0.5})
        assert file.read_bytes() == before.encode()
        return
    add_subset(file, "new", {"sample": 0.5})
    assert file.read_bytes().decode() == after
    assert yaml.safe_load(after)["subsets"]["new"] == {"sample": 0.5}
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["pool.yaml"]


def metadata(folder: Path) -> tuple[list[str], np.ndarray]:
    """Two files as DataComp publishes them; their uids, and the scores by ViT-L/14."""
    random = np.random.default_rng(5)
    uids = [random.bytes(16).hex() for _ in range(300)]
    scores = random.normal(0.2, 0.1, 300).astype(np.float32)
    scores[::10] = np.round(scores[::10], 1)
    scores[7] = np.nan
    for number in range(2):
        rows = slice(150 * number, 150 * (number + 1))
        table = pa.table(
            {
                "uid": uids[rows],
                "text": [f"caption of {n}" for n in range(150)],
                "clip_l14_similarity_score": pa.array(scores[rows]),
            }
        )
        pq.write_table(table, folder / f"{number}.parquet")
    (folder / "notes.txt").write_text("no metadata")
    return uids, scores


def test_a_command_ends_without_complaints_of_libraries(tmp_path: Path) -> None:
    (folder := tmp_path / "metadata").mkdir()
    metadata(folder)
    choice = ["subset", "f", "--where", "text LIKE '%7'", "--metadata", str(folder), "--dry-run"]
    script = "from clip_assets.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *choice], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("f: 30 of 300 pairs")


def test_datacomps_folder_is_chosen_from_without_a_pool(run: Cli, tmp_path: Path) -> None:
    (folder := tmp_path / "metadata").mkdir()
    uids, scores = metadata(folder)
    output = tmp_path / "out" / "f.npy"
    compat = "{baseline: clip_score, arch: l14, fraction: 0.3, datacomp_compat: true}"
    done = run("subset", "f", "--define", compat, "--metadata", folder, "--output", output)
    assert done.exit_code == 0, done.output
    # As the script does: the threshold is the n-th from 0, and rows at it are kept.
    kept = scores >= -np.sort(-scores)[int(300 * 0.3)]
    oracle = np.array(
        [(int(u[:16], 16), int(u[16:], 16)) for u, k in zip(uids, kept, strict=True) if k],
        np.dtype("u8,u8"),
    )
    oracle.sort()
    np.save(saved := io.BytesIO(), oracle)
    assert output.read_bytes() == saved.getvalue()
    # With this ending it is the bare array, which numpy.memmap reads.
    bare = tmp_path / "out" / "f.memmap"
    assert (
        run("subset", "f", "--define", compat, "--metadata", folder, "--output", bare).exit_code
        == 0
    )
    assert np.memmap(bare, "u8,u8", "r").tolist() == oracle.tolist()
    done = run("subset", "g", "--from", bare, "--metadata", folder, "--dry-run", "--json")
    assert json.loads(done.output)["listed"] == len(oracle)
    done = run("subset", "no_filter", "--metadata", folder, "--dry-run", "--json")
    told = json.loads(done.output)
    assert (told["rows"], told["listed"], told["distinct"]) == (300, 300, 300)
    for words, fault in (
        (["--by", "clip_b32_similarity_score", "--fraction", "1"], "perhaps clip_l14_similarity"),
        (["--baseline", "basic_filter", "--language", "any"], "also original_height"),
        (["--where", "status = 'success'"], "the column status"),
    ):
        done = run("subset", "g", *words, "--metadata", folder, "--output", output)
        assert (done.exit_code, fault in done.output) == (2, True), done.output
    assert output.read_bytes() == saved.getvalue()
    done = run("subset", "no_filter", "--metadata", tmp_path / "out", "--dry-run")
    assert "no parquet file" in done.output


def test_metadata_are_written_for_datacomps_scripts(
    made: Outcomes, run: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "metadata"
    assert made.pool.partitions
    done = run("metadata", folder, "--own-as", "b32")
    assert "6 pairs of 2 partitions" in done.output
    scores = pq.read_table(folder)["clip_b32_similarity_score"]
    assert (len(scores), scores.null_count) == (6, 0)
    assert run("metadata", folder).exit_code == 2
