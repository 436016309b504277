"""Rows by a column of numbers."""

import difflib

import numpy as np
import pyarrow as pa

from clip_assets.errors import ConfigurationError
from clip_assets.settings.choices import Ranked
from clip_assets.subsets import models_of_scores
from clip_assets.subsets.cuts import by_score
from clip_assets.subsets.selection import Floats, Judge, Score, Selection


def score(selection: Selection, settings: Ranked, _candidates: Judge) -> Score:
    """The column that the definition names."""
    return column(selection, settings.by)


def column(selection: Selection, name: str) -> Score:
    """A column of the rows as their score.

    Raises:
        ConfigurationError: there is no such column, or it has no numbers.
        ModelMismatchError: it is by the pool's model, and the settings name another one.
    """
    schema = selection.rows.schema
    numbers = [field.name for field in schema if is_number(field.type)]
    if name not in numbers:
        nearest = difflib.get_close_matches(name, numbers, 1)
        hint = f"perhaps {nearest[0]}; " if nearest else ""
        raise ConfigurationError(
            f"score {name!r}",
            "no such column" if name not in schema.names else "a column without numbers",
            f"{hint}one of {', '.join(numbers) or 'none: there are no numbers'}",
            "Name another column.",
        )

    def of(_piece: str, table: pa.Table) -> Floats:
        return values(table[name])

    selection.reads_captions |= name == models_of_scores.OWN
    models = models_of_scores.of_column(selection.rows, name)
    return Score(name, frozenset([name]), of, models=models)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of a type can be compared."""
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def values(column: pa.ChunkedArray) -> Floats:
    """(n,) its numbers, nan where null, in its own type where that is a float."""
    numbers = column if pa.types.is_floating(column.type) else column.cast(pa.float64())
    if numbers.null_count or not len(numbers):
        return np.asarray(numbers.to_numpy())
    # Not by to_numpy, which loads pandas first.
    return np.concatenate([np.from_dlpack(chunk) for chunk in numbers.chunks])


METHOD = by_score(Ranked, score)
