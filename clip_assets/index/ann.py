"""faiss behind plain functions; no other module imports it.

Itself imported only inside functions, because loading faiss takes seconds. Similarity is
always the inner product. Which kind of index to build is said by ``index.kinds``, what a merged
version holds by ``index.faiss_index``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from collections.abc import Iterable
from pathlib import Path

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

from clip_assets import layout
from clip_assets.errors import SchemaError

Index = faiss.Index
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

SEED = 20_240_501
"""Of k-means."""


def trained(key: str, dim: int, sample: Floats) -> Index:
    """An empty index of a kind, trained.

    Args:
        key: of faiss' index factory.
        dim: of the vectors.
        sample: (m, dim) float32; may be empty for a kind without training.
    """
    index = faiss.index_factory(dim, key, faiss.METRIC_INNER_PRODUCT)
    lists = _lists(index)
    if lists is not None:
        lists.cp.seed = SEED
        lists.cp.min_points_per_centroid = 1  # that they are enough is the caller's promise
        if isinstance(lists, faiss.IndexIVFPQ):
            lists.pq.cp.seed = SEED
            lists.pq.cp.min_points_per_centroid = 1
            # Orders codes for a Hamming filter that nobody uses; 4 s for each byte of the code.
            lists.do_polysemous_training = False
        index.train(np.ascontiguousarray(sample, dtype=np.float32))
    return index


def encode(recipe: Index, chunks: Iterable[npt.NDArray[np.float16]]) -> Index:
    """Vectors in the code of a trained, empty index, with ids 0..n-1.

    Args:
        recipe: it becomes the result.
        chunks: (m, dim) each.
    """
    start = 0
    for chunk in chunks:
        ids = np.arange(start, start + len(chunk), dtype=np.int64)
        recipe.add_with_ids(np.ascontiguousarray(chunk, dtype=np.float32), ids)
        start += len(chunk)
    return recipe


def merge(index: Index, segment: Index, start: int, where: str) -> None:
    """Move the vectors of a segment into an index; its id i becomes ``start + i``.

    Args:
        index: grows.
        segment: is empty or useless afterwards.
        start: first of the new ids.
        where: the segment's name for errors.

    Raises:
        SchemaError: they are not encoded alike.
    """
    if (describe(index), _codebook(index)) != (describe(segment), _codebook(segment)):
        raise SchemaError(
            where,
            f"{describe(segment)}, trained on other vectors",
            f"{describe(index)}, as the recipe",
            f"Run: clip-assets run --select {layout.INDEX_SEGMENTS}+",
        )
    into, source = _lists(index), _lists(segment)
    if into is not None and source is not None:
        # Without the second argument ids of different segments would collide.
        into.merge_from(source, start)
        index.ntotal = into.ntotal
    else:
        moved = _flat(segment).reconstruct_n(0, segment.ntotal)
        index.add_with_ids(moved, np.arange(start, start + segment.ntotal, dtype=np.int64))


def describe(index: Index) -> str:
    """Kind and dimension in words."""
    lists = _lists(index)
    if lists is None:
        return f"exact index, dim {index.d}"
    return f"{type(lists).__name__} of {lists.nlist} lists, {lists.code_size} bytes, dim {index.d}"


def ids(index: Index) -> Ids:
    """The id of every vector, in the order of the index."""
    lists = _lists(index)
    if lists is None:
        return np.asarray(faiss.vector_to_array(index.id_map), dtype=np.int64)
    parts = [_list_ids(lists, number) for number in range(lists.nlist)]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def vectors(index: Index, wanted: Ids) -> Floats:
    """The vectors of some ids as the index holds them: (len(wanted), dim), NaN where there is none.

    Goes once through all ids, so ask for many at a time.
    """
    rows = np.full((len(wanted), index.d), np.nan, np.float32)
    lists = _lists(index)
    if lists is None:
        for row, place in _places(wanted, ids(index)):
            rows[row] = _flat(index).reconstruct(place)
        return rows
    for number in range(lists.nlist):
        for row, place in _places(wanted, _list_ids(lists, number)):
            lists.reconstruct_from_offset(number, place, faiss.swig_ptr(rows[row]))
    return rows


def probes(index: Index) -> tuple[int, int]:
    """Inverted lists that a search looks into, and how many there are; (1, 1) if exact."""
    lists = _lists(index)
    return (1, 1) if lists is None else (int(lists.nprobe), int(lists.nlist))


def set_probes(index: Index, lists: int) -> None:
    """How many inverted lists a search looks into by itself; it is written with the index."""
    inverted = _lists(index)
    if inverted is not None:
        inverted.nprobe = lists


def search(index: Index, queries: Floats, k: int, lists: int) -> tuple[Floats, Ids]:
    """The nearest vectors of each query, best first.

    Args:
        index: any.
        queries: (q, dim).
        k: at most ``index.ntotal`` are found; the rest has id -1.
        lists: inverted lists to look into; without meaning for an exact index.

    Returns:
        Similarities and ids, (q, k) each.
    """
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    if _lists(index) is None:
        return index.search(asked, k)
    return index.search(asked, k, params=faiss.SearchParametersIVF(nprobe=lists))


def read(file: Path, where: str, *, mapped: bool = False) -> Index:
    """Read an index.

    Args:
        file: on this machine.
        where: its name for errors.
        mapped: leave inverted lists on the disk, read as they are asked for.

    Raises:
        SchemaError: it is no index, or is cut off.
    """
    try:
        return faiss.read_index(str(file), faiss.IO_FLAG_MMAP if mapped else 0)
    except RuntimeError as error:
        raise SchemaError(
            where, f"no readable index ({str(error)[:200]})", "a faiss index", "Make it again."
        ) from error


def write(index: Index, part: Path) -> None:
    """Write an index to an unpublished file."""
    faiss.write_index(index, str(part))


def _lists(index: Index) -> faiss.IndexIVF | None:
    """The inverted file inside an index, None for an exact one."""
    lists = faiss.try_extract_index_ivf(index)
    return None if lists is None else faiss.downcast_index(lists)


def _codebook(index: Index) -> bytes:
    """Everything that training has fixed."""
    lists = _lists(index)
    if lists is None:
        return b""
    learnt = faiss.serialize_index(lists.quantizer).tobytes()
    if isinstance(lists, faiss.IndexIVFPQ):
        learnt += faiss.vector_to_array(lists.pq.centroids).tobytes()
    if isinstance(lists, faiss.IndexIVFScalarQuantizer):
        learnt += faiss.vector_to_array(lists.sq.trained).tobytes()
    return learnt


def _flat(index: Index) -> faiss.IndexFlat:
    """The vectors inside an exact index, by position."""
    return faiss.downcast_index(index.index)


def _places(wanted: Ids, stored: Ids) -> list[tuple[int, int]]:
    """Row in ``wanted`` and position in ``stored`` of each id that is in both."""
    positions = np.flatnonzero(np.isin(stored, wanted))
    place_of = dict(zip(stored[positions].tolist(), positions.tolist(), strict=True))
    return [(row, place_of[i]) for row, i in enumerate(wanted.tolist()) if i in place_of]


def _list_ids(lists: faiss.IndexIVF, number: int) -> Ids:
    size = lists.invlists.list_size(number)
    if not size:
        return np.empty(0, np.int64)
    stored = lists.invlists.get_ids(number)
    try:
        return faiss.rev_swig_ptr(stored, size).astype(np.int64)
    finally:
        lists.invlists.release_ids(number, stored)
