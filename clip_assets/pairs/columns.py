"""What source columns are called, and how their values become canonical ones.

One table of names for every source, and one rule per canonical type for values that do not
fit. Both are written as DuckDB expressions over any relation of text or typed columns; which
relation that is depends on the file, see ``relations``.
"""

from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass

import pyarrow as pa

from clip_assets import schemas
from clip_assets.errors import ConfigurationError, SourceFormatError
from clip_assets.storage.sql import literal

NAMES: dict[str, tuple[str, ...]] = {
    "uid": ("uid",),
    "url": ("url", "image_url", "img_url", "image_link", "link"),
    "caption": (
        "caption", "text", "alt_text", "alttext", "alt", "top_caption", "title", "description",
    ),
    # img2dataset's width and height are those of its resized image.
    "width": ("original_width", "width", "image_width"),
    "height": ("original_height", "height", "image_height"),
    "similarity": ("similarity", "clip_similarity"),
    "nsfw": ("nsfw",),
    "punsafe": ("punsafe",),
    "pwatermark": ("pwatermark", "watermark_score"),
    "aesthetic": ("aesthetic", "aesthetic_score", "aesthetic_score_laion_v2"),
    "license": ("license",),
    "language": ("language", "lang"),
    "sha256": ("sha256",),
    "md5": ("md5",),
    "clip_b32_similarity_score": ("clip_b32_similarity_score", "clip_similarity_vitb32"),
    "clip_l14_similarity_score": ("clip_l14_similarity_score", "clip_similarity_vitl14"),
    "face_bboxes": ("face_bboxes",),
}  # fmt: skip
"""Source names of each canonical column in lower case, the preferred one first: LAION-400M and
-5B, DataComp, COYO, CC3M and CC12M, and img2dataset's own outputs."""

BOXES = "face_bboxes"
"""The canonical column whose values are nested."""

MAX_COLUMNS = 1000
"""LAION and COYO have below 30."""

MAX_URL_BYTES = 8192
"""A longer url is no address that a server answers; the row is rejected."""

MAX_VALUE_BYTES = 1 << 16
"""A longer value of any other column does not fit."""

RANGES: dict[str, tuple[float, float]] = {
    "width": (0, 2**31 - 1),
    "height": (0, 2**31 - 1),
    # Cosines, with room for half precision.
    "similarity": (-1.01, 1.01),
    "clip_b32_similarity_score": (-1.01, 1.01),
    "clip_l14_similarity_score": (-1.01, 1.01),
    "punsafe": (0, 1),
    "pwatermark": (0, 1),
}
"""Values outside do not fit: LAION-400M's own files hold similarities of 6016."""

SPACES = "".join(map(chr, range(1, 33))) + (
    "\x7f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b"
    "\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
"""Around a url are no part of it: what browsers strip from an address, and what looks like it."""

_SHORT = 64
# Bytes of the longest number or digest.

PAIR = f"concat(url, chr({ord(schemas.UID_SEPARATOR)}), coalesce(caption, ''))"
"""What the uid of a row whose source brings none is the md5 of."""

DIGESTED = {"pair": PAIR, "url": "url"}
"""What deduplication compares the md5 of, by what makes rows duplicates."""

_DIGESTS = {"uid": 32, "sha256": 64, "md5": 32}
_EMPTY = r"(?i)[\s\x00]*(nan|none|null|na|n/a)?[\s\x00]*"
# How writers of tables spell "no value".


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Where the columns of one source file go.

    Args:
        canonical: canonical column to source column.
        extras: column that is kept as text, under this name, to source column.
    """

    canonical: dict[str, str]
    extras: dict[str, str]


def understood(further: Mapping[str, str]) -> frozenset[str]:
    """Every column name that means something, in lower case."""
    return frozenset(name for names in _names(further).values() for name in names)


def plain(further: Mapping[str, str]) -> frozenset[str]:
    """Those names whose values are not nested."""
    names = _names(further)
    return understood(further).difference(names[BOXES])


def column_map(
    source_columns: Sequence[str],
    further: Mapping[str, str],
    where: str,
    *,
    nested: Collection[str] = (),
    lists: Collection[str] = (),
) -> ColumnMap:
    """Match a file's column names, ignoring case, with the canonical ones.

    Args:
        source_columns: the file's column names, in order.
        further: source names that the pool's settings add, each with a canonical name.
        where: the file, for the error.
        nested: columns whose values are none of a canonical column, but for those of boxes.
        lists: columns of lists, of which a canonical column takes the first text; the others are
            kept as well.

    Raises:
        SourceFormatError: no column holds urls, or there are too many.
        ConfigurationError: the settings name a canonical column that there is not.
    """
    names = _names(further)
    canonical: dict[str, str] = {}
    for column, understood in names.items():
        by_name = {
            name.strip().casefold(): name
            for name in reversed(source_columns)
            if name not in nested or column == BOXES
        }
        match = next((by_name[name] for name in understood if name in by_name), None)
        if match is not None:
            canonical[column] = match
    if "url" not in canonical:
        raise SourceFormatError(
            where,
            f"columns {', '.join(source_columns[:20]) or '(none)'}",
            f"one of {', '.join(names['url'])}",
            "Rename the column, or name it in pool.yaml: sources.columns: {<name>: url}.",
        )
    used = set(canonical.values()).difference(lists)
    extras: dict[str, str] = {}
    for name in source_columns:
        if name not in used:
            extras[_free(name, extras)] = name
    return ColumnMap(canonical, extras)


def refuse_too_many(names: Sized, where: str) -> None:
    """Stop at more columns than a table of pairs has, before their number makes work.

    Raises:
        SourceFormatError: there are more than ``MAX_COLUMNS``.
    """
    if len(names) > MAX_COLUMNS:
        raise SourceFormatError(
            where,
            f"{len(names):,} columns",
            f"at most {MAX_COLUMNS:,}",
            "Select the columns that describe pairs before adding the file.",
        )


def _names(further: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    names = dict(NAMES)
    for name, column in further.items():
        if column not in names:
            raise ConfigurationError(
                f"sources.columns.{name}", column, f"one of {', '.join(names)}", "Correct it."
            )
        names[column] = (name.strip().casefold(), *names[column])
    return names


def _free(name: str, taken: Mapping[str, str]) -> str:
    """A name for an extra column; DuckDB and datasets tools ignore case, so we do too.

    A name of our own never means what a source means by it.
    """
    name = name.replace("\0", "").encode("utf-8", "replace").decode()
    low = {*schemas.PAIRS.names, *(other.casefold() for other in taken)}
    while name.casefold() in low:
        name = f"source_{name}"
    return name


@dataclass(frozen=True, slots=True)
class Given:
    """A column of a relation.

    Args:
        name: of the column, as SQL knows it.
        is_text: whether its values are text, and may be of any length.
        json: the whole value as text, as SQL, where it is nested.
    """

    name: str
    is_text: bool = True
    json: str = ""

    @property
    def kept(self) -> "Given":
        """The column as it is kept beside the canonical ones."""
        return Given(self.json) if self.json else self

    @property
    def text(self) -> str:
        """Its values as text."""
        # In brackets: what follows a bare cast, such as [-1], would be part of its type.
        return self.name if self.is_text else f"({self.name}::VARCHAR)"

    def short(self, limit: int) -> str:
        """Its values, null where they are longer than ``limit`` bytes.

        A value of gigabytes costs nothing until somebody looks into it.
        """
        if not self.is_text:
            return self.name
        return f"CASE WHEN strlen({self.name}) <= {limit} THEN {self.name} END"


def value(column: str, given: Given) -> str:
    """The canonical value of a source column as SQL, null where it does not fit."""
    if column == "url":
        return _url(given)
    if column in RANGES:
        low, high = RANGES[column]
        number = f"try_cast({given.short(_SHORT)} AS DOUBLE)"
        # Minima and maxima of a parquet file know no NaN, and DuckDB believes them.
        fits = f"isfinite({number}) AND {number} BETWEEN {low} AND {high}"
        fits = f"CASE WHEN {fits} THEN {number} END"
        return f"({fits})::{sql_type(column)}"
    if column in _DIGESTS:
        text = f"lower({given.short(_SHORT)}::VARCHAR)"
        digits = f"[0-9a-f]{{{_DIGESTS[column]}}}"
        return f"CASE WHEN regexp_full_match({text}, '{digits}') THEN {text} END"
    if column == "aesthetic":
        number = f"try_cast({given.short(_SHORT)} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {number} END"
    if column == BOXES:
        return f"try_cast({given.short(MAX_VALUE_BYTES)} AS DOUBLE[][])"
    return text_value(given)


def _url(given: Given) -> str:
    text = given.text
    # Of a longer one so much is kept that it is still too long.
    cut = f"left({text}, {MAX_URL_BYTES + 1})"
    whole = _without_nul(text)
    # Trimming every value costs as much as parsing it.
    spaced = " OR ".join(f"{end} < '!' OR {end} > '~'" for end in (text, f"{text}[-1]"))
    stripped = f"CASE WHEN {spaced} THEN trim({whole}, {literal(SPACES)}) ELSE {whole} END"
    long = f"strlen({text}) > {MAX_URL_BYTES}"
    return f"nullif(CASE WHEN {long} THEN {cut} ELSE {stripped} END, '')"


def text_value(given: Given) -> str:
    """Text without NUL characters; null when it is empty or too long."""
    text = given.text
    fits = f"CASE WHEN strlen({text}) > {MAX_VALUE_BYTES} THEN NULL ELSE {_without_nul(text)} END"
    return f"nullif({fits}, '')"


def _without_nul(text: str) -> str:
    return f"CASE WHEN contains({text}, chr(0)) THEN replace({text}, chr(0), '') ELSE {text} END"


def says_something(given: Given) -> str:
    """Whether a value is more than a spelling of "no value", as SQL.

    Text spells it as NaN, too; where numbers have a type, null is another thing.
    """
    if not given.is_text:
        return "true"
    # An IN list would be a join over all rows.
    return (
        f"CASE WHEN strlen({given.text}) > {_SHORT} THEN true"
        f" ELSE NOT regexp_full_match({given.text}, '{_EMPTY}') END"
    )


def sql_type(column: str) -> str:
    """DuckDB's type of a canonical column."""
    kind = schemas.CANONICAL.field(column).type
    if pa.types.is_list(kind):
        return "DOUBLE[][]"
    return {pa.string(): "VARCHAR", pa.int32(): "INTEGER", pa.float64(): "DOUBLE"}[kind]
