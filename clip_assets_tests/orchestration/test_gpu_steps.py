"""Steps that want an accelerator are limited, and each has its own; others run beside them."""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from clip_assets_tests.pools import CHECKOUT

STEPS = """
import json, os, time
from pathlib import Path
import dagster as dg
from clip_assets import devices
from clip_assets.orchestration.executors import GPU_POOL, executor, needs
from clip_assets.errors import DeviceBusyError

FOLDER = Path({folder!r})

def mark(name):
    (FOLDER / name).touch()

def work(name, device, others):
    # Steps start seconds after each other: one stays until those that it is to meet came.
    mark(f"{{name}}.begun")
    start = time.time()
    # The test fails where they never come; a step must not outlive it.
    while len(list(FOLDER.glob(others[0]))) < others[1] and time.time() < start + 200:
        time.sleep(0.05)
    line = json.dumps([name, device, start, time.time()])
    (FOLDER / f"{{name}}.json").write_text(line)

def gpu_step(number):
    name = f"gpu{{number}}"
    @dg.op(name=name, pool=GPU_POOL, tags=needs(gpus=1))
    def step():
        try:
            with devices.leased({devices!r}, 1, FOLDER):
                work(name, os.environ["CUDA_VISIBLE_DEVICES"], {meets!r})
        except DeviceBusyError:
            mark(f"{{name}}.refused")
            raise
    return step

@dg.op(tags=needs())
def cpu():
    work("cpu", "", ("gpu*.begun", 1))

@dg.job(executor_def=executor())
def steps():
    for number in range(3):
        gpu_step(number)()
    cpu()

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.set_concurrency_slots(GPU_POOL, {limit})
        result = dg.execute_job(dg.reconstructable(steps), instance)
        print(json.dumps(sorted(e.step_key for e in result.all_events if e.is_step_failure)))
"""


def run(
    folder: Path, devices: str, limit: int, meets: tuple[str, int]
) -> tuple[list[list], list[str]]:
    """Intervals [name, device, start, end] of the steps that ended well, and the failed ones.

    Args:
        folder: where steps leave marks.
        devices: that there are.
        limit: of the pool.
        meets: marks that a step waits for while it has its device, and how many.
    """
    config = yaml.safe_load((CHECKOUT / "dagster.yaml").read_text())
    for name in ("storage", "local_artifact_storage", "compute_logs"):
        del config[name]
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(config))
    module = folder / "gpu_steps.py"
    module.write_text(STEPS.format(folder=str(folder), devices=devices, limit=limit, meets=meets))
    process = subprocess.run(
        [sys.executable, module],
        env={"DAGSTER_HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    done = [json.loads(path.read_text()) for path in sorted(folder.glob("?pu*.json"))]
    return done, json.loads(process.stdout.splitlines()[-1])


def overlap(one: list, other: list) -> bool:
    return one[2] < other[3] and other[2] < one[3]


@pytest.mark.slow
def test_two_devices_are_used_by_two_steps_at_a_time(tmp_path: Path) -> None:
    done, failed = run(tmp_path, "0,1", limit=2, meets=("gpu*.begun", 2))
    assert failed == []
    gpu = [step for step in done if step[0].startswith("gpu")]
    assert {step[1] for step in gpu} == {"0", "1"}
    for one, other in combinations(gpu, 2):
        assert not overlap(one, other) or one[1] != other[1], "never two jobs on one card"
    assert any(overlap(one, other) for one, other in combinations(gpu, 2))


@pytest.mark.slow
def test_other_steps_run_beside_a_step_that_has_the_device(tmp_path: Path) -> None:
    done, failed = run(tmp_path, "0", limit=1, meets=("cpu.begun", 1))
    assert failed == []
    gpu = [step for step in done if step[0].startswith("gpu")]
    assert len(gpu) == 3
    assert not any(overlap(one, other) for one, other in combinations(gpu, 2))
    (cpu,) = (step for step in done if step[0] == "cpu")
    assert any(overlap(cpu, other) for other in gpu)


@pytest.mark.slow
def test_wrong_limit_is_an_error_and_never_two_jobs_on_one_card(tmp_path: Path) -> None:
    done, failed = run(tmp_path, "0", limit=3, meets=("gpu*.refused", 1))
    gpu = [step for step in done if step[0].startswith("gpu")]
    assert failed, "a step found no free device"
    assert len(gpu) + len(failed) == 3
    assert not any(overlap(one, other) for one, other in combinations(gpu, 2))
