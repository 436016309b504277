"""Subsets that name each other: that each is there, and that none is made of itself."""

import difflib
from collections.abc import Iterable, Iterator, Mapping

from clip_assets.settings.bases import SubsetSettings

NESTED = 50
"""Definitions in each other, by name or in place."""

COMMANDS = ("compare", "versions")
"""Of ``clip-assets subset``; a subset of such a name could not be made by it."""

Subsets = Mapping[str, SubsetSettings]
"""Definitions by name."""


def check(subsets: Subsets) -> None:
    """Refuse definitions that name what is no subset or each other, or are called as a command.

    Raises:
        ValueError: with what is wrong.
    """
    done: set[str] = set()
    for name in subsets:
        if name in COMMANDS:
            raise ValueError(f"{name!r} is a command: clip-assets subset {name}; choose another")
        _visit(name, subsets, (), done)


def check_names(where: str, names: Iterable[str], subsets: Subsets) -> None:
    """Refuse names that no subset has.

    Raises:
        ValueError: with the nearest name.
    """
    for name in names:
        if name not in subsets:
            nearest = difflib.get_close_matches(name, list(subsets), 1)
            told = f"; the nearest is {nearest[0]}" if nearest else ""
            raise ValueError(f"{where} names {name!r}, which is no subset{told}")


def _visit(name: str, subsets: Subsets, above: tuple[str, ...], done: set[str]) -> None:
    if name in done:
        return
    if name in above:
        ring = " -> ".join((*above[above.index(name) :], name))
        raise ValueError(f"{ring}: a subset cannot be made of itself")
    check_names(above[-1] if above else name, [name], subsets)
    if len(above) >= NESTED:
        raise ValueError(f"{above[0]}: more than {NESTED} subsets are made of each other")
    for other in named(subsets[name]):
        _visit(other, subsets, (*above, name), done)
    done.add(name)


def named(definition: SubsetSettings) -> Iterator[str]:
    """Names of other subsets in a definition, also in those that stand in it."""
    for other in (*definition.others, *([definition.of] if definition.of is not None else [])):
        if isinstance(other, str):
            yield other
        else:
            yield from named(other)
