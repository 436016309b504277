"""Names of a package that are imported when somebody asks for them.

What the names are is said by each package that has such a surface.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def surface(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package.

    Args:
        package: its name.
        homes: by name, the module below it that defines that.

    Returns:
        What gives the value of a name; AttributeError for others.
    """

    def named(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return named
