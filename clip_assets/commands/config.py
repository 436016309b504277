"""The command that prints every setting."""

import json

import click
from pydantic.fields import FieldInfo

from clip_assets import settings
from clip_assets.commands.options import pool_options
from clip_assets.settings import Section, Settings
from clip_assets.terminal import say


@click.command()
@pool_options
def config(root: str | None, settings_file: str | None) -> None:
    """Every setting with its meaning, its default, and its value in this pool.

    What it prints is a valid pool.yaml.
    """
    say(describe(settings.load(root, settings_file)))


def describe(read: Settings) -> str:
    """Every setting with meaning, default, value and variable, as commented yaml."""
    lines = ["# pool.yaml. A setting is also a variable, such as CLIP_ASSETS_DOWNLOAD__RETRIES."]
    for name, field in Settings.model_fields.items():
        value = getattr(read, name)
        if name == "root":
            lines += ["", f"# {field.description}", f"# root: {json.dumps(value)}"]
            continue
        if not isinstance(value, Section):
            lines += _described(name, field, value)
            continue
        lines += ["", f"# {(type(value).__doc__ or '').strip()}", f"{name}:"]
        for inner, inner_field in type(value).model_fields.items():
            lines += _described(inner, inner_field, getattr(value, inner), "  ")
    return "\n".join(lines)


def _described(name: str, field: FieldInfo, value: object, indent: str = "") -> list[str]:
    default = field.get_default(call_default_factory=True)
    note = "" if value == default else f" [default: {_json(default)}]"
    return [f"{indent}# {field.description}{note}", f"{indent}{name}: {_json(value)}"]


def _json(value: object) -> str:
    return json.dumps(value, default=Section.model_dump)
