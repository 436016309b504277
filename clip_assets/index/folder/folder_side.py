"""One side of an index that is built of a folder: trained, encoded in segments, joined, measured.

The folder and what becomes of the output are the matter of ``folder_index``. Everything that costs
time is published into the work folder, so a killed build goes on after it.
"""

import json
import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clip_assets.errors import CheckFailedError, ConfigurationError, MissingArtifactError
from clip_assets.index.effort import neighbours
from clip_assets.index.engine import kinds, lists
from clip_assets.index.engine.kinds import CODES, FLAT, POINTS_PER_LIST, TRAINING_POINTS, Choice
from clip_assets.index.folder import by_itself
from clip_assets.settings import IndexSettings
from clip_assets.storage.embeddings_folder import RUN_ROWS, FolderVectors, draw, usable
from clip_assets.storage.npy import Floats, Ids
from clip_assets.storage.store import Store

if TYPE_CHECKING:
    from clip_assets.index.effort.recall import Question
    from clip_assets.index.engine.ann import Index

logger = logging.getLogger(__name__)

BASE_BYTES = 768 << 20
"""Of memory that is no vector: the program, its libraries, what is compared with queries."""

COPIES = 3
"""Of the vectors that are trained on: as drawn, turned, and those of k-means."""

CHUNK_ROWS = 16_384
"""Vectors that are encoded at once."""

SEGMENT_ROWS = 1_000_000
"""Of a segment at most; fewer where memory is short."""

SEED = 7

LEAST_QUERIES = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows whose vectors are queries; lists are not trained on them.

    Args:
        places: (q,) rows, ascending.
        queries: by kind, (q, dim) each.
    """

    places: Ids
    queries: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bounds in bytes.

    Args:
        index: of each index.
        available: while building.
    """

    index: int
    available: int


@dataclass(frozen=True, slots=True)
class _Segment:
    """Vectors of an encoded segment, how many of them were scaled, and other rows by reason."""

    vectors: int
    scaled: int
    left_out: dict[str, int]


class SideBuild:
    """Builds the index of one side.

    Args:
        store: the output.
        folder: of this side's work.
        side: ``image`` or ``text``.
        vectors: of the side.
        asked: queries of every side there is.
        memory: bounds.

    Raises:
        ConfigurationError: a bound is too small.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        side: str,
        vectors: FolderVectors,
        asked: Asked,
        memory: Memory,
    ) -> None:
        self._store, self._folder, self.side = store, folder, side
        self._vectors, self._asked = vectors, asked
        room = memory.available - BASE_BYTES
        points = _points(vectors, room, memory)
        limit = max(1, min(points, vectors.rows - len(asked.places)))
        count = kinds.lists_for(vectors.rows, limit)
        self.choice = _choice(vectors, count, points, memory)
        self._points = min(limit, POINTS_PER_LIST * max(count, CODES))
        rows = min(SEGMENT_ROWS, room // (4 * self.choice.bytes_per_vector))
        self._segment_rows = vectors.rows if self.is_exact else max(CHUNK_ROWS, rows)
        self._segments: list[_Segment] = []

    @property
    def is_exact(self) -> bool:
        """Whether the index holds whole vectors and no lists."""
        return self.choice.key == FLAT

    def encode(self) -> None:
        """Train, and encode every row; what a killed build finished is not done again."""
        self._train()
        for number, start in enumerate(self._starts):
            stop = min(start + self._segment_rows, self._vectors.rows)
            self._segments.append(self._known(number) or self._encode(number, start, stop))
            total = f"{self._vectors.rows:,}"
            logger.info("%s: %s of %s vectors encoded", self.side, f"{stop:,}", total)
        if self._vectors.rows and not self.held:
            reasons = [f"{n:,} {why}" for why, n in self._counted().items() if n]
            told = f"no vector ({', '.join(reasons)})"
            raise CheckFailedError(f"{self.side} embeddings", told, "vectors", "Embed again.")

    def write(self, part: Path) -> dict[str, Any]:
        """Write the index to an unpublished file.

        Returns:
            What is known of it, by the names of clip-retrieval where it has one.
        """
        from clip_assets.index.engine import ann

        with ExitStack() as stack:
            empty = self._read(stack, self._path("trained"))
            if self.is_exact:
                whole = "00000" if self._segments else "trained"  # of no row
                ann.write(self._read(stack, self._path(whole)), part)
                recalls = dict.fromkeys(self._asked.queries, 1.0)
                probes = 0
            else:
                questions = self._questions(empty)
                probes = max((question.probes() for question in questions.values()), default=1)
                self._join(stack, empty, probes, part)
                index = ann.read(part, self.side, mapped=True)
                recalls = {
                    kind: by_itself.recall_of(index, one, self._vectors)
                    for kind, one in questions.items()
                }
        return self._told(part, probes, recalls)

    @property
    def held(self) -> int:
        """Vectors that were encoded."""
        return sum(segment.vectors for segment in self._segments)

    @property
    def _starts(self) -> range:
        return range(0, self._vectors.rows, max(1, self._segment_rows))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{self.side}/{name}"

    def _train(self) -> None:
        from clip_assets.index.engine import ann

        if self._store.exists(self._path("trained")):
            return
        logger.info("%s: training %s", self.side, self.choice.key)
        wanted = 0 if self.is_exact else self._points
        run = 1 if self._vectors.is_local else RUN_ROWS
        places = draw(self._vectors.rows, wanted + len(self._asked.places), SEED, run)
        places = np.setdiff1d(places, self._asked.places)[:wanted]
        sample = usable(self._vectors.at(places)).vectors
        with self._store.publish(self._path("trained")) as part:
            ann.write(ann.trained(self.choice.key, self._vectors.dim, sample), part)

    def _encode(self, number: int, start: int, stop: int) -> _Segment:
        from clip_assets.index.engine import ann

        asked, scaled, left_out = self._asked.queries, 0, Counter[str]()
        truths = {kind: neighbours.nothing(len(rows)) for kind, rows in asked.items()}
        with ExitStack() as stack:
            index = self._read(stack, self._path("trained"))
        groups = ann.groups(index)
        for first in range(start, stop, CHUNK_ROWS):
            good = usable(self._vectors.read(first, min(first + CHUNK_ROWS, stop)))
            known = ann.placed(index, good.vectors, groups) if groups else None
            owners = ann.add(index, good.vectors, good.places + first, known).lists
            scaled, left_out = scaled + good.scaled, left_out + Counter(good.left_out)
            for kind, rows in asked.items():
                truths[kind] = neighbours.of(rows, good.vectors, owners, truths[kind])
        with self._store.publish(self._path(f"{number:05d}")) as part:
            ann.write(index, part)
        for kind, truth in truths.items():
            with self._store.publish(self._path(f"{number:05d}_{kind}.npy")) as part:
                neighbours.write(part, truth)
        segment = _Segment(index.ntotal, scaled, dict(left_out))
        told = json.dumps(asdict(segment)).encode()
        self._store.write_bytes(self._path(f"{number:05d}.json"), told)
        return segment

    def _known(self, number: int) -> _Segment | None:
        """A segment that an earlier run finished; its counts are written last."""
        try:
            return _Segment(**json.loads(self._store.read_bytes(self._path(f"{number:05d}.json"))))
        except (MissingArtifactError, ValueError, TypeError):
            return None

    def _read(self, stack: ExitStack, path: str) -> "Index":
        from clip_assets.index.engine import ann

        return ann.read(stack.enter_context(self._store.local(path)), self._store.uri(path))

    def _questions(self, empty: "Index") -> dict[str, "Question"]:
        from clip_assets.index.effort.recall import Question

        asked, own = self._asked.queries, self._asked.queries[self.side]
        if len(own) < LEAST_QUERIES:
            return {}
        return {
            kind: Question(empty, rows, self._truth(kind, len(rows)).near, own)
            for kind, rows in asked.items()
        }

    def _truth(self, kind: str, queries: int) -> neighbours.Truth:
        parts = (
            neighbours.read(self._store, self._path(f"{number:05d}_{kind}.npy"), queries)
            for number in range(len(self._segments))
        )
        return neighbours.joined(parts, queries)

    def _join(self, stack: ExitStack, empty: "Index", probes: int, part: Path) -> None:
        from clip_assets.index.engine import ann

        segments: list[tuple[lists.Lists, int]] = []
        for number, segment in enumerate(self._segments):
            path = self._path(f"{number:05d}")
            file = stack.enter_context(self._store.local(path))
            ann.set_probes(empty, 1)  # as it was trained
            head = ann.head(empty, segment.vectors)
            # Ids are those of the whole already.
            segments.append((lists.read(file, head, self._store.uri(path)), 0))
        ann.set_probes(empty, probes)
        lists.join(part, ann.head(empty, self.held), segments)

    def _counted(self) -> Counter[str]:
        return sum((Counter(segment.left_out) for segment in self._segments), Counter[str]())

    def _told(self, part: Path, probes: int, recalls: Mapping[str, float | None]) -> dict[str, Any]:
        return {
            "index_key": self.choice.key,
            "index_param": "" if self.is_exact else f"nprobe={probes}",
            "size in bytes": part.stat().st_size,
            "nb vectors": self.held,
            "vectors dimension": self._vectors.dim,
            "why": self.choice.why,
            "recall_at_10": {kind: told for kind, told in recalls.items() if told is not None},
            "left_out": {reason: n for reason, n in self._counted().items() if n},
            "scaled": sum(segment.scaled for segment in self._segments),
        }


def _points(vectors: FolderVectors, room: int, memory: Memory) -> int:
    """Vectors that may be trained on."""
    size = 4 * COPIES * max(1, vectors.dim)
    least = min(vectors.rows, TRAINING_POINTS * CODES)
    if room < least * size:
        raise ConfigurationError(
            "current_memory_available",
            f"{memory.available:,} bytes",
            f"{BASE_BYTES + least * size:,} at least for vectors of {vectors.dim} dimensions",
            "Give the build more memory.",
        )
    return min(room // size, IndexSettings().train_limit)


def _choice(vectors: FolderVectors, count: int, points: int, memory: Memory) -> Choice:
    flat = min(IndexSettings().flat_limit, points)
    settings = IndexSettings.model_construct(
        max_memory_bytes=memory.index, flat_limit=flat, train_limit=points
    )
    bound = "max_index_memory_usage"
    fits = kinds.fitting(vectors.rows, vectors.dim, count, settings, headroom=1, bound=bound)
    return next(choice for choice in fits if not choice.key.endswith(kinds.SEVERAL_BITS))
