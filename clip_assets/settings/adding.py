"""Adding a subset's definition to a settings file that people write: nothing else of it changes.

Comments, order and style stay, because lines are put into the text; where that cannot be done it is
refused with the lines to add by hand.
"""

from pathlib import Path
from typing import Any

import yaml

from clip_assets.errors import ConfigurationError
from clip_assets.files.whole import whole_file
from clip_assets.settings.choices import SECTION

INDENT = 2


def add_subset(file: Path, name: str, definition: dict[str, Any]) -> None:
    """Put a definition into a settings file, which is made if there is none.

    Args:
        file: ``pool.yaml``, read as valid settings a moment ago.
        name: of the subset; the file has no such one.
        definition: as people write it.

    Raises:
        ConfigurationError: its subsets are written in a way that no line can be added to, such as
            ``subsets: {...}``.
    """
    text = file.read_bytes().decode() if file.exists() else ""
    flow = yaml.safe_dump(
        definition, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    ).strip()
    line = f"{name}: {flow}"
    changed = _with_line(text, line)
    if changed is None or not _is_added(text, changed, name, definition):
        raise ConfigurationError(
            str(file),
            f"{SECTION} to which no line can be added",
            f"a block of lines under {SECTION}:",
            f"Write them one below the other, or add there: {line}",
        )
    with whole_file(file) as part:
        part.write_bytes(changed.encode())


def _with_line(text: str, line: str) -> str | None:
    """The text with one more subset, None where there is no place for a line."""
    end = "\r\n" if "\r\n" in text else "\n"
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None:
        return f"{_ended(text, end)}{SECTION}:{end}{' ' * INDENT}{line}{end}"
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        return None
    for key, value in root.value:
        if key.value != SECTION:
            continue
        is_empty = isinstance(value, yaml.ScalarNode) and not value.value
        if not is_empty and (not isinstance(value, yaml.MappingNode) or value.flow_style):
            return None
        column = key.start_mark.column + INDENT if is_empty else value.start_mark.column
        lines = text.splitlines(keepends=True)
        at = key.end_mark.line + 1
        lines[at - 1] = _ended(lines[at - 1], end)
        return "".join([*lines[:at], f"{' ' * column}{line}{end}", *lines[at:]])
    return f"{_ended(text, end)}{SECTION}:{end}{' ' * INDENT}{line}{end}"


def _ended(text: str, end: str) -> str:
    return text if not text or text.endswith("\n") else text + end


def _is_added(before: str, after: str, name: str, definition: dict[str, Any]) -> bool:
    """Whether a text says what another one does, and this one subset more."""
    try:
        old, new = (yaml.safe_load(text) or {} for text in (before, after))
    except yaml.YAMLError:
        return False
    return new == old | {SECTION: (old.get(SECTION) or {}) | {name: definition}}
