"""The command that prints every setting."""

import json
from collections.abc import Mapping
from types import MappingProxyType

import click
from pydantic.fields import FieldInfo

from clip_assets import settings
from clip_assets.commands.options import pool_options
from clip_assets.errors import ConfigurationError
from clip_assets.settings import Section, Settings
from clip_assets.settings.wrong import Place, nearest_to
from clip_assets.terminal import say

NOTHING_WRONG: Mapping[Place, str] = MappingProxyType({})


@click.command()
@pool_options
def config(root: str | None, settings_file: str | None) -> None:
    """Every setting with its meaning, its default, and its value in this pool.

    What it prints is a valid pool.yaml. Where the pool's is wrong, all defaults are printed with a
    mark at what is wrong, and the exit code is 2.
    """
    try:
        say(describe(settings.load(root, settings_file)))
    except ConfigurationError as error:
        # Not Settings(), which reads the environment: that may be what is wrong.
        say(describe(Settings.model_construct(), settings.wrong(error)))
        raise


def describe(read: Settings, wrong: Mapping[Place, str] = NOTHING_WRONG) -> str:
    """Every setting with meaning, default, value and variable, as commented yaml.

    Args:
        read: the values.
        wrong: what is wrong with others, by place; it is told at the setting of that name, or of
            the nearest.
    """
    marks = _marks(wrong)
    lines = ["# pool.yaml. A setting is also a variable, such as CLIP_ASSETS_DOWNLOAD__RETRIES."]
    lines += marks.get((), [])
    for name, field in Settings.model_fields.items():
        value = getattr(read, name)
        if name == "root":
            lines += ["", f"# {field.description}", f"# root: {json.dumps(value)}"]
        elif isinstance(value, Section):
            lines += ["", f"# {(type(value).__doc__ or '').strip()}", *marks.get((name,), [])]
            lines.append(f"{name}:")
            for inner, inner_field in type(value).model_fields.items():
                lines += [f"  {mark}" for mark in marks.get((name, inner), [])]
                lines += _described(inner, inner_field, getattr(value, inner), "  ")
        else:
            lines += marks.get((name,), [])
            lines += _described(name, field, value)
    return "\n".join(lines)


def _marks(wrong: Mapping[Place, str]) -> dict[Place, list[str]]:
    """Comments by the place that they stand at; ``()`` is the top."""
    known = settings.places()
    marks: dict[Place, list[str]] = {}
    for place, message in wrong.items():
        own = place[:2] if place[:2] in known else None
        at = own or nearest_to(place[:2], known) or (place[:1] if place[:1] in known else ())
        # A stranger's line break would end the comment.
        text = " ".join(f"{'.'.join(place)}: {message}".split())
        marks.setdefault(at, []).append(f"# WRONG: {text}")
    return marks


def _described(name: str, field: FieldInfo, value: object, indent: str = "") -> list[str]:
    default = field.get_default(call_default_factory=True)
    note = "" if value == default else f" [default: {_json(default)}]"
    return [f"{indent}# {field.description}{note}", f"{indent}{name}: {_json(value)}"]


def _json(value: object) -> str:
    return json.dumps(value, default=Section.model_dump)
