"""Embeddings of anything: webdatasets and folders of images, in clip-retrieval's layout.

What ``clip-assets embed INPUT OUTPUT`` does. Each piece of the input (a tar, or 10,000 files of a
folder) becomes one numbered set of files; a set counts as done by its stats, written last, so a
killed run goes on after it. See ``inference.embeddings`` for pools and their partitions.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Encoder
from clip_assets.encoders.identity import check_model, claim_model
from clip_assets.errors import ConfigurationError, MissingArtifactError, SchemaError
from clip_assets.inference import pipeline, samples
from clip_assets.inference.pipeline import END, Pace
from clip_assets.inference.samples import Sample
from clip_assets.inference.sources import MemberNames, Piece
from clip_assets.inference.summary import check_unit_rows, cosines
from clip_assets.settings import InferenceSettings
from clip_assets.storage import tables, vectors
from clip_assets.storage.control import parsed
from clip_assets.storage.manifests import Report
from clip_assets.storage.store import Store

logger = logging.getLogger(__name__)

_STATS = "stats"


def vectors_path(side: str, name: str) -> str:
    """Embeddings of one piece; paths are relative to the output, as clip-retrieval has them."""
    folder = {"image": "img_emb", "text": "text_emb"}[side]
    return f"{folder}/{folder}_{name}.npy"


def rows_path(name: str) -> str:
    """What each row of one piece's embeddings is, ``schemas.STANDALONE_ROWS``."""
    return f"metadata/metadata_{name}.parquet"


def stats_path(name: str) -> str:
    """Counts of one piece and what it was made from; written last."""
    return f"{_STATS}/{name}.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to write.

    Args:
        image: embeddings of the images; without them, images are not decoded.
        text: embeddings of the captions.
        metadata: a row for each sample.
        names: where image and caption are in a sample.
    """

    image: bool = True
    text: bool = True
    metadata: bool = True
    names: MemberNames = field(default_factory=MemberNames)

    @property
    def sides(self) -> tuple[str, ...]:
        """``image`` and ``text``, as far as wanted."""
        return tuple(side for side in layout.SIDES if getattr(self, side))


def embed_pieces(
    pieces: Sequence[Piece],
    output: str,
    settings: InferenceSettings,
    encoder: Encoder,
    wanted: Wanted | None = None,
) -> Report:
    """Embed every sample of an input; what an earlier run finished is not done again.

    Memory: that of ``pipeline.embedded`` for one piece, and the listing of a folder.

    Args:
        pieces: of the input, by ``sources.input_of``; listed before a model is loaded, so that
            a misspelt name costs nothing.
        output: a path or url; gets ``img_emb``, ``text_emb``, ``metadata`` and ``stats``.
        settings: threads.
        encoder: the model.
        wanted: what to write; default everything.

    Raises:
        SourceMissingError: a tar is gone.
        SchemaError: a tar is damaged, or changed since it was listed.
        ModelMismatchError: the output holds another model's embeddings.
    """
    wanted = wanted or Wanted()
    if not wanted.sides:
        raise ConfigurationError(
            "embed", "neither images nor captions wanted", "one of them", "Want one of them."
        )
    store = Store(output)
    check_model(store, encoder.identity)
    digits = len(str(len(pieces) - 1))
    made_from = {
        f"{number:0{digits}d}": _made_from(piece, encoder, wanted)
        for number, piece in enumerate(pieces)
    }
    missing = [
        (name, piece)
        for (name, expected), piece in zip(made_from.items(), pieces, strict=True)
        if (stats := _stats(store, name)) is None or stats.made_from != expected
    ]
    pace = Pace(encoder.workers)
    read = _read([piece for _, piece in missing])
    with closing(pipeline.embedded(read, encoder, settings, pace, wanted.sides)) as embedded:
        for (name, piece), result in zip(missing, embedded, strict=True):
            _check(piece, result, wanted)
            claim_model(store, encoder.identity)
            _write(store, name, result, wanted, made_from[name])
            counts = len(result.samples), result.dropped.total()
            # A name that is no UTF-8 could not be written to a log as it is.
            where = piece.where.encode(errors="replace").decode()
            logger.info("%s: %d embedded, %d dropped", where, *counts)
    _retire(store, made_from)
    return _report(store, list(made_from), pace, len(pieces) - len(missing))


def _made_from(piece: Piece, encoder: Encoder, wanted: Wanted) -> dict[str, Any]:
    return {
        "source": piece.where,
        "version": piece.version,
        "model": encoder.identity.digest(),
        "wanted": asdict(wanted),
    }


def _read(pieces: Sequence[Piece]) -> Generator[Sample | None]:
    for piece in pieces:
        yield from piece.samples()
        yield END


@dataclass(frozen=True, slots=True)
class _Stats:
    """Counts of one piece, written last; the content of ``stats_path``.

    Args:
        sample_count: of the files beside it.
        dropped: other samples, by reason.
        made_from: what of, by which model.
        without_caption: of the samples.
        captions_cut: of which the text tower reads the beginning alone; None where no captions
            were embedded, or an earlier release did it.
    """

    sample_count: int
    dropped: dict[str, int]
    made_from: dict[str, Any]
    without_caption: int = 0
    captions_cut: int | None = None


def _stats(store: Store, name: str) -> _Stats | None:
    """None where there are none, or none of ours: the piece counts as not done."""
    path = stats_path(name)
    try:
        return parsed(store.read_bytes(path), _Stats, store.uri(path), "Remove it.")
    except (MissingArtifactError, SchemaError):
        return None


def _write(
    store: Store,
    name: str,
    embedded: pipeline.EmbeddedPiece,
    wanted: Wanted,
    made_from: dict[str, Any],
) -> None:
    by_side = {"image": embedded.image, "text": embedded.text}
    # What an earlier run wanted besides may count other samples; without stats nothing counts.
    store.delete(stats_path(name))
    _delete(store, name)
    # A set without samples is its stats alone: readers of a folder fail at files without rows.
    for side in wanted.sides if embedded.samples else ():
        with store.publish(vectors_path(side, name)) as file:
            vectors.write(file, [by_side[side]], *by_side[side].shape)
    if wanted.metadata and embedded.samples:
        both = len(embedded.image) == len(embedded.text)
        similarity = cosines(embedded.image, embedded.text).tolist() if both else []
        rows = [_row(sample) for sample in embedded.samples]
        for row, cosine in zip(rows, similarity, strict=False):
            row["similarity"] = cosine
        table = pa.Table.from_pylist(rows, schemas.STANDALONE_ROWS)
        with store.publish(rows_path(name)) as file:
            tables.write(file, table)
    without_caption = sum(sample.caption is None for sample in embedded.samples)
    captions_cut = int(np.count_nonzero(embedded.is_cut)) if wanted.text else None
    counts = (dict(embedded.dropped), made_from, without_caption, captions_cut)
    stats = _Stats(len(embedded.samples), *counts)
    store.write_bytes(stats_path(name), json.dumps(asdict(stats), indent=1).encode())


def _check(piece: Piece, result: pipeline.EmbeddedPiece, wanted: Wanted) -> None:
    by_side = {"image": result.image, "text": result.text}
    for side in wanted.sides:
        check_unit_rows(by_side[side], f"{piece.where}: {side} embeddings")


def _retire(store: Store, names: Collection[str]) -> None:
    """Remove the sets of a longer input, or of one with another number of digits."""
    for path in store.list(_STATS):
        name = PurePosixPath(path).stem
        is_ours = path == stats_path(name) and _stats(store, name) is not None
        if is_ours and name not in names:
            _delete(store, name)
            # Last, so that a killed run finds the rest.
            store.delete(path)


def _delete(store: Store, name: str) -> None:
    for side in layout.SIDES:
        store.delete(vectors_path(side, name))
    store.delete(rows_path(name))


def _row(sample: Sample) -> dict[str, Any]:
    known = samples.known_fields(sample.fields)
    return known | {
        "uid": samples.text(sample.fields.get("uid")),
        "caption": sample.caption,
        "image_path": sample.key,
        "key": sample.key,
        "json": sample.said,
    }


def _report(store: Store, names: list[str], pace: Pace, resumed: int) -> Report:
    dropped: Counter[str] = Counter()
    rows = without_caption = 0
    cut: list[int] = []
    for name in names:
        stats = _stats(store, name)
        assert stats is not None
        rows += stats.sample_count
        without_caption += stats.without_caption
        cut += [] if stats.captions_cut is None else [stats.captions_cut]
        dropped.update(stats.dropped)
    return Report(
        rows_in=rows + dropped.total(),
        rows_out=rows,
        dropped=dict(dropped),
        figures=pace.figures()
        | {
            "pieces": len(names),
            "pieces_resumed": resumed,
            "without_caption": without_caption,
            "captions_cut": sum(cut) if len(cut) == len(names) else None,
        },
    )
