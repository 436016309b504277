"""What of a pool is done, missing, stale or failed, and which partitions a person means.

Read from manifests alone; nothing here imports the orchestrator.
"""

import re
from collections.abc import Iterable, Sequence

from clip_assets.errors import ConfigurationError
from clip_assets.layout import Key
from clip_assets.pool.asset import Asset
from clip_assets.pool.pool import Axis, Pool


def unfinished(pool: Pool, assets: Iterable[Asset], axis: Axis) -> list[Key]:
    """Keys of an axis for which at least one of its assets is not done."""
    return _with_state(pool, assets, axis, ("missing", "stale", "failed"))


def failed(pool: Pool, assets: Iterable[Asset], axis: Axis) -> list[Key]:
    """Keys of an axis for which at least one of its assets failed."""
    return _with_state(pool, assets, axis, ("failed",))


def _with_state(
    pool: Pool, assets: Iterable[Asset], axis: Axis, wanted: Sequence[str]
) -> list[Key]:
    keys = pool.keys(axis)
    states = [asset.states(pool, keys) for asset in assets if asset.axis == axis]
    return [key for key in keys if any(state[key] in wanted for state in states)]


def ranges(keys: Iterable[Key], order: Sequence[Key]) -> list[tuple[Key, Key]]:
    """The keys as first and last of runs that are contiguous in ``order``."""
    place = {key: number for number, key in enumerate(order)}
    runs: list[tuple[Key, Key]] = []
    for key in sorted(keys, key=place.__getitem__):
        if runs and place[runs[-1][1]] + 1 == place[key]:
            runs[-1] = (runs[-1][0], key)
        else:
            runs.append((key, key))
    return runs


def chosen(spec: str, pool: Pool, assets: Iterable[Asset], axis: Axis = "partition") -> list[Key]:
    """The keys of an axis that a ``--partitions`` argument means.

    Args:
        spec: ``missing`` (everything not done), ``failed``, ``all``, keys ``a,b`` or ranges
            ``a..b``, also mixed; names of subsets beside partitions.
        pool: the pool.
        assets: those that count.
        axis: whose keys; those of other axes are passed over.

    Raises:
        ConfigurationError: a key that the pool does not have.
    """
    match spec:
        case "missing":
            return unfinished(pool, assets, axis)
        case "failed":
            return failed(pool, assets, axis)
        case "all":
            return pool.keys(axis)
        case _:
            named = {key for item in spec.split(",") for key in _named(item.strip(), pool)}
            return [key for key in pool.keys(axis) if key in named]


def names_subsets(spec: str, pool: Pool) -> bool:
    """Whether a ``--partitions`` argument names a subset."""
    return not {item.strip() for item in spec.split(",")}.isdisjoint(pool.keys("subset"))


def _named(item: str, pool: Pool) -> list[Key]:
    if item in pool.keys("subset"):
        return [Key(item)]
    every = pool.partitions
    first, dots, last = item.partition("..")
    ends = [first, last] if dots else [first]
    unknown = [end for end in ends if end not in every]
    if unknown or not re.fullmatch(r"\d+", first) or ends[0] > ends[-1]:
        known = f"{every[0]}..{every[-1]}" if every else "no partition yet"
        raise ConfigurationError(
            "--partitions",
            repr(item),
            f"missing, failed, all, keys of the pool ({known}), or subsets "
            f"({', '.join(pool.keys('subset'))})",
            "See: clip-assets status",
        )
    return [key for key in every if ends[0] <= key <= ends[-1]]
