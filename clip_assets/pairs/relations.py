"""Sources as DuckDB relations whose columns have been given their canonical meaning.

Names are matched and queries written here; the rules of single values are in ``columns``, and
``staging`` runs the queries.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from clip_assets import schemas
from clip_assets.pairs import columns
from clip_assets.pairs.columns import Given
from clip_assets.pairs.formats.batches import Batch
from clip_assets.pairs.formats.csv import BROKEN_QUOTING, NO_VALUE
from clip_assets.pairs.formats.dialect import Dialect
from clip_assets.pairs.formats.lines import MAX_RECORD_BYTES
from clip_assets.pairs.formats.parquet import ROW_NUMBER, TEXTS, RowGroups, is_bytes
from clip_assets.storage.sql import files, identifier, literal

_SWALLOWS = '"?"'


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows of sources, before their values are looked at.

    Args:
        sql: what follows FROM.
        canonical: canonical column to the relation's column.
        extras: further column to the relation's column.
        line: the column that has the rows' lines, or NULL.
        line_ends: signs that are in a value if a quote that was left open took in other rows;
            none where there are no quotes.
    """

    sql: str
    canonical: dict[str, Given]
    extras: dict[str, Given]
    line: str = "NULL"
    line_ends: str = ""

    @property
    def text_columns(self) -> list[Given]:
        """Columns whose values may be of any length."""
        every = (*self.canonical.values(), *self.extras.values())
        return [given for given in every if given.is_text]


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A local csv file.

    Args:
        number: of the source in the partition.
        where: the source, for errors.
        path: the file, decompressed.
        dialect: how it is written.
    """

    number: int
    where: str
    path: Path
    dialect: Dialect


def of_csv(csv_files: Sequence[CsvFile], further: Mapping[str, str]) -> Relation:
    """Rows of csv files one after the other, aligned by name.

    Raises:
        SourceFormatError: one has no urls.
    """
    selects: list[str] = []
    canonical: dict[str, Given] = {}
    extras: dict[str, Given] = {}
    for dialect, alike in groupby(csv_files, key=lambda file: file.dialect):
        paths = list(alike)
        given = {name: Given(f"c{i}") for i, name in enumerate(dialect.columns)}
        relation = _matched(
            _read_csv([file.path for file in paths], dialect), given, further, paths[0].where
        )
        named = [(f'"={name}"', given.name) for name, given in relation.canonical.items()]
        named += [(extra(name), given.name) for name, given in relation.extras.items()]
        if dialect.escape == "\\":
            named = [(name, f"nullif({given}, {literal(NO_VALUE)})") for name, given in named]
        renamed = [f"{given} AS {name}" for name, given in named]
        selects.append(f"SELECT {', '.join(renamed)} FROM {relation.sql}")
        canonical |= {name: Given(f'"={name}"') for name in relation.canonical}
        # Names that differ only in case are one column, called as it was first.
        known = {extra(name) for name in extras}
        extras |= {name: Given(extra(name)) for name in relation.extras if extra(name) not in known}
        columns.refuse_too_many(extras, paths[0].where)
    # Expressions stand once above the union; in every select they would take longer to plan
    # than a small file takes to read.
    quoted = [file.dialect for file in csv_files if file.dialect.quoted]
    line_ends = "\n" * bool(quoted) + "\r" * any(dialect.ends_with_cr for dialect in quoted)
    union = " UNION ALL BY NAME ".join(selects)
    return Relation(f"({union})", canonical, extras, line_ends=line_ends)


def _read_csv(paths: Sequence[Path], dialect: Dialect) -> str:
    names = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(dialect.columns)))
    quote, escape = ('"', dialect.escape) if dialect.quoted else ("", "")
    return (
        f"read_csv({files(paths)}, auto_detect=false, columns={{{names}}},"
        f" delim={literal(dialect.delimiter)}, quote={literal(quote)},"
        f" escape={literal(escape)},"
        f" header={str(dialect.has_header).lower()}, max_line_size={MAX_RECORD_BYTES},"
        " hive_partitioning=false)"
    )


def of_parquet(
    path: Path, row_groups: RowGroups, further: Mapping[str, str], where: str
) -> Relation:
    """Rows of a local parquet file's row groups.

    Raises:
        SourceFormatError: it has no urls.
    """
    places = ", ".join(f"c{i}" for i in range(len(row_groups.names)))
    last = row_groups.first + row_groups.count - 1
    relation = (
        f"(SELECT * FROM read_parquet({files([path])}, hive_partitioning=false)"
        f" WHERE {ROW_NUMBER} BETWEEN {row_groups.first} AND {last})"
        f" AS file({places})"
    )
    return _matched(relation, _given(row_groups.names, row_groups.types), further, where)


def of_batch(name: str, batch: Batch, further: Mapping[str, str], where: str) -> Relation:
    """Rows of a batch that is registered under a name.

    Raises:
        SourceFormatError: it has no urls.
    """
    given = _given(batch.names, batch.table.schema.types)
    return _matched(name, given, further, where, line="line")


def _matched(
    sql: str, given: Mapping[str, Given], further: Mapping[str, str], where: str, line: str = "NULL"
) -> Relation:
    nested = {name for name, place in given.items() if place.json and not place.is_text}
    lists = {name for name, place in given.items() if place.json and place.is_text}
    mapping = columns.column_map(list(given), further, where, nested=nested, lists=lists)
    canonical = {column: given[name] for column, name in mapping.canonical.items()}
    extras = {kept: given[name].kept for kept, name in mapping.extras.items()}
    return Relation(sql, canonical, extras, line)


def _given(names: Sequence[str], types: Sequence[pa.DataType]) -> dict[str, Given]:
    """Columns of a relation that calls them ``c0``, ``c1`` and so on, by the source's names.

    Images and other binary columns are no metadata and are left out. Of a list of texts the first
    is what a canonical column can hold.
    """
    return {
        name: _column(f"c{i}", kind)
        for i, (name, kind) in enumerate(zip(names, types, strict=False))
        if not is_binary(kind)
    }


def _column(name: str, kind: pa.DataType) -> Given:
    if not pa.types.is_nested(kind):
        return Given(name, is_text=kind in TEXTS)
    json = f"to_json({name})::VARCHAR"
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and kind.value_type in TEXTS:
        return Given(f"{name}[1]", json=json)
    return Given(name, is_text=False, json=json)


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are bytes or hold some."""
    if pa.types.is_nested(kind):
        return any(is_binary(kind.field(i).type) for i in range(kind.num_fields))
    return is_bytes(kind)


def extra(name: str) -> str:
    """SQL name of a further column."""
    return identifier(extra_column(name))


def extra_column(name: str) -> str:
    """What relations call a further column; two that differ only in case are one."""
    return f"+{name.casefold()}"


def rows_of(
    relation: Relation,
    number: int,
    duplicates: str,
    promoted: Collection[str] = (),
    spelled: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The query for canonical rows, with what is wrong with each.

    Args:
        relation: what to read.
        number: of its first source in the partition.
        duplicates: what makes rows duplicates, see ``columns.DIGESTED``.
        promoted: further columns that are columns of the rows, too.
        spelled: further columns whose case another source of the partition decided, by their
            names in lower case.

    Its columns are those canonical and promoted ones that the relation has, ``caption``,
    ``further`` (see ``schemas.FURTHER``), and ``line``, ``source``, ``digest`` (the md5, first byte
    lowest), ``misfits`` (a bit for each canonical column) and ``reason`` (null for a pair).
    """
    chosen = relation.canonical
    values = [f"{columns.value(column, given)} AS {column}" for column, given in chosen.items()]
    values += [
        f"{columns.text_value(given)} AS {extra(name)}" for name, given in relation.extras.items()
    ]
    if "caption" not in chosen:
        values.append("NULL::VARCHAR AS caption")
    given_of = {
        column: Given(f'"?{column}"', given.is_text)
        for column, given in chosen.items()
        if column != "url"
    }
    values += [f"{chosen[column].name} AS {given.name}" for column, given in given_of.items()]
    values.append(f"{_swallows(relation)} AS {_SWALLOWS}")
    own = {extra(name) for name in promoted}
    told = {
        extra(name): spelled.get(name.casefold(), name)
        for name in relation.extras
        if extra(name) not in own
    }
    hidden = ", ".join([_SWALLOWS, *told, *(given.name for given in given_of.values())])
    return (
        f"SELECT * EXCLUDE ({hidden}), {_further(told)} AS further, {number} AS source,"
        f" {_misfits(given_of)} AS misfits,"
        f" md5_number({columns.DIGESTED[duplicates]}) AS digest,"
        " CASE WHEN url IS NULL THEN 'no url'"
        f" WHEN strlen(url) > {columns.MAX_URL_BYTES}"
        f" THEN 'url of more than {columns.MAX_URL_BYTES:,} bytes'"
        f" WHEN {_SWALLOWS} THEN '{BROKEN_QUOTING}' END AS reason"
        f" FROM (SELECT {', '.join(values)}, {relation.line} AS line FROM {relation.sql})"
    )


def _further(told: Mapping[str, str]) -> str:
    """A json object of what is not null, by name, as SQL; null where nothing is."""
    names = {column: json.dumps(name, ensure_ascii=False) for column, name in told.items()}
    pairs = [
        f"CASE WHEN {column} IS NOT NULL THEN concat({literal(f'{name}:')}, to_json({column})) END"
        for column, name in names.items()
    ]
    objects = f"concat('{{', concat_ws(',', {', '.join(pairs)}), '}}')"
    return f"nullif({objects}, '{{}}')" if pairs else "NULL::VARCHAR"


def _swallows(relation: Relation) -> str:
    """Whether a row may have others in one of its values, as SQL: a url on a later line of it."""
    texts = [given.name for given in relation.text_columns if relation.line_ends]
    ends = [f"contains({text}, chr({ord(end)}))" for text in texts for end in relation.line_ends]
    # Only the few rows with values of many lines are looked at.
    urls = [f"regexp_matches({text}, '[\\r\\n][^\\r\\n]*https?://', 'i')" for text in texts]
    return f"CASE WHEN {' OR '.join(ends)} THEN {' OR '.join(urls)} END" if ends else "false"


def _misfits(given_of: Mapping[str, Given]) -> str:
    """A bit for each canonical column whose source holds something that it cannot, as SQL."""
    lost = {
        column: f"({given.name} IS NOT NULL AND {column} IS NULL)"
        for column, given in given_of.items()
    }
    bits = [
        f"CASE WHEN {lost[column]} AND {columns.says_something(given)}"
        f" THEN {1 << schemas.CANONICAL.names.index(column)} ELSE 0 END"
        for column, given in given_of.items()
    ]
    # Only the few rows that lost a value are looked at.
    return (
        f"(CASE WHEN {' OR '.join(lost.values())} THEN {' | '.join(bits)} ELSE 0 END)::BIGINT"
        if given_of
        else "0::BIGINT"
    )
