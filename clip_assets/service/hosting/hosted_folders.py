"""Index folders of clip-retrieval as hosted indices, and the file that names them.

``indices_paths.json`` is taken as its back takes it: folders by name, or options by name. Searching
them is ``retrieval.folder_search``.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder
from clip_assets.errors import (
    ConfigurationError,
    ModelLoadError,
    ModelMismatchError,
)
from clip_assets.graph import ASSETS
from clip_assets.pool.pool import Pool
from clip_assets.retrieval.folder_search import FolderSearcher, state
from clip_assets.retrieval.images import Images
from clip_assets.retrieval.served_side import Ids
from clip_assets.service.hosting.aligned import AlignedColumns
from clip_assets.service.hosting.hosted import HostedIndex, OpenVersion, last_part, named
from clip_assets.service.limits.refusals import RefusalError
from clip_assets.settings import Settings
from clip_assets.storage.store import Store

RETURNED = ("url", "image_path", "caption", "NSFW")
"""Columns that ``/knn-service`` returns of a folder that is told no others."""

_OPENAI = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14")


@dataclass(frozen=True, slots=True)
class IndexFolder:
    """What ``indices_paths.json`` says of one index.

    Args:
        name: of the index.
        folder: with ``image.index``, ``text.index`` and ``metadata``.
        clip_model: of its vectors; None: not named.
        columns: that ``/knn-service`` returns.
        form: of its metadata, one of ``folder_columns.FORMS``.
    """

    name: str
    folder: Path
    clip_model: str | None = None
    columns: Sequence[str] = RETURNED
    form: str = ""


def named_in(file: Path, clip_model: str | None = None) -> list[IndexFolder]:
    """The folders that a file names.

    Args:
        file: ``indices_paths.json``; relative folders are those of the working directory.
        clip_model: of folders for which it names none.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        named = json.loads(file.read_bytes())
    except ValueError as error:
        raise _wrong(file, f"no JSON ({error})") from error
    if not isinstance(named, dict) or not named:
        raise _wrong(file, "no names")
    return [_folder(file, str(name), value, clip_model) for name, value in named.items()]


def _folder(file: Path, name: str, value: Any, clip_model: str | None) -> IndexFolder:
    options: Mapping[str, Any] = {"indice_folder": value} if isinstance(value, str) else value
    if not isinstance(options, dict) or not isinstance(options.get("indice_folder"), str):
        raise _wrong(file, f"{name}: {json.dumps(value)[:100]}")
    columns = options.get("columns_to_return") or RETURNED
    if isinstance(columns, str) or not all(isinstance(one, str) for one in columns):
        raise _wrong(file, f"{name}: columns_to_return {json.dumps(columns)[:100]}")
    return IndexFolder(
        name,
        Path(options["indice_folder"]),
        options.get("clip_model") or clip_model,
        columns,
        _form(options),
    )


def _form(options: Mapping[str, Any]) -> str:
    """Of the metadata, as its back would choose it."""
    if options.get("use_arrow"):
        return "arrow"
    if not options.get("enable_hdf5"):
        return ""
    return "hdf5-reordered" if options.get("reorder_metadata_by_ivf_index") else "hdf5"


def inference_of(clip_model: str) -> dict[str, str | None]:
    """Settings of the model that clip-retrieval calls so, or that ours do.

    Raises:
        ConfigurationError: it is of a library that is not here.
    """
    if clip_model in _OPENAI or clip_model == "ViT-L/14@336px":
        name = clip_model.replace("@336px", "-336").replace("/", "-")
        return {"model": name, "pretrained": "openai"}
    kind, sign, rest = clip_model.partition(":")
    if kind == "open_clip" and sign:
        name, _, pretrained = rest.partition("/")
        return {"model": name, "pretrained": pretrained or None}
    if clip_model == "demo" or kind in ("hf-hub", "local-dir"):
        return {"model": clip_model, "pretrained": None}
    raise ConfigurationError(
        "clip_model",
        repr(clip_model[:100]),
        "ViT-B/32 and the like, open_clip:NAME/TAG, open_clip:NAME//FILE, or a model of ours",
        "Name the model of the vectors so.",
    )


class HostedFolder(HostedIndex):
    """An index folder, followed while its files change.

    Args:
        given: what is said of it.
        encoder: the model, instead of the one that is named.

    Raises:
        ClipAssetsError: it cannot be opened, or its model cannot be.
    """

    def __init__(self, given: IndexFolder, encoder: Callable[[], Encoder] | None = None) -> None:
        self.given = given
        self.name = given.name
        named: dict[str, Any] = {}
        if given.clip_model:
            named = {"inference": inference_of(given.clip_model)}
        unnamed = encoder or (None if given.clip_model else self._no_model)
        store = Store(str(given.folder))
        self.pool = Pool(store, Settings(root=str(given.folder), **named), ASSETS, unnamed)
        self.images = NoImages(store)
        self.problem: Exception | None = None
        self._model: Future[Encoder] = Future()
        self._lock = threading.Lock()
        self._state = state(given.folder)
        self._opened = self._open()

    def _renew(self) -> None:
        """Open the files that are there by now, if they are other ones, and serve them."""
        now = state(self.given.folder)
        if now != self._state:
            opened = self._open()
            before, self._opened = self._opened, opened
            before.is_replaced = True
            self._state = now

    async def encoder(self, digest: str) -> Encoder:
        """The model that is named; that it has the vectors' width is all that can be told."""
        del digest
        encoder = await asyncio.shield(asyncio.wrap_future(self._model))
        dim = self._opened.searcher.version.dim
        if encoder.dim != dim:
            raise ModelMismatchError(
                f"index {self.name}",
                f"vectors of {dim} dimensions",
                f"{encoder.dim}, as {encoder.identity.describe()} has",
                "Name the model of the vectors: clip_model.",
            )
        return encoder

    def _open(self) -> OpenVersion:
        searcher = FolderSearcher(self.pool, self.given.form)
        opened = OpenVersion(searcher)
        opened.columns = _FolderColumns(searcher)
        opened.returned = self.given.columns
        return opened

    def _no_model(self) -> NoReturn:
        raise ModelLoadError(
            f"index {self.name}",
            "a folder that does not say which model its vectors are of",
            "a model for texts and images",
            "Name it: clip_model in indices_paths.json, or serve --clip-model. Embeddings and uids "
            "are answered without.",
        )


def hosted_at(place: str, clip_model: str | None = None) -> HostedFolder | None:
    """The index folder at a place of this machine; None where none is.

    Args:
        place: a path, or ``name=path``.
        clip_model: of its vectors.
    """
    name, path = named(place)
    if not any(Path(path, f"{side}.index").exists() for side in layout.SIDES):
        return None
    return HostedFolder(IndexFolder(name or last_part(path), Path(path), clip_model))


class _FolderColumns(AlignedColumns):
    """Columns of the pool's metadata, as far as the folder's files have them."""

    def __init__(self, searcher: FolderSearcher) -> None:
        super().__init__(searcher)
        self._metadata = searcher.metadata

    def know(self, ids: Ids) -> bool:
        """They do: the index of a folder is opened with its metadata."""
        del ids
        return True

    def _read(self, number: int, columns: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        del number
        return {name: self._metadata.column(schemas.POOL_ROWS.field(name)) for name in columns}


class NoImages(Images):
    """A folder of indices, and what is published, has no images."""

    def read(self, image_path: str) -> NoReturn:
        """Refuse."""
        raise RefusalError(
            404, "images", f"no stored image {image_path!r}", "a pool's", "Use the url."
        )


def _wrong(file: Path, found: str) -> ConfigurationError:
    return ConfigurationError(
        str(file),
        found,
        "an object of folders, or of options with indice_folder, by name",
        "Write it as for clip-retrieval back.",
    )
