"""Vectors that the last run of a partition published and that still hold, so that they are kept.

A tar that has not changed keeps its rows as they are. In one that has, as when a retry recovered
some of its urls, a sample keeps its vectors if its image file, its caption, the model and the
precision are the same. ``layout.embedding_inputs`` says both of a published partition.

What is kept goes through chunks, like everything that is new: so a kill while the published files
are replaced, one after the other, loses none of it.
"""

import hashlib
import json
import logging
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_assets import layout, schemas
from clip_assets.encoders.encoder import Mask, Vectors
from clip_assets.errors import DamagedError, MissingArtifactError
from clip_assets.inference.chunks import Chunk, Source
from clip_assets.inference.samples import Sample
from clip_assets.layout import PartitionKey
from clip_assets.storage import tables
from clip_assets.storage.manifests import Manifest
from clip_assets.storage.store import Store

logger = logging.getLogger(__name__)

_TARS = b"tars"


@dataclass(frozen=True, slots=True)
class EmbeddedTar:
    """A tar whose rows a published partition has.

    Args:
        source: what they were made from.
        rows: how many they are; they follow those of the tar before.
        dropped: its other samples, by reason.
    """

    source: Source
    rows: int
    dropped: dict[str, int]


def write_inputs(part: Path, tars: Sequence[EmbeddedTar], inputs: Iterable[pa.Table]) -> None:
    """Write ``layout.embedding_inputs``.

    Args:
        part: where, see ``Store.publish``.
        tars: of the partition, in the order of its rows.
        inputs: of each tar's rows, ``schemas.EMBEDDING_INPUTS``.
    """
    said = json.dumps([asdict(tar) for tar in tars]).encode()
    schema = schemas.EMBEDDING_INPUTS.with_metadata({_TARS: said})
    # Digests neither repeat nor compress.
    with pq.ParquetWriter(part, schema, compression="none", use_dictionary=False) as writer:
        for of_tar in inputs:
            writer.write_table(of_tar.cast(schema))


def input_digest(sample: Sample, source: Source) -> bytes:
    """16 bytes of the sha256 of all that decides a sample's vectors."""
    said = [source.model, source.precision, source.version, sample.caption or ""]
    total = hashlib.sha256(json.dumps(said).encode())
    total.update(sample.image or b"")
    return total.digest()[: schemas.EMBEDDING_INPUTS.field("digest").type.byte_width]


class LastRun:
    """Rows and vectors of the last run; of none, where it left none that can be trusted.

    Memory: 24 bytes a row.

    Args:
        files: that it published, by kind: local, and with the content that its manifest says.
    """

    def __init__(self, files: dict[str, Path]) -> None:
        self._tars: dict[Source, tuple[int, EmbeddedTar]] = {}
        self._digests = np.empty(0, "S16")
        by_side = {"image": layout.img_emb, "text": layout.text_emb}
        if not files.keys() >= {layout.embedding_inputs.name, *(k.name for k in by_side.values())}:
            return
        self._vectors: dict[str, Vectors] = {
            side: np.load(files[kind.name], mmap_mode="r") for side, kind in by_side.items()
        }
        table = pq.read_table(files[layout.embedding_inputs.name])
        self._inputs = tables.filled(table, schemas.EMBEDDING_INPUTS).combine_chunks()
        [_, content] = self._inputs["digest"].combine_chunks().buffers()
        assert content is not None
        digests = np.frombuffer(memoryview(content), "S16")
        self._order = np.argsort(digests, kind="stable")
        self._digests = digests[self._order]
        if layout.embedding_rows.name not in files:
            return
        self._rows_file = files[layout.embedding_rows.name]
        first = 0
        for said in json.loads((table.schema.metadata or {})[_TARS]):
            tar = EmbeddedTar(Source(**said["source"]), said["rows"], said["dropped"])
            self._tars[tar.source] = first, tar
            first += tar.rows

    def chunk(self, source: Source) -> Chunk | None:
        """What was made of a tar, None if it was not made from this source."""
        if source not in self._tars:
            return None
        first, tar = self._tars[source]
        last = first + tar.rows
        rows = _slice(self._rows_file, first, last)
        image, text = (self._vectors[side][first:last] for side in layout.SIDES)
        return Chunk(rows, image, text, tar.dropped, self._inputs.slice(first, tar.rows))

    def recognised(self, sample: Sample, source: Source) -> Sample:
        """The sample with the digest of its inputs, and with the row that had the same ones."""
        if sample.fault:
            return sample
        digest = input_digest(sample, source)
        place = int(np.searchsorted(self._digests, np.bytes_(digest)))
        # Not compared as an item: numpy takes zero bytes off its end.
        if self._digests[place : place + 1].tobytes() != digest:
            return replace(sample, input=digest)
        return replace(sample, input=digest, keeps=int(self._order[place]), image=None)

    def completed(self, side: str, samples: Sequence[Sample], made: Vectors) -> Vectors:
        """Vectors of all samples.

        Args:
            side: ``image`` or ``text``.
            samples: some of which keep what they had.
            made: (m, dim) float16, of the m others, in their order.

        Returns:
            (len(samples), dim) float16.
        """
        rows = np.array([-1 if one.keeps is None else one.keeps for one in samples], np.int64)
        kept = rows >= 0
        if not kept.any():
            return made
        vectors = np.empty((len(samples), made.shape[1]), schemas.EMBEDDING)
        vectors[~kept] = made
        vectors[kept] = self._vectors[side][rows[kept]]
        return vectors

    def cut(self, samples: Sequence[Sample], made: Mask) -> pa.Array:
        """Of which samples the caption is cut, null where that is not known.

        Args:
            samples: some of which keep what they had.
            made: (m,) of the m others, in their order.
        """
        others = iter(made.tolist())
        rows = [sample.keeps for sample in samples]
        kept = pa.array([row for row in rows if row is not None], pa.int64())
        earlier = iter(self._inputs["is_caption_cut"].take(kept).to_pylist() if len(kept) else [])
        both = [next(others) if row is None else next(earlier) for row in rows]
        return pa.array(both, pa.bool_())


@contextmanager
def last_run(store: Store, made: Manifest | None, partition: PartitionKey) -> Generator[LastRun]:
    """What a partition has published, for the time of the block.

    A file whose content is not the one that the manifest says is no base for anything. Without rows
    all tars are read again; without vectors or inputs there is nothing to keep.

    Args:
        store: the pool's files.
        made: the partition's last manifest, also if it no longer counts.
        partition: which one.
    """
    kinds = layout.embedding_rows, layout.img_emb, layout.text_emb, layout.embedding_inputs
    wanted = {kind(partition): kind.name for kind in kinds}
    outputs = [output for output in (made.outputs if made else []) if output.path in wanted]
    files: dict[str, Path] = {}
    with ExitStack() as stack:
        for output in outputs:
            with suppress(MissingArtifactError, DamagedError):
                file = stack.enter_context(store.local(output.path))
                if _sha256(file) == output.sha256:
                    files[wanted[output.path]] = file
        if len(files) < len(outputs):
            logger.info("%s: published embeddings are damaged, what is sound is kept", partition)
        yield LastRun(files)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _slice(file: Path, first: int, last: int) -> pa.Table:
    """Rows of a table from ``first`` to before ``last``, read from the groups that have them."""
    with pq.ParquetFile(file) as parquet:
        metadata: Any = parquet.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        ends = list(accumulate(sizes, initial=0))
        spans = enumerate(pairwise(ends))
        groups = [group for group, (start, end) in spans if start < last and end > first]
        table = tables.filled(parquet.read_row_groups(groups), schemas.EMBEDDING_ROWS)
        before = ends[groups[0]] if groups else 0
        rows = table.slice(first - before, last - first)
        return tables.conform(rows, schemas.EMBEDDING_ROWS, str(file))
