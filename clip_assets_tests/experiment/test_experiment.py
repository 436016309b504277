"""Subsets are compared from the command line; what was stopped goes on to the same end."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner

from clip_assets import layout
from clip_assets.cli import main
from clip_assets.demo.exam import write_exam
from clip_assets.encoders.openclip.trainee import Trainee
from clip_assets.errors import ConfigurationError, SourceMissingError
from clip_assets.experiment import at_scale
from clip_assets.experiment.comparison import Comparison
from clip_assets.experiment.experimenting import compare
from clip_assets.experiment.held_out import HeldOut
from clip_assets.layout import Key
from clip_assets.storage import uids
from clip_assets.storage.store import Store
from clip_assets_tests import models
from clip_assets_tests.streaming.conftest import Streamed, uid_of

NO_FILTER, BASIC = "no_filter", "basic_filter"


@pytest.fixture
def made(tmp_path: Path) -> Streamed:
    made = Streamed(Store.open(str(tmp_path / "pool")))
    made.add(0, [range(40)])
    for name, numbers in {NO_FILTER: range(40), BASIC: range(1, 40, 2)}.items():
        listed = uids.pairs(pa.chunked_array([[uid_of(number) for number in numbers]], pa.string()))
        np.save(tmp_path / "listed.npy", uids.in_order(listed))
        content = (tmp_path / "listed.npy").read_bytes()
        files = {layout.subset(name): lambda part, content=content: part.write_bytes(content)}
        made.make(layout.SUBSETS, Key(name), len(numbers), files)
    return made


@pytest.fixture(scope="session")
def exam(tmp_path_factory: pytest.TempPathFactory) -> str:
    write_exam(file := tmp_path_factory.mktemp("exam") / "exam.tar", 24)
    return str(file)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{models.write_model(tmp_path_factory.mktemp('m') / 'model', models.SMALL)}"


def plan(exam: str, small: str, **fields: Any) -> Comparison:
    told: dict[str, Any] = {
        "subsets": (NO_FILTER, BASIC),
        "samples": 40,
        "batch_size": 8,
        "model": small,
        "learning_rate": 1e-3,
        "warmup": 2,
        "weight_decay": 0.1,
        "seeds": (0, 1),
        "classify": exam,
        "retrieve": exam,
        "looks": 2,
    }
    return Comparison(**told | fields)


def test_subsets_are_compared_on_the_command_line(
    made: Streamed, exam: str, small: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    command = ["experiment", NO_FILTER, BASIC, "--root", str(tmp_path / "pool"), "--seeds", "0,1"]
    command += ["--classify", exam, "--retrieve", exam, "--output", str(output), "--looks", "2"]
    command += ["--samples", "40", "--batch-size", "8", "--model", small, "--warmup", "2"]
    result = CliRunner().invoke(main, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = json.loads((output / "experiment.json").read_text())
    assert [line["subset"] for line in told["lines"]] == [NO_FILTER, BASIC]
    assert [line["samples"] for line in told["lines"]] == [30, 20]
    assert [line["seen"] for line in told["lines"]] == [1.33, 2.0]
    first, second = told["lines"]
    assert first["against"] == {}
    assert set(second["against"]) == set(second["shares"]) >= {"accuracy", "text_to_image@5"}
    assert [look["samples"] for look in second["curves"]["1"]] == [16, 40]
    assert second["losses"]["0"][-1][0] == 40
    assert f"{BASIC} " in result.output
    page = (output / "experiment.html").read_text()
    assert page.count("<polyline") == 4 * (1 + len(first["shares"]))
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    # Nothing is trained again.
    times = {file: file.stat().st_mtime_ns for file in output.rglob("result.json")}
    assert CliRunner().invoke(main, command).exit_code == 0
    assert times == {file: file.stat().st_mtime_ns for file in output.rglob("result.json")}
    refused = CliRunner().invoke(main, [*command, "--learning-rate", "0.5"])
    assert "an experiment with other learning_rate" in refused.output


def test_what_was_stopped_ends_as_if_it_was_not(
    made: Streamed, exam: str, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_assets.experiment.training.KEPT_EVERY_S", 0.0)
    chosen = plan(exam, small, subsets=(BASIC,), seeds=(0,))
    whole = compare(made.pool, chosen, tmp_path / "whole")
    learn, steps = Trainee.learn, []

    def stopped(self: Trainee, images: torch.Tensor, captions: list[str]) -> float:
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(self.step)
        return learn(self, images, captions)

    monkeypatch.setattr(Trainee, "learn", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare(made.pool, chosen, tmp_path / "stopped")
    monkeypatch.setattr(Trainee, "learn", learn)
    assert (tmp_path / "stopped" / "runs" / f"{BASIC}-0" / "kept.pt").exists()
    again = compare(made.pool, chosen, tmp_path / "stopped")
    assert again.lines == whole.lines
    assert not list((tmp_path / "stopped").rglob("kept.pt"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"subsets": ()}, "subsets"),
        ({"subsets": (BASIC, BASIC)}, "subsets"),
        ({"classify": "", "retrieve": ""}, "held-out"),
        ({"samples": 4}, "samples"),
        ({"seeds": ()}, "seeds"),
        ({"templates": ("a photo",)}, "template"),
    ],
)
def test_what_cannot_be_compared_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        plan("exam", "demo", **fields)


def test_a_subset_without_a_whole_batch_is_refused(
    made: Streamed, exam: str, small: str, tmp_path: Path
) -> None:
    chosen = plan(exam, small, subsets=(BASIC,), batch_size=24, samples=48)
    with pytest.raises(ConfigurationError, match="20 samples"):
        compare(made.pool, chosen, tmp_path / "out")


def test_held_out_data_of_three_layouts(exam: str, tmp_path: Path) -> None:
    [batch] = HeldOut(exam, "class").batches(32)
    assert batch.images.shape == (24, 3, 32, 32)
    assert all(len(told.split()) == 2 for told in batch.told)
    picture = models.encoded(models.draw(1))
    for name in ("red_circle", "blue star"):
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "1.jpg").write_bytes(picture)
    (tmp_path / "folders" / "blue star" / "2.jpg").write_bytes(b"no image")
    [batch] = HeldOut(str(tmp_path / "folders"), "class").batches(16)
    assert batch.told == ["blue star", "red circle"]
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "classnames.txt").write_text("cat\ndog\n")
    for number in (1, 0, 7):
        (tmp_path / "benchmark" / f"{number}.jpg").write_bytes(picture)
        (tmp_path / "benchmark" / f"{number}.cls").write_text(f"{number}")
    [batch] = HeldOut(str(tmp_path / "benchmark"), "class").batches(16)
    assert batch.told == ["cat", "dog"]
    with pytest.raises(SourceMissingError, match="no images with captions"):
        list(HeldOut(str(tmp_path / "folders")).batches(16))


def test_commands_of_a_scale_and_what_their_runs_wrote(made: Streamed, tmp_path: Path) -> None:
    from open_clip_train.params import parse_args

    for name in (NO_FILTER, BASIC):
        tars = [f"{layout.subset_shard_folder(name)}/{number:08d}.tar" for number in (0, 1)]
        files = {tar: lambda part: part.write_bytes(b"") for tar in tars}
        made.make(layout.SUBSET_SHARDS, Key(name), 1, files)
    output = tmp_path / "out"
    command = ["experiment", NO_FILTER, BASIC, "--root", str(tmp_path / "pool"), "--json"]
    command += ["--output", str(output), "--scale", "small", "--gpus", "2", "--classify", "/net"]
    assert CliRunner().invoke(main, command, catch_exceptions=False).exit_code == 0
    script = (output / "commands.sh").read_text().splitlines()
    assert script[:2] == ["#!/bin/sh", "set -e"]
    words = [shlex.split(line) for line in script[2:]]
    assert [line[:5] for line in words] == [
        ["torchrun", "--nproc_per_node", "2", "-m", "open_clip_train.main"]
    ] * 2
    read = parse_args(words[1][5:])  # its own parser takes them
    assert read.train_data.endswith(f"{BASIC}/{{00000000..00000001}}.tar")
    assert (read.batch_size, read.epochs, read.train_num_samples) == (2048, 8, 1_600_000)
    for name, top1 in ((NO_FILTER, 0.025), (BASIC, 0.031)):
        (folder := output / name / "checkpoints").mkdir(parents=True)
        told = {at_scale.TOP1: top1, "epoch": 8}
        (folder / "results.jsonl").write_text(json.dumps(told) + "\n{torn")
    made_of = at_scale.results((NO_FILTER, BASIC, "third"), at_scale.SCALES["small"], str(output))
    assert made_of.missing == ["third"]
    assert [line.shares["accuracy"].value for line in made_of.lines] == [0.025, 0.031]
    assert made_of.lines[1].against["accuracy"].is_clear
