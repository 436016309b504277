"""Versions of a subset: which are kept, and the file of one that somebody names.

A version is the start of the digest of its file, so it never means another one. The newest is the
subset's own file; earlier ones lie in a folder beside it, a bounded number of them, and are put
there by ``subsets.subset_files``.
"""

import re
from collections.abc import Sequence

from clip_assets import layout
from clip_assets.errors import ConfigurationError
from clip_assets.layout import Key
from clip_assets.pool.pool import Pool
from clip_assets.storage.manifests import Manifest, Output

KEPT = 5
"""Earlier versions of a subset that stay."""

DIGITS = 12
"""Of the digest of a file, which name it as a version."""

_PINNED = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_-]{0,63})(?:@([0-9a-f]{4,64}))?")


def is_subset(pool: Pool, name: str) -> bool:
    """Whether it names one of the pool's subsets, perhaps with a version: ``NAME@3f2a``."""
    known = _PINNED.fullmatch(name)
    return known is not None and known[1] in pool.settings.subsets


def unknown(pool: Pool, name: str, file: str) -> ConfigurationError:
    """What is said of a name that is no subset, and no file either."""
    subset, sign, version = name.partition("@")
    if sign and subset in pool.settings.subsets:
        return ConfigurationError(
            f"subset {name}",
            f"{version!r}, and no file {file}",
            "a version: 4 or more of its hex digits",
            f"See: clip-assets subset versions {subset}",
        )
    return ConfigurationError(
        f"subset {name!r}",
        f"no such subset, and no file {file}",
        f"one of {', '.join(sorted(pool.settings.subsets))}, or a file of uids",
        "Correct it, or define it: clip-assets subset NAME",
    )


def path_of(pool: Pool, name: str) -> str:
    """The file of a subset, or of a version of it.

    Args:
        pool: whose subset it is.
        name: of the subset; with ``@`` and the first digits of a version that one, for as long as
            it is kept.

    Raises:
        MissingArtifactError: the subset was not made.
        ConfigurationError: there is no such version, or there are several.
    """
    subset, _, version = name.partition("@")
    manifest = pool.catalog.require(layout.SUBSETS, Key(subset))
    every = files(manifest)
    of_name = {o.sha256[:DIGITS]: o.path for o in every if o.sha256.startswith(version[:DIGITS])}
    if len(of_name) == 1 or (of_name and not version):
        return next(iter(of_name.values()))
    raise ConfigurationError(
        f"subset {name}",
        "several such versions" if of_name else "no such version",
        f"one of {', '.join(output.sha256[:DIGITS] for output in every)}",
        f"See: clip-assets subset versions {subset}. The last {KEPT} before the newest are kept.",
    )


def files(manifest: Manifest) -> Sequence[Output]:
    """The files of a subset's versions, the newest first."""
    # A manifest names what is new last.
    return [*manifest.of_kind(layout.subset), *reversed(manifest.of_kind(layout.subset_version))]
