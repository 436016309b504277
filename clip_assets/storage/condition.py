"""One SQL expression that a person wrote, as a choice of rows of a table.

DuckDB parses it, ``grammar`` says whether it is harmless, and it is computed in a sealed database
with limits of time and memory. What is chosen with it belongs to the callers.
"""

import difflib
import json
import os
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clip_assets.errors import ConfigurationError
from clip_assets.storage import sql
from clip_assets.storage.grammar import Tree, check, too_deep, walk, wrong

MEMORY_BYTES = 2**29
"""Of computing one condition, and of DuckDB's buffers for all of a process."""

BATCH_ROWS = 2048
"""DuckDB's own; larger batches would be cut."""

SECONDS = 10.0
"""Of computing one condition over one table."""

CHARACTERS = 20_000
"""Of a condition; a list of some hundred uids fits."""

AGAIN_S = 0.05
"""Between interruptions: one that comes before DuckDB computes is forgotten by it."""


@dataclass(frozen=True)
class Condition:
    """A condition that was parsed and found harmless.

    Args:
        text: as it was written.
        columns: those that it reads, by the table's names, sorted.
        size: how many expressions it is made of.
    """

    text: str
    columns: tuple[str, ...]
    size: int

    @classmethod
    def parse(cls, text: str, columns: Sequence[str] | pa.Schema) -> "Condition":
        """Parse a condition on the columns of a table.

        Args:
            text: one SQL expression of DuckDB's, such as ``text ILIKE '%dog%'``.
            columns: the columns that it may name; with a schema its types are compared too.

        Raises:
            ConfigurationError: it is no expression, reads anything but columns and constants, is
                too long or nested too deep, names a column that there is none of, or, where types
                are known, does not fit them or is neither true nor false.
        """
        names = list(columns.names if isinstance(columns, pa.Schema) else columns)
        used: set[str] = set()
        size = 0
        for node in walk(text, _expression(text), 0):
            size += 1
            check(text, node)
            if node["class"] == "COLUMN_REF":
                used.add(_column(text, node["column_names"], names))
        condition = cls(text, tuple(sorted(used)), size)
        if isinstance(columns, pa.Schema):
            # Schema.empty_table loads pandas, and so does to_numpy below.
            condition.mask(pa.Table.from_batches([], columns))
        return condition

    def mask(self, table: pa.Table, seconds: float = SECONDS) -> npt.NDArray[np.bool_]:
        """Which rows it holds for; a row for which it is null is not one.

        Args:
            table: (n,) rows with the condition's columns; others are not read.
            seconds: after which it is given up. Time that one call of a function takes on one
                batch of rows is not interrupted.

        Returns:
            (n,) bool.

        Raises:
            ConfigurationError: it takes too much time or memory, cannot be computed for a value
                of the table, or is neither true nor false.
        """
        # Without any column DuckDB does not see how many rows there are.
        read = table.select([*(self.columns or table.column_names[:1])])
        batches = pa.RecordBatchReader.from_batches(read.schema, self._batches(read))
        with (
            sql.sealed(MEMORY_BYTES) as database,
            _told(self.text, seconds),
            _limit(database, seconds),
        ):
            judged = database.from_arrow(batches).project(f"(\n{self.text}\n) AS passes")
            if judged.types != ["BOOLEAN"]:
                kind = str(judged.types[0]).lower()
                raise wrong(self.text, f"a value of type {kind}", "true or false for every row")
            passes = judged.to_arrow_table()["passes"]
        return np.concatenate([np.zeros(0, np.bool_), *map(_mask, passes.chunks)])

    def _batches(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        """The table in batches for which every expression can have values of its own."""
        # DuckDB does not count what texts take that functions give.
        most = MEMORY_BYTES // (self.size * len(os.sched_getaffinity(0)))
        waiting = table.to_batches(max_chunksize=BATCH_ROWS)[::-1]
        while waiting:
            batch = waiting.pop()
            if batch.nbytes <= most:
                yield batch
            elif len(batch) > 1:
                half = len(batch) // 2
                waiting += [batch.slice(half), batch.slice(0, half)]
            else:
                raise _too_large(self.text)


def _mask(passes: "pa.Array[Any]") -> npt.NDArray[np.bool_]:
    """(n,) whether it is true."""
    is_null, values = passes.buffers()
    both = [
        np.frombuffer(memoryview(bits), np.uint8) for bits in (values, is_null) if bits is not None
    ]
    rows = slice(passes.offset, passes.offset + len(passes))
    every = [np.unpackbits(bits, bitorder="little")[rows] for bits in both]
    return np.logical_and.reduce(every) if every else np.zeros(len(passes), np.bool_)


def _expression(text: str) -> Tree:
    """The one expression that a text is, as DuckDB parses it."""
    if len(text) > CHARACTERS:
        raise wrong(text, f"{len(text):,} characters", f"{CHARACTERS:,} at most")
    parsed, plain = _parsed(text), _parsed("true")
    nodes = [statement["node"] for statement in parsed["statements"]]
    expressions: list[Tree] = nodes[0].get("select_list", []) if nodes else []
    around = [_rest(node) for node in nodes]
    expected = [_rest(statement["node"]) for statement in plain["statements"]]
    if len(expressions) != 1 or around != expected:
        raise wrong(text, "more than an expression", "one expression, without clauses around it")
    return expressions[0]


def _rest(node: Tree) -> Tree:
    """A query without what it selects and without places in its text."""
    kept = {name: value for name, value in node.items() if name != "select_list"}
    return json.loads(json.dumps(kept), object_hook=_without_places)


def _without_places(node: Tree) -> Tree:
    return {name: value for name, value in node.items() if not name.startswith("query_location")}


def _parsed(text: str) -> Tree:
    with sql.sealed(MEMORY_BYTES) as database, _told(text, SECONDS):
        # A comment at its end does not hide what follows.
        query = f"SELECT (\n{text}\n)"
        [(tree,)] = database.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    try:
        parsed: Tree = json.loads(tree)
    except RecursionError:
        raise too_deep(text) from None
    if parsed["error"]:
        raise wrong(text, _first_line(parsed["error_message"]), "an SQL expression")
    return parsed


def _column(text: str, named: Sequence[str], names: Sequence[str]) -> str:
    """The column of the table that a reference means; case does not matter, as in SQL."""
    if len(named) == 1:
        for name in names:
            if name.lower() == named[0].lower():
                return name
    hint = f"perhaps {_nearest(named[-1].lower(), names)}; " if names else ""
    raise wrong(text, f"the column {'.'.join(named)}", f"{hint}one of {', '.join(names)}")


def _nearest(text: str, names: Sequence[str]) -> str:
    """The name that is most alike, as a whole or by one of its words."""

    def likeness(name: str) -> float:
        words = (name, *name.split("_"))
        return max(difflib.SequenceMatcher(None, text, word).ratio() for word in words)

    return max(names, key=likeness)


@contextmanager
def _limit(database: sql.Database, seconds: float) -> Generator[None]:
    """Interrupt what the database computes in the block after some time."""
    ended = threading.Event()

    def interrupt() -> None:
        if not ended.wait(seconds):
            database.interrupt()
            while not ended.wait(AGAIN_S):
                database.interrupt()

    watch = threading.Thread(target=interrupt, daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


@contextmanager
def _told(text: str, seconds: float) -> Generator[None]:
    """What DuckDB says of a condition, as an error of ours."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise wrong(text, f"no end after {seconds:g} s", "an answer in that time") from error
    except duckdb.OutOfMemoryException as error:
        raise _too_large(text) from error
    except (duckdb.Error, UnicodeError) as error:
        raise wrong(text, _first_line(str(error)), "what every row has a value for") from error


def _too_large(text: str) -> ConfigurationError:
    least = f"{MEMORY_BYTES // 2**20} MiB of memory"
    return wrong(text, f"a need of more than {least}", "less")


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0]
