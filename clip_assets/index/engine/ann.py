"""faiss behind plain functions, which all that needs faiss in an index imports.

Itself imported only inside functions, because loading faiss takes seconds. Similarity is
always the inner product. Which kind of index to build is said by ``engine.kinds``, what a merged
version holds by ``index.faiss_index``, how the lists of files are joined by ``engine.lists``.
"""

# faiss replaces the methods that SWIG declares, which are all that a type checker sees.
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

from pathlib import Path
from typing import cast

import faiss  # noqa: TID253  (the module is itself imported lazily)
import numpy as np
import numpy.typing as npt

from clip_assets.errors import SchemaError
from clip_assets.index.engine import centres, list_choice
from clip_assets.index.engine.kinds import PROJECTED
from clip_assets.index.engine.lists import no_lists
from clip_assets.index.engine.placing import LEAST, Neighbourhoods, Placed

Index = faiss.Index
Selection = faiss.IDSelectorBitmap
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

SEED = 20_240_501
"""Of k-means."""


def trained(key: str, dim: int, sample: Floats) -> Index:
    """An empty index of a kind, trained.

    Args:
        key: of ``engine.kinds``.
        dim: of the vectors.
        sample: (m, dim) float32; may be empty for a kind without training.
    """
    if key.startswith(PROJECTED):
        from clip_assets.index.engine.directions import trained_on_directions

        return trained_on_directions(key, sample)
    index = faiss.index_factory(dim, key, faiss.METRIC_INNER_PRODUCT)
    lists = inverted(index)
    if lists is not None:
        lists.cp.seed = SEED
        lists.cp.min_points_per_centroid = 1  # that they are enough is the caller's promise
        if isinstance(lists, faiss.IndexIVFPQ):
            lists.pq.cp.seed = SEED
            lists.pq.cp.min_points_per_centroid = 1
            # Orders codes for a Hamming filter that nobody uses; 4 s for each byte of the code.
            lists.do_polysemous_training = False
        _train(index, lists, np.ascontiguousarray(sample, dtype=np.float32))
    return index


def _train(index: Index, lists: faiss.IndexIVF, sample: Floats) -> None:
    if centres.suits(lists.nlist, len(sample)):
        if isinstance(index, faiss.IndexPreTransform):
            faiss.downcast_VectorTransform(index.chain.at(0)).train(sample)
        lists.quantizer.add(centres.centres(inner(index, sample), lists.nlist, SEED))
    # faiss leaves alone what is trained already.
    index.train(sample)


def add(
    index: Index, vectors: Floats, ids: Ids | None = None, known: Placed | None = None
) -> Placed:
    """Add vectors.

    Args:
        index: any.
        vectors: (n, dim).
        ids: (n,) of them; None: the next ones.
        known: where they lie, if that is known.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if ids is None:
        ids = np.arange(index.ntotal, index.ntotal + len(rows), dtype=np.int64)
    lists = inverted(index)
    if lists is None:
        index.add_with_ids(rows, ids)
        return Placed(np.zeros(len(rows), np.int64), np.ones(len(rows), np.float32))
    within = inner(index, rows)
    # One product of matrices finds the list of every vector, which faiss need not do again.
    placed = known or _placed(lists, within)
    lists.add_core(len(within), *map(faiss.swig_ptr, (within, ids, placed.lists)))
    index.ntotal = lists.ntotal
    return placed


def placed(index: Index, vectors: Floats, groups: Neighbourhoods | None = None) -> Placed:
    """Where vectors, (n, dim), would come to lie; nothing is added. Of an index with lists.

    Args:
        index: with lists.
        vectors: (n, dim).
        groups: of its centres, if they are at hand.
    """
    lists = inverted(index)
    assert lists is not None
    return _placed(lists, inner(index, np.ascontiguousarray(vectors, dtype=np.float32)), groups)


def groups(index: Index) -> Neighbourhoods | None:
    """Groups of the centres of lists, for ``placed``; None where there are few."""
    lists = inverted(index)
    return (
        None if lists is None or lists.nlist < LEAST else Neighbourhoods(list_choice.middles(lists))
    )


def _placed(lists: faiss.IndexIVF, within: Floats, groups: Neighbourhoods | None = None) -> Placed:
    if lists.nlist < LEAST:
        similarities, nearest = lists.quantizer.search(within, 1)
        return Placed(np.ascontiguousarray(nearest[:, 0]), similarities[:, 0])
    return (groups or Neighbourhoods(list_choice.middles(lists))).placed(within)


def append(index: Index, segment: Index, start: int) -> None:
    """Put the vectors of an exact index into another; id i becomes ``start + i``."""
    moved = flat(segment).reconstruct_n(0, segment.ntotal)
    index.add_with_ids(moved, np.arange(start, start + segment.ntotal, dtype=np.int64))


def head(index: Index, vectors: int) -> bytes:
    """What stands before the lists in the file of such an index with so many vectors.

    Args:
        index: empty, with lists; what it looks into by itself is part of the head.
        vectors: of all lists together.

    Raises:
        SchemaError: this faiss writes files in another form.
    """
    lists = inverted(index)
    assert lists is not None
    index.ntotal = lists.ntotal = vectors
    content = faiss.serialize_index(index).tobytes()
    index.ntotal = lists.ntotal = 0
    end = no_lists(lists.nlist, lists.code_size)
    if not content.endswith(end):
        raise SchemaError(
            describe(index),
            f"lists that faiss {faiss.__version__} writes otherwise",
            "lists in the form of faiss 1.15",
            "Install the faiss-cpu of the lock; please report this.",
        )
    return content.removesuffix(end)


def emptied(index: Index) -> Index:
    """The index without its vectors: as it was trained."""
    index.reset()
    return index


def describe(index: Index) -> str:
    """Kind and dimension in words."""
    lists = inverted(index)
    if lists is None:
        return f"exact index, dim {index.d}"
    return f"{type(lists).__name__} of {lists.nlist} lists, {lists.code_size} bytes, dim {index.d}"


def set_probes(index: Index, lists: int) -> None:
    """How many inverted lists a search looks into by itself; it is written with the index."""
    within = inverted(index)
    if within is not None:
        within.nprobe = lists


def probes(index: Index) -> int:
    """How many inverted lists a search looks into by itself; 1 of an exact index."""
    within = inverted(index)
    return 1 if within is None else within.nprobe


def centroid_scores(index: Index, queries: Floats) -> Floats:
    """Similarity of each query to the centre of each list: (q, lists); (q, 1) zeros if exact."""
    lists = inverted(index)
    if lists is None:
        return np.zeros((len(queries), 1), np.float32)
    return list_choice.scores(lists, inner(index, np.ascontiguousarray(queries, dtype=np.float32)))


def selection(allowed: Ids, total: int) -> Selection:
    """What a search may find, for ``search``.

    Memory: a byte for each id while it is made, and a bit then.

    Args:
        allowed: ids, each once.
        total: ids that there are.
    """
    mask = np.zeros(total, np.bool_)
    mask[allowed] = True
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))


def search(
    index: Index,
    queries: Floats,
    k: int,
    gap: float | None = None,
    selected: Selection | None = None,
) -> tuple[Floats, Ids]:
    """The nearest vectors of each query, best first, as far as codes tell.

    Args:
        index: any.
        queries: (q, dim).
        k: at most ``index.ntotal`` are found; the rest has id -1.
        gap: look into every list whose centre is at most this much less similar than the nearest
            one; None: into as many as the index says itself. Without meaning for an exact one.
        selected: ids that may be found; None: all.

    Returns:
        Similarities and ids, (q, k) each.
    """
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    lists = inverted(index)
    if lists is None:
        return index.search(asked, k, params=faiss.SearchParameters(sel=selected))
    if gap is None:
        own = faiss.SearchParametersIVF(nprobe=lists.nprobe, sel=selected)
        return index.search(asked, k, params=own)
    within = inner(index, asked)
    scores, numbers = list_choice.within(lists, within, gap)
    similarities = np.empty((len(within), k), np.float32)
    ids = np.empty((len(within), k), np.int64)
    arrays = map(faiss.swig_ptr, (within, numbers, scores, similarities, ids))
    rows, assigned, centres, best, labels = arrays
    # Not faiss' function of arrays: it takes the number of lists from the index, which other
    # threads search too.
    parameters = faiss.SearchParametersIVF(nprobe=numbers.shape[1], sel=selected)
    as_pairs = False  # of a list and a place in it, instead of ids
    lists.search_preassigned_c(
        len(within), rows, k, assigned, centres, best, labels, as_pairs, parameters
    )
    return similarities, ids


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


def inverted(index: Index) -> faiss.IndexIVF | None:
    """The inverted file inside an index, None for an exact one."""
    lists = faiss.try_extract_index_ivf(index)
    return None if lists is None else cast("faiss.IndexIVF", faiss.downcast_index(lists))


def holds_whole(index: Index) -> bool:
    """Whether lists hold the vectors themselves, as they were added, and no codes of them."""
    return isinstance(index, faiss.IndexIVFFlat)


def inner(index: Index, vectors: Floats) -> Floats:
    """Vectors as the inverted file inside an index has them."""
    if not isinstance(index, faiss.IndexPreTransform):
        return vectors
    for place in range(index.chain.size()):
        vectors = faiss.downcast_VectorTransform(index.chain.at(place)).apply(vectors)
    return vectors


def flat(index: Index) -> faiss.IndexFlat:
    """The vectors inside an exact index, by position."""
    return cast("faiss.IndexFlat", faiss.downcast_index(index.index))
