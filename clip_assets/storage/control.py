"""Control files: the small ones of json that say what a pool is and what is done of it.

All of them are read by ``parsed``. What a file must hold is said by the dataclass that it is read
into, so whoever adds one has nothing to check. Not pydantic, which takes no text with a lone
surrogate: names of files that are no UTF-8 stand in plans and failures as such.
"""

import json
import math
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from clip_assets.errors import SchemaError

T = TypeVar("T")

Renamed = Callable[[dict[str, Any]], dict[str, Any]]

LARGEST = 2**63 - 1
"""No count and no size is larger."""

SHOWN = 60
"""Characters of a wrong value that an error has."""


def parsed(
    content: bytes, kind: type[T], where: str, advice: str, renamed: Renamed | None = None
) -> T:
    """What a control file tells.

    Args:
        content: of the file.
        kind: a dataclass of texts, numbers that are not negative, lists, mappings and other such
            dataclasses.
        where: the file's name for errors.
        advice: what to do if it is damaged.
        renamed: from the file's fields to those of ``kind``, where they differ.

    Raises:
        SchemaError: it is no json in UTF-8, or does not hold exactly the fields of ``kind``; those
            with a default may be left out.
    """
    try:
        value = json.loads(content.decode("utf-8-sig"))
        if renamed is not None and isinstance(value, dict):
            value = renamed(value)
        return _typed(value, kind, "")
    except _WrongError as error:
        raise SchemaError(where, f"a damaged file ({error.told})", error.wanted, advice) from None
    except RecursionError:
        told = "a damaged file (nested too deep)"
    except ValueError as error:
        told = f"a damaged file ({_reason(content, error)})"
    raise SchemaError(where, told, "the json that was written", advice)


class _WrongError(Exception):
    """A value that is not as its field wants it."""

    def __init__(self, place: str, value: object, wanted: str) -> None:
        super().__init__(place)
        text = value if isinstance(value, _Told) else _Told(_shortened(value))
        self.told = f"{text} in {place}" if place else str(text)
        self.wanted = wanted


class _Told(str):
    """Words for what is there, instead of its value."""

    __slots__ = ()


def _reason(content: bytes, error: ValueError) -> str:
    if not content.strip():
        return "it is empty" if not content else "it is blank"
    if not content.strip(b"\0"):
        return "it is all zeros"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start:,} is not UTF-8"
    return str(error)


def _shortened(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _form(hint: Any) -> tuple[Any, Any, tuple[Any, ...], bool]:
    """A type, what it is of, of which others, and whether it is a dataclass."""
    hint = getattr(hint, "__supertype__", hint)  # what a NewType is made of
    return hint, get_origin(hint), get_args(hint), is_dataclass(hint)


@cache
def _defaults(kind: Any) -> dict[str, bool]:
    """Names of a dataclass's fields, and whether each may be left out."""
    return {
        field.name: field.default is not MISSING or field.default_factory is not MISSING
        for field in fields(kind)
    }


def _typed(value: Any, hint: Any, place: str) -> Any:
    """The value as the type of its field has it."""
    # A pool has thousands of these files: what is so for every one is asked once.
    hint, origin, inner, is_object = _form(hint)
    if is_object:
        return _object(value, hint, place)
    if origin in (Union, types.UnionType):
        rest = [option for option in inner if option is not type(None)]
        return None if value is None else _typed(value, rest[0], place)
    if origin is Literal:
        if value not in inner:
            raise _WrongError(place, value, f"one of {', '.join(map(repr, inner))}")
        return value
    if origin in (list, tuple):
        return _sequence(value, origin, inner, place)
    if origin is dict:
        _check(isinstance(value, dict), place, value, "a mapping")
        return {
            _key(name, inner[0], place): _typed(item, inner[1], f"{place}.{name}")
            for name, item in value.items()
        }
    return _scalar(value, hint, place)


def _key(name: str, hint: Any, place: str) -> str | int:
    if hint is not int:
        return name
    _check(name.isdecimal(), place, name, "numbers for names")
    return int(name)


def _sequence(value: Any, origin: Callable[..., Any], inner: tuple[Any, ...], place: str) -> Any:
    _check(isinstance(value, list), place, value, "a list")
    every = inner[:1] * len(value) if len(inner) < 2 or inner[1] is ... else inner
    _check(len(every) == len(value), place, value, f"a list of {len(every)}")
    return origin(_typed(item, every[at], f"{place}[{at}]") for at, item in enumerate(value))


def _object(value: Any, kind: Any, place: str) -> Any:
    _check(isinstance(value, dict), place, value, "a mapping")
    known = _defaults(kind)
    unknown = value.keys() - known.keys()
    if unknown:
        told = _Told(f"the field {_shortened(min(unknown))}")
        raise _WrongError(place, told, f"only fields of this release: {', '.join(known)}")
    for name, has_default in known.items():
        if name not in value and not has_default:
            raise _WrongError(place, _Told(f"no field {name!r}"), "the fields that were written")
    hints = _hints(kind)
    return kind(
        **{
            name: _typed(item, hints[name], f"{place}.{name}".lstrip("."))
            for name, item in value.items()
        }
    )


def _scalar(value: Any, hint: Any, place: str) -> Any:
    if hint is int:
        is_count = type(value) is int and 0 <= value <= LARGEST
        _check(is_count, place, value, "a whole number that is not negative")
    elif hint is float:
        _check(type(value) in (int, float) and _is_finite(value), place, value, "a finite number")
    elif hint in (str, bool):
        wanted = "a text" if hint is str else "true or false"
        _check(type(value) is hint, place, value, wanted)
    else:
        _check(_is_finite(value), place, value, "finite numbers")
    return value


def _check(is_right: bool, place: str, value: object, wanted: str) -> None:  # noqa: FBT001
    if not is_right:
        raise _WrongError(place, value, wanted)


def _is_finite(value: Any) -> bool:
    """Whether all numbers of a value of json's types are."""
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
