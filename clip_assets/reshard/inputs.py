"""Which tars an input has: a pool's shards, or the tars of a folder; and what it must not give.

Tars are found by listing; a number that is missing among their names is no end.
"""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import SourceMissingError
from clip_assets.files.filesystem import filesystem, uri_of
from clip_assets.files.listing import exact_part, is_glob, listed
from clip_assets.layout import Key
from clip_assets.pool import takedowns
from clip_assets.storage.store import Store
from clip_assets.storage.uids import UidPairs
from clip_assets.webdataset.indices import Tar

_STATS = re.compile(r"([^/]+)/(\d+)_stats[.]json")


def tars_in(uris: Sequence[str], output: str) -> list[Tar]:
    """The tars of inputs, each once.

    Args:
        uris: roots of pools, folders with tars in them or below, globs, and tars. Parquet files
            beside tars, as img2dataset leaves them, tell uids sooner than the tars.
        output: folder whose tars are none of them, should it lie in an input.

    Returns:
        In the order of the inputs, each input's in the order of their names.

    Raises:
        SourceMissingError: an input has no tar.
        SourceError: it cannot be listed.
    """
    own = uri_of(*filesystem(output)).rstrip("/") + "/"
    every = [tar for uri in uris for tar in _tars(uri)]
    return list({tar.uri: tar for tar in every if not tar.uri.startswith(own)}.values())


def taken_down(uris: Sequence[str], pairs: UidPairs) -> npt.NDArray[np.bool_]:
    """Which uids were taken down of a pool that is an input.

    Args:
        uris: the inputs.
        pairs: (n,) uids.

    Returns:
        (n,)

    Raises:
        SchemaError: another program wrote a pool's table of takedowns.
    """
    is_gone = np.zeros(len(pairs), np.bool_)
    for uri in uris:
        store = _pool_at(uri)
        if store is not None:
            is_gone |= takedowns.read(store).mask(pairs)
    return is_gone


def _tars(uri: str) -> list[Tar]:
    exact = exact_part(uri)
    if uri.endswith(".tar") and not is_glob(uri, len(exact)):
        return [Tar(uri_of(*filesystem(uri)))]
    tars = _of_pool(uri) or _of_folder(uri)
    if not tars:
        raise SourceMissingError(
            uri, "no tar", "a pool with shards, or a folder with tars", "Check the spelling."
        )
    return tars


def _pool_at(uri: str) -> Store | None:
    """The store of a pool, None where there is none."""
    if exact_part(uri) != uri or uri.endswith(".tar"):
        return None
    store = Store(uri)
    return store if store.exists(layout.STORE) else None


def _of_pool(uri: str) -> list[Tar]:
    store = _pool_at(uri)
    if store is None:
        return []
    folder = layout.shard_folder(Key("")).rstrip("/")
    # Stats are written last, so a shard that has none is not whole.
    stats = [_STATS.search(path) for path in store.list(folder) if layout.shard_stats.holds(path)]
    return [Tar.of_shard(store, Key(name[1]), int(name[2])) for name in stats if name]


def _of_folder(uri: str) -> list[Tar]:
    names = {file.uri for file in listed(uri, lambda name: name.endswith((".tar", ".parquet")))}
    tars = sorted(name for name in names if name.endswith(".tar"))
    rows = [f"{tar.removesuffix('.tar')}.parquet" for tar in tars]
    return [Tar(tar, row if row in names else "") for tar, row in zip(tars, rows, strict=True)]
