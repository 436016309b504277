"""DuckDB connections with a declared bound, and literals for their queries.

DuckDB has no parameters for identifiers, file lists and options; whatever is written into a
query goes through ``literal`` or ``identifier``. What is asked belongs to the stages.
"""

import os
import re
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa

from clip_assets.errors import SourceFormatError

Database: TypeAlias = "duckdb.DuckDBPyConnection"
"""A connection, for annotations. At run time it is a text: while the interpreter ends, torch keeps
alive what Dagster's definitions reach, and DuckDB complains of each of its classes among that."""

_PATTERN = re.compile(r"[\[*?]")


@contextmanager
def connection(memory_bytes: int) -> Generator[Database]:
    """An in-memory database for the time of the block.

    Args:
        memory_bytes: bound on its memory; beyond it intermediate data goes to a temporary
            folder, which is removed with the block.
    """
    with tempfile.TemporaryDirectory(prefix="clip-assets-") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_bytes} bytes",
            "temp_directory": folder,
            # Nothing is fetched at run time, whatever a query names.
            "autoinstall_known_extensions": False,
            "preserve_insertion_order": True,
        }
        with duckdb.connect(":memory:", config=config) as database:
            # Progress is told by the stages, in their own words.
            database.execute("SET enable_progress_bar = false")
            yield database


@contextmanager
def translated(sources: str) -> Generator[None]:
    """Raise what the libraries of tables make of strangers' files in the block as our own error.

    Args:
        sources: the files, for the error.

    Raises:
        SourceFormatError: they cannot be read as a table.
    """
    try:
        yield
    except (duckdb.Error, pa.ArrowException, RuntimeError) as error:
        raise SourceFormatError(
            sources,
            f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            "tables that can be read",
            "Look at what they hold; leave out what is no table of pairs, then add --refresh.",
        ) from error


@contextmanager
def sealed(memory_bytes: int) -> Generator[Database]:
    """A cursor of a database for what strangers wrote, for the time of the block.

    It reads no file, loads no extension, sees no variable of Python, changes no setting and writes
    nothing to a disk. All cursors of a process share one database and its bound of memory.

    Args:
        memory_bytes: bound on the memory of the database.
    """
    cursor = _sealed(memory_bytes, os.getpid()).cursor()
    try:
        yield cursor
    finally:
        cursor.close()


@lru_cache(maxsize=1)
def _sealed(memory_bytes: int, _process: int) -> Database:
    # A fork has the database without its threads, so each process has its own.
    return duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{memory_bytes} bytes",
            "max_temp_directory_size": "0 bytes",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "enable_external_access": False,
            "lock_configuration": True,
        },
    )


def literal(value: str | Path) -> str:
    """A string as SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def literals(values: Sequence[str] | Sequence[Path]) -> str:
    """A list of strings as SQL."""
    return "[" + ", ".join(map(literal, values)) + "]"


def files(paths: Sequence[str] | Sequence[Path]) -> str:
    """Files as SQL, each by its exact name, where DuckDB would take signs for patterns."""
    return literals([_PATTERN.sub(r"[\g<0>]", str(path)) for path in paths])


def identifier(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'
