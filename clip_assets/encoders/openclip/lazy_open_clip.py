"""open_clip, imported without PyTorch's compiler.

It imports torchvision, for which one function asks PyTorch's compiler whether it is there, and
timm, one of whose models marks methods that the compiler shall leave alone. Either imports the
whole compiler at once: 2.7 of 6.5 CPU seconds, in every process that embeds or searches, and 6.5
of 12 where Python may not keep bytecode. timm imports wandb too if it is there, as it is with
img2dataset, for a summary that nothing here writes: another 0.3, and a hook into what is printed.

``CLIP_ASSETS_LAZY_COMPILER=0`` switches this off, should a version of these libraries not bear it.
"""

import importlib
import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

VARIABLE = "CLIP_ASSETS_LAZY_COMPILER"
"""``0``: import open_clip as it is. Any other value, or none: without the compiler."""

COMPILER = "torch._dynamo"
UTILS = f"{COMPILER}.utils"

_LOADING = threading.Lock()
# A module is there before it is whole: a thread that met it so would import its parts in another
# order, and Python gives up one of two such threads.


def load() -> None:
    """Import open_clip, and the compiler only if something else needs it.

    What is lost is its being told to leave those methods of timm alone. For threads, too.
    """
    with _LOADING:
        if "open_clip" in sys.modules or COMPILER in sys.modules:
            return
        # Of the process and not of a pool: a module is imported once, whatever is loaded then.
        is_lazy = os.environ.get(VARIABLE) != "0"  # noqa: TID251
        with without_compiler() if is_lazy else nullcontext(), _without("wandb"):
            importlib.import_module("open_clip")


@contextmanager
def without_compiler() -> Generator[None]:
    """Stand-ins for the compiler, which give way to it when asked for more than they know."""
    stand_ins = [_Compiler(COMPILER), _Utils(UTILS)]
    sys.modules.update({module.__name__: module for module in stand_ins})
    try:
        yield
    finally:
        for module in stand_ins:
            module.leave()


@contextmanager
def _without(name: str) -> Generator[None]:
    """Let a module that nobody has imported yet not be found."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # pyright: ignore[reportArgumentType]  (as Python documents it)
    try:
        yield
    finally:
        del sys.modules[name]


class _StandIn(ModuleType):
    """Answers for a module until it is asked for anything else."""

    def leave(self) -> None:
        """Make room for the module itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def __getattr__(self, name: str) -> Any:
        # Everybody looks for some names; the path of the package is what other submodules need.
        if name.startswith("__") and (name, self.__name__) != ("__path__", COMPILER):
            raise AttributeError(name)
        return getattr(self._real(), name)

    def _real(self) -> Any:
        for name in (COMPILER, UTILS):
            if isinstance(stand_in := sys.modules.get(name), _StandIn):
                stand_in.leave()
        return importlib.import_module(self.__name__)


class _Compiler(_StandIn):
    @staticmethod
    def disable(function: Any = None, *_: Any, **__: Any) -> Any:
        return function


class _Utils(_StandIn):
    @staticmethod
    def is_compile_supported(device_type: str) -> Any:
        return importlib.import_module(UTILS).is_compile_supported(device_type)
