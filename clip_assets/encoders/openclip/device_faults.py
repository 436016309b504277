"""Devices that run out of memory or are lost: told apart from other errors, and said clearly.

See ``encoders.openclip.towers`` for what becomes of a batch that does not fit.
"""

import torch

from clip_assets.errors import DeviceLostError, ModelError

_CPU_MARKS = (
    "DefaultCPUAllocator",
    "bad_alloc",
    "out of memory",
    "could not create a primitive",
    "could not create a memory",
)
"""What PyTorch and oneDNN say, in a plain ``RuntimeError``, when the machine has no memory."""


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of an accelerator or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(mark in str(error) for mark in _CPU_MARKS)


def too_small(model: str, device: torch.device) -> ModelError:
    """The error for a device that cannot hold one sample."""
    return ModelError(
        f"device {device}",
        "no memory for a batch of one sample",
        f"memory for {model} and one sample",
        "Use a device with more memory, a smaller model or fewer processes on this one.",
    )


def absent(error: Exception, device: torch.device) -> DeviceLostError:
    """The error for an accelerator that is promised and not there."""
    return DeviceLostError(
        f"device {device}",
        f"{type(error).__name__}: {str(error).splitlines()[0]}",
        "an accelerator that can be used",
        "Correct CUDA_VISIBLE_DEVICES, or set devices: none to compute on the processor.",
    )


def lost(error: Exception, device: torch.device) -> DeviceLostError:
    """The error for an accelerator that stopped working."""
    return DeviceLostError(
        f"device {device}",
        f"{type(error).__name__}: {str(error).splitlines()[0]}",
        "an accelerator that computes",
        "Look at nvidia-smi and the kernel's log, then run again: finished chunks are kept.",
    )
