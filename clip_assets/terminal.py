"""Text for terminals: captions, urls and file names are strangers', and may hold controls."""

import unicodedata

import click

from clip_assets.masking import masked

KEPT = "\u200c\u200d"
"""Joiners, which Persian and emoji need; they change no other letter's place."""


def shown(text: str) -> str:
    """A line of text with an escape in place of what commands a terminal or turns the text round.

    Those are control characters (C0, C1, so no sequence of ANSI begins), line separators,
    surrogates, and formats such as those of bidirectional text. JSON needs none of this: its
    encoding escapes them.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    is_control = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    if not is_control or character in KEPT:
        return character
    return character.encode("unicode_escape").decode()


def lines_shown(text: str) -> str:
    """Lines of our own, each as it may be shown."""
    return "\n".join(map(shown, text.split("\n")))


def say(text: str, *, err: bool = False) -> None:
    """Print lines that may hold a stranger's text, or urls with secrets."""
    click.echo(lines_shown(masked(text)), err=err)
