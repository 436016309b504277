"""One declaration of needs, read by the executors themselves."""

import os
import subprocess
import sys

import dagster as dg
import pytest
from dagster_k8s.job import get_user_defined_k8s_config

from clip_assets.errors import ConfigurationError
from clip_assets.orchestration import executors


def test_kubernetes_reads_the_declared_resources() -> None:
    tags = executors.needs(cpus=4, gpus=1, memory_gib=8)
    config = get_user_defined_k8s_config({"dagster-k8s/config": _as_tag(tags)})
    assert config.container_config["resources"]["limits"] == {
        "cpu": "4",
        "memory": "8Gi",
        "nvidia.com/gpu": "1",
    }
    assert config.pod_spec_config["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_a_step_without_accelerator_asks_for_none() -> None:
    tags = executors.needs(cpus=2)
    config = get_user_defined_k8s_config({"dagster-k8s/config": _as_tag(tags)})
    assert "nvidia.com/gpu" not in config.container_config["resources"]["limits"]
    assert tags["dagster-ray/config"]["num_gpus"] == 0


@pytest.mark.parametrize(
    ("backend", "name"), [("local", "local"), ("in_process", "in_process"), ("k8s", "k8s")]
)
def test_variable_picks_the_executor(
    backend: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(executors.VARIABLE, backend)
    assert executors.executor().name == name


def test_unknown_executor_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(executors.VARIABLE, "slurm")
    with pytest.raises(ConfigurationError, match=r"local \| in_process \| ray \| k8s"):
        executors.executor()


def test_executor_whose_package_is_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(executors.VARIABLE, "ray")
    with pytest.raises(ConfigurationError, match=r"pip install 'clip-assets\[ray\]'"):
        executors.executor()


def test_only_embeddings_want_an_accelerator() -> None:
    from clip_assets.definitions import defs

    wanting = {
        asset.key.to_user_string()
        for asset in defs.resolve_asset_graph().assets_defs
        for op in [asset.op]
        if op.tags and '"num_gpus": 1' in str(op.tags.get("dagster-ray/config"))
    }
    pools = {
        asset.key.to_user_string(): asset.op.pool
        for asset in defs.resolve_asset_graph().assets_defs
        if isinstance(asset.op, dg.OpDefinition) and asset.op.pool
    }
    assert wanting == {"embeddings"}
    assert pools["embeddings"] == executors.GPU_POOL


def test_a_step_declares_as_many_accelerators_as_it_takes() -> None:
    told = "from clip_assets.defs.embeddings import embeddings; print(embeddings.op.tags)"
    variables = os.environ | {executors.PER_STEP: "2"}
    done = subprocess.run(
        [sys.executable, "-c", told], env=variables, capture_output=True, text=True, check=True
    )
    assert '"num_gpus": 2' in done.stdout
    assert '"nvidia.com/gpu": "2"' in done.stdout


@pytest.mark.parametrize("value", ["0", "-1", "two", ""])
def test_a_number_of_accelerators_that_is_none_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(executors.PER_STEP, value)
    with pytest.raises(ConfigurationError, match=executors.PER_STEP):
        executors.devices_per_step()


def _as_tag(tags: dict[str, object]) -> str:
    import json

    return json.dumps(tags["dagster-k8s/config"])
