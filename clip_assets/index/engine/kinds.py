"""Which kind of faiss index holds a number of vectors: arithmetic only.

Only kinds that can be merged and removed from are considered: exact (Flat), and inverted files
(IVF) whose vectors are whole, one byte a dimension (SQ8), some bits a dimension (RaBitQ) or a
product code (PQ). HNSW graphs can do neither. Why these is said in docs/decisions/0033; building
them is the matter of ``engine.ann``.
"""

import math
from dataclasses import dataclass

from clip_assets.errors import ConfigurationError
from clip_assets.settings import IndexSettings

FLAT = "IDMap2,Flat"

HEADROOM = 2
"""It must have room for this many times the vectors, so that renewals stay rare."""

BOUND = "index.max_memory_bytes"

ID_BYTES = 8

TRAINING_POINTS = 39
"""Of each list at least; with fewer, faiss calls its clusters unreliable."""

POINTS_PER_LIST = 256
"""Vectors that training uses for each list and code at most; more do not make it better."""

CODES = 256
"""Values of one byte of a product code."""

BITS = (4, 2, 1)
"""Of one dimension in a RaBitQ code, most first."""

SEVERAL_BITS = tuple(f"RaBitQ{bits}" for bits in BITS if bits > 1)
"""End the keys of kinds that faiss 1.13 reads without an error and finds other vectors by."""

FACTORS_BYTES = {4: 20, 2: 20, 1: 8}
"""What a RaBitQ code of so many bits holds beside them, to tell a similarity from them."""

PRODUCT_CODES = (32, 16, 8)
"""Bytes of a product code; more bytes are spent better on RaBitQ, which also trains at once."""

PROJECTED = "P"
"""Begins the key of a kind that keeps so many directions of the vectors; not faiss' word."""

HALF_BYTE = "x4"
"""Ends the key of product codes of four bits each, which ``engine.fast_lists`` compares fast."""

DIMS_A_BYTE = (4, 2)
"""Directions that are kept for each byte of a product code, see docs/decisions/0054."""

MANY = 1_000_000
LISTS_OF_MANY = ((300_000_000, 2**17), (10_000_000, 2**16), (MANY, 2**14))
"""From so many vectors on, so many lists; with fewer vectors, lists grow as their square root."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A kind of index.

    Args:
        key: of faiss' index factory, or that after ``PROJECTED`` and a number.
        why: in words.
        bytes_per_vector: in memory and in the file, id included.
        fits_up_to: vectors for which there is room.
    """

    key: str
    why: str
    bytes_per_vector: int
    fits_up_to: int


def fitting(
    vectors: int,
    dim: int,
    lists: int,
    settings: IndexSettings,
    headroom: int = HEADROOM,
    *,
    bound: str = BOUND,
) -> list[Choice]:
    """The kinds that fit into memory, the most exact first; an exact index alone, if it does.

    Args:
        vectors: to be indexed today.
        dim: of each.
        lists: inverted lists that suit so many vectors.
        settings: exact up to ``flat_limit`` vectors, and at most ``max_memory_bytes``.
        headroom: room for this many times the vectors; 1 where none are added later.
        bound: what people know ``max_memory_bytes`` by.

    Raises:
        ConfigurationError: not even the smallest code fits.
    """
    flat_bytes = 4 * dim + ID_BYTES
    if vectors <= settings.flat_limit and vectors * flat_bytes <= settings.max_memory_bytes:
        room = settings.max_memory_bytes // flat_bytes
        why = f"exact: {vectors:,} vectors are at most flat_limit ({settings.flat_limit:,})"
        return [Choice(FLAT, why, flat_bytes, min(settings.flat_limit, room))]
    # Centres of lists, a rotation, and what product codes stand for.
    beside = 4 * dim * (lists + dim + CODES)
    room_bytes = settings.max_memory_bytes - beside
    fits: list[Choice] = []
    every = _inverted(dim, lists)
    for key, size, words in every:
        holds = room_bytes // size
        if holds >= headroom * vectors:
            room = "leave room to double in" if headroom == HEADROOM else "fit into"
            why = (
                f"{words} in {lists:,} lists: {vectors:,} vectors at {size:,} bytes each {room} "
                f"{bound} ({settings.max_memory_bytes:,})"
            )
            fits.append(Choice(key, why, size, holds))
    if fits:
        return fits
    raise ConfigurationError(
        bound,
        f"{settings.max_memory_bytes:,}",
        f"{beside + headroom * vectors * every[-1][1]:,} at least, for {headroom * vectors:,} "
        f"vectors of {dim} dimensions",
        "Give the index more memory.",
    )


def suited_lists(vectors: int) -> int:
    """Inverted lists for so many vectors: autofaiss' first choice, by faiss' own guidelines."""
    if vectors < MANY:
        return 2 ** round(math.log2(4 * math.sqrt(max(1, vectors))))
    return next(lists for least, lists in LISTS_OF_MANY if vectors >= least)


def lists_for(vectors: int, train_limit: int) -> int:
    """As many of the suited inverted lists as can be trained well.

    Args:
        vectors: of the pool.
        train_limit: vectors that training may use.
    """
    return max(1, min(suited_lists(vectors), min(vectors, train_limit) // TRAINING_POINTS))


def _inverted(dim: int, lists: int) -> list[tuple[str, int, str]]:
    """Keys of inverted files with bytes per vector and words, the most exact first."""
    kinds = [
        (f"IVF{lists},Flat", 4 * dim, "whole vectors"),
        (f"IVF{lists},SQ8", dim, "one byte a dimension"),
    ]
    for bits in BITS:
        # A rotation spreads what single dimensions stand out by, which RaBitQ counts on.
        key = f"RR{dim},IVF{lists},RaBitQ{bits if bits > 1 else ''}"
        size = -(-dim * bits // 8) + FACTORS_BYTES[bits]
        kinds.append((key, size, f"{bits} bits a dimension" if bits > 1 else "one bit a dimension"))
    codes = [code for code in PRODUCT_CODES if dim % code == 0 and code < dim]
    kinds += [(f"IVF{lists},PQ{code}", code, f"product codes of {code} bytes") for code in codes]
    smaller = [
        kind
        for place, kind in enumerate(kinds)
        if all(kind[1] < before[1] for before in kinds[:place])
    ]
    every = [one for kind in smaller for one in (*_projected(kind, dim), kind)]
    # Fewest bytes last; of equal ones those of whole bytes first.
    every = sorted([*every, *_of_half_bytes(dim, lists)], key=lambda kind: -kind[1])
    return [(key, size + ID_BYTES, words) for key, size, words in every]


def _of_half_bytes(dim: int, lists: int) -> list[tuple[str, int, str]]:
    """Half a byte for each two of the directions in which vectors vary most, half of all at most.

    See docs/decisions/0075 and 0084.
    """
    most = dim // 8
    sizes = {most, *(size for size in PRODUCT_CODES if size <= most)}
    if dim % 8 or most < min(PRODUCT_CODES):
        return []
    return [
        (
            f"{PROJECTED}{4 * size},RR{4 * size},IVF{lists},PQ{2 * size}{HALF_BYTE}",
            size,
            f"half a byte for two of {4 * size} directions",
        )
        for size in sizes
    ]


def _projected(kind: tuple[str, int, str], dim: int) -> list[tuple[str, int, str]]:
    """Product codes of as many bytes for the directions in which vectors vary most."""
    key, size, words = kind
    if not key.endswith(f",PQ{size}"):
        return []
    dims = [size * each for each in DIMS_A_BYTE if size * each < dim]
    return [(f"{PROJECTED}{d},RR{d},{key}", size, f"{words} for {d} directions") for d in dims]
