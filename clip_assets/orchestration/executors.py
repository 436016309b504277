"""What a step needs, and who runs it.

The one place that knows executors. A step declares cores, accelerators and memory once;
``needs`` says it in the words of every backend, and each backend ignores the others' tags.
``CLIP_ASSETS_EXECUTOR`` picks the backend; asset code does not know which.
"""

import os
from typing import Any

import dagster as dg

from clip_assets.errors import ConfigurationError
from clip_assets.orchestration.variables import whole_number

GPU_POOL = "gpu"
INDEX_POOL = "index"

VARIABLE = "CLIP_ASSETS_EXECUTOR"
PER_STEP = "CLIP_ASSETS_DEVICES_PER_STEP"

BACKENDS = ("local", "in_process", "ray", "k8s")


def needs(*, cpus: int = 1, gpus: int = 0, memory_gib: int = 2) -> dict[str, Any]:
    """Op tags of a step.

    Args:
        cpus: cores.
        gpus: whole accelerators.
        memory_gib: memory.
    """
    resources = {"cpu": str(cpus), "memory": f"{memory_gib}Gi"}
    limits = resources | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    kubernetes: dict[str, Any] = {
        "container_config": {"resources": {"requests": resources, "limits": limits}}
    }
    if gpus:
        kubernetes["pod_spec_config"] = {
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
        }
    return {
        "dagster-k8s/config": kubernetes,
        "dagster-ray/config": {"num_cpus": cpus, "num_gpus": gpus, "memory": memory_gib * 2**30},
    }


def devices_per_step() -> int:
    """Accelerators that a step which embeds declares.

    Tags are written when the code location is loaded, before any pool is known: only the
    variable of the setting counts. A step that gets fewer than its pool asks for fails.

    Raises:
        ConfigurationError: the variable is no number.
    """
    return whole_number(PER_STEP, 1)


def is_local() -> bool:
    """Whether steps run on the machine of the run."""
    return _backend() in ("local", "in_process")


def _backend() -> str:
    return os.environ.get(VARIABLE, "local")


def executor() -> dg.ExecutorDefinition:
    """The executor of the code location.

    Raises:
        ConfigurationError: ``CLIP_ASSETS_EXECUTOR`` names none, or its package is missing.
    """
    backend = _backend()
    match backend:
        case "local":
            # A fork server that has Dagster loaded starts a step in a fraction of a spawn.
            return dg.multiprocess_executor.configured(
                {"start_method": {"forkserver": {"preload_modules": ["clip_assets.definitions"]}}},
                name="local",
            )
        case "in_process":
            return dg.in_process_executor
        case "ray":
            return _installed("dagster_ray", "ray_executor", "ray").configured(
                # Workers find the dagster command and this package where the driver does.
                {"ray": {"env_vars": ["PATH", "PYTHONPATH", "DAGSTER_HOME", "CLIP_ASSETS_ROOT"]}},
                name="ray",
            )
        case "k8s":
            return _installed("dagster_k8s", "k8s_job_executor", "k8s")
        case _:
            raise ConfigurationError(
                VARIABLE, repr(backend), " | ".join(BACKENDS), "Set one of them."
            )


def _installed(module: str, name: str, extra: str) -> Any:
    import importlib

    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigurationError(
            VARIABLE,
            f"{extra!r} without the package {module}",
            "the package installed",
            f"Run: pip install 'clip-assets[{extra}]'",
        ) from error
