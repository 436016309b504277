"""What a condition may say: the expressions, functions and types that one is made of.

DuckDB's parsed expression is walked, and what is not listed here is refused, so an expression reads
columns of the row and constants, and nothing else. Parsing and computing it is ``condition``'s.
"""

import difflib
from collections.abc import Iterator
from typing import Any

from clip_assets.errors import ConfigurationError

DEPTH = 100
"""Of expressions in each other; some of DuckDB's steps take the square of it."""

TOLD = 60
"""Characters of a condition that a message repeats."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words(
    """
    + - * / // % ** ^ & | @ ~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape
    not_ilike_escape lower upper length len strlen trim ltrim rtrim left right substring substr
    contains starts_with prefix suffix ends_with regexp_matches regexp_full_match regexp_extract
    strip_accents instr position strpos split_part abs round floor ceil ceiling sqrt ln log log2
    log10 exp pow power mod sign least greatest isnan isinf isfinite ifnull nullif list_value
    list_contains list_has array_contains list_has_any list_has_all array_has array_has_any
    array_has_all list_extract array_extract array_length list_min list_max list_sum
    """
)
"""Functions and operators of one row's values that give no more than they are given, so time and
memory can be bounded, and the same for the same row on every run."""

OPERATORS = _words(
    """
    COMPARE_IN COMPARE_NOT_IN OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_COALESCE
    OPERATOR_NULLIF OPERATOR_TRY ARRAY_EXTRACT ARRAY_SLICE
    """
)

TYPES = _words(
    """
    boolean bool tinyint smallint integer int bigint hugeint utinyint usmallint uinteger ubigint
    float real double decimal numeric varchar text string date timestamp list
    """
)
"""What a value may be cast to."""

PLAIN = frozenset(("COMPARISON", "CONJUNCTION", "CONSTANT", "BETWEEN", "CASE", "CAST"))
"""Expressions with nothing of their own to look at."""

REFUSED = {
    "SUBQUERY": "a query in it",
    "STAR": "all columns at once",
    "PARAMETER": "a parameter",
    "WINDOW": "a function of other rows",
    "LAMBDA": "a function of its own",
    "POSITIONAL_REFERENCE": "a column by its place",
    "COLLATE": "a collation",
}
"""What a person may try, in words; everything that is not listed is refused alike."""

Tree = dict[str, Any]
"""DuckDB's parsed query as json."""


def walk(text: str, tree: Any, depth: int) -> Iterator[Tree]:
    """Every expression and type in a parsed one, itself first."""
    if depth > 2 * DEPTH:  # a list and its item count for one expression
        raise too_deep(text)
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from walk(text, value, depth + 1)
    elif isinstance(tree, list):
        for value in tree:
            yield from walk(text, value, depth)


def check(text: str, node: Tree) -> None:
    """Refuse an expression that may be more than one of a row's values."""
    kind = node["class"]
    if kind == "COLUMN_REF" or kind in PLAIN:
        return
    if kind == "OPERATOR" and node["type"] in OPERATORS:
        return
    if kind == "FUNCTION":
        _check_function(text, node)
    elif kind == "TYPE":
        if node["type_name"].lower() not in TYPES or node["schema"] or node["catalog"]:
            raise wrong(text, f"the type {node['type_name']}", f"one of {_listed(TYPES)}")
    else:
        word: str = REFUSED.get(kind) or node["type"].lower().replace("_", " ")
        raise wrong(text, word, "columns of the row, constants, operators and functions of them")


def _check_function(text: str, node: Tree) -> None:
    name = node["function_name"]
    if name == "row":
        raise wrong(text, "no value, or several", "one expression")
    of_others = node["filter"] or node["distinct"] or node["order_bys"]["orders"]
    if name.lower() not in FUNCTIONS or node["schema"] or node["catalog"] or of_others:
        nearest = difflib.get_close_matches(name.lower(), sorted(FUNCTIONS), 1)
        hint = f"perhaps {nearest[0]}; " if nearest else ""
        words = sorted(function for function in FUNCTIONS if function[0].isalpha())
        raise wrong(text, f"the function {name}", f"{hint}one of {', '.join(words)}")


def too_deep(text: str) -> ConfigurationError:
    """What is said of a condition that is nested deeper than it may be."""
    return wrong(text, "expressions nested too deep", f"{DEPTH} in each other at most")


def wrong(text: str, found: str, expected: str) -> ConfigurationError:
    """What is said of a condition that is refused, or fails."""
    told = " ".join(text.split())
    told = f"{told[:TOLD]}..." if len(told) > TOLD else told
    return ConfigurationError(
        f"condition {told!r}", found, expected, "Correct it; docs/subsets.md has examples."
    )


def _listed(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))
