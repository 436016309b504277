"""No text of strangers commands a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_assets.terminal import lines_shown, shown

CONTROLS = [chr(n) for n in (*range(32), *range(127, 160))]
BIDI = [*"\u061c\u200e\u200f", *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))]


@pytest.mark.parametrize("text", [*CONTROLS, *BIDI, "\u2028", "\u2029", "\ud800", "\U000e0041"])
def test_what_commands_is_escaped(text: str) -> None:
    assert shown(f"a{text}b").startswith("a\\")
    assert shown(f"a{text}b").endswith("b")


@pytest.mark.parametrize("text", ["a red cat", "é 雪　", "می‌خواهم", "👩‍👩‍👧", "a\\x1b", "\u00a0"])
def test_other_text_is_left_as_it_is(text: str) -> None:
    assert shown(text) == text


@given(st.text())
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    assert not {*shown(text)} & {*CONTROLS, *BIDI}
    assert {*lines_shown(text)} & {*CONTROLS, *BIDI} <= {"\n"}
    shown(text).encode()
