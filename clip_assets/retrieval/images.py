"""The images of a pool, each read from its shard by byte range.

The tar is not gone through: where the image is, is said by the shard's tar index. Which image path
a search result or a uid has is said by ``rows``.
"""

import re

from clip_assets import layout
from clip_assets.errors import MissingArtifactError, SourceMissingError
from clip_assets.layout import Key
from clip_assets.storage.store import Store
from clip_assets.webdataset.index import Places
from clip_assets.webdataset.indices import Tar
from clip_assets.webdataset.read import IMAGE_EXTENSIONS
from clip_assets.webdataset.reader import MEMORY_BYTES, TarReader, Wanted

_PATH = re.compile(r"(\d{5,})/(\d{5,})/([^/]+)", re.ASCII)


class Images:
    """The stored images of a pool. Threads may share one.

    Args:
        store: the pool's files, on a disk or an object store.
        memory_bytes: what tar indices may take together.
    """

    def __init__(self, store: Store, memory_bytes: int = MEMORY_BYTES) -> None:
        self._store = store
        self._tars = TarReader(memory_bytes)

    def read(self, image_path: str) -> bytes:
        """A stored image, as it lies in its tar.

        The first image of a shard reads its tar index too; of a shard that has none, an earlier
        release's, the index is made then and kept in the user's cache.

        Args:
            image_path: ``<partition>/<shard>/<key>``, see ``schemas.EMBEDDING_ROWS``.

        Raises:
            MissingArtifactError: there is no such image.
            DamagedError: the shard's tar is gone.
            SchemaError: it is damaged.
            SourceError: it cannot be read.
        """
        return next(iter(self._members(image_path, _image).values()))

    def sample(self, image_path: str) -> dict[str, bytes]:
        """Everything of one sample, by extension; raises as ``read`` does."""
        return self._members(image_path, lambda places: list(places.members))

    def _members(self, image_path: str, wanted: Wanted) -> dict[str, bytes]:
        parts = _PATH.fullmatch(image_path)
        if parts is None:
            raise _missing(image_path, "no such path", "<partition>/<shard>/<key>")
        partition, number, key = Key(parts[1]), int(parts[2]), parts[3]
        tar = Tar.of_shard(self._store, partition, number)
        try:
            members = self._tars.read(tar, lambda index: index.sample(key), wanted)
        except SourceMissingError:
            path = layout.shard_tar(partition, number)
            raise self._store.expected.missing(path, self._store.uri(path)) from None
        if not members:
            raise _missing(image_path, "no such sample in its shard", "a sample with an image")
        return members


def _image(places: Places) -> list[str]:
    """The extension of a sample's image, if it has one."""
    return [name for name in IMAGE_EXTENSIONS if name in places.members][:1]


def _missing(image_path: str, found: str, expected: str) -> MissingArtifactError:
    return MissingArtifactError(
        image_path,
        found,
        expected,
        "Take the path from a search result of an index that is served now; the image may have "
        "been taken down since.",
    )
