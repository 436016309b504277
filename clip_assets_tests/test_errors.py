"""Errors say where, found, expected, what to do, and cross process boundaries."""

import inspect
import pickle
import re

import pytest

from clip_assets import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", KINDS)
def test_error_survives_pickling_with_its_facts(kind: type[errors.ClipAssetsError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a.csv", "nothing", "rows", "Fill it.")))
    assert type(error) is kind
    assert str(error) == "a.csv: found nothing, expected rows. Fill it."


@pytest.mark.parametrize("kind", KINDS)
def test_error_is_in_the_tree_of_the_docstring(kind: type[errors.ClipAssetsError]) -> None:
    assert re.search(rf"^ *[*+-] {kind.__name__}\b", errors.__doc__ or "", re.MULTILINE)
