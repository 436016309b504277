"""The API's reference as a page that loads nothing of other servers and runs no script.

It is written from the OpenAPI document, so it says what that says.
"""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Shape = Mapping[str, Any]
"""A part of an OpenAPI document."""

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}: the API</title>
<link rel="icon" href="/page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/page/base.css">
<link rel="stylesheet" href="/page/reference.css">
</head>
<body class="reference">
<main>
<h1 class="title">{title}: the API</h1>
<p>{summary} For programs: <a href="/openapi.json">/openapi.json</a>.</p>
"""

_BOUNDS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "pattern": "like {}",
}
"""How a bound is told, by its name in a schema."""


def page(document: Shape) -> str:
    """The page.

    Args:
        document: OpenAPI 3.1.
    """
    info = document["info"]
    shapes = document["components"]["schemas"]
    named = {
        name: shape
        for name, shape in sorted(shapes.items())
        if not name.endswith("ValidationError")
    }
    head = _HEAD.format(title=escape(info["title"]), summary=escape(info["summary"]))
    parts = [head, "<h2>Endpoints</h2>\n"]
    for path, operations in document["paths"].items():
        parts += [_operation(method, path, told) for method, told in operations.items()]
    parts.append("<h2>Bodies</h2>\n")
    parts += [_shape(name, shape) for name, shape in named.items()]
    return "".join([*parts, "</main>\n</body>\n</html>\n"])


def _operation(method: str, path: str, told: Shape) -> str:
    fields = [
        (one["name"], one["schema"] | {"description": one.get("description", "")}, one["required"])
        for one in told.get("parameters", ())
    ]
    bodies = [
        f"<p>Takes {_type(content['schema'])} as <code>{escape(media)}</code>.</p>\n"
        for media, content in told.get("requestBody", {}).get("content", {}).items()
    ]
    name = f"<h3 class='heading'><code>{method.upper()} {escape(path)}</code></h3>\n"
    return f"{name}<p>{escape(told.get('summary', ''))}</p>\n{_table(fields)}{''.join(bodies)}"


def _shape(name: str, shape: Shape) -> str:
    required = shape.get("required", ())
    fields = [(field, of, field in required) for field, of in shape.get("properties", {}).items()]
    about = escape(shape.get("description", "").replace("``", ""))
    return f"<h3 class='heading' id='{name}'>{name}</h3>\n<p>{about}</p>\n{_table(fields)}"


def _table(fields: list[tuple[str, Shape, bool]]) -> str:
    if not fields:
        return ""
    rows = "".join(
        f"<tr><th scope='row'><code>{escape(name)}</code></th><td>{_type(of)}</td>"
        f"<td>{_bounds(of, is_required=is_required)}</td>"
        f"<td>{escape(of.get('description', ''))}</td></tr>\n"
        for name, of, is_required in fields
    )
    heads = "".join(f"<th scope='col'>{head}</th>" for head in ("field", "is", "bounds", "means"))
    return f"<div class='wide' tabindex='0'><table><tr>{heads}</tr>\n{rows}</table></div>\n"


def _choices(shape: Shape) -> list[Shape]:
    return [one for one in shape.get("anyOf", [shape]) if one.get("type") != "null"]


def _type(shape: Shape) -> str:
    """As HTML: a link to a body of its own, values, or the name of a type."""
    if "$ref" in shape:
        name = escape(shape["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in shape:
        return " or ".join(_type(one) for one in _choices(shape))
    if "enum" in shape:
        return ", ".join(f"<code>{escape(str(one))}</code>" for one in shape["enum"])
    if shape.get("type") == "array":
        return f"list of {_type(shape.get('items', {}))}"
    return "a form" if "properties" in shape else escape(str(shape.get("type", "anything")))


def _bounds(shape: Shape, *, is_required: bool) -> str:
    return ", ".join(map(escape, _said(shape, is_required=is_required)))


def _said(shape: Shape, *, is_required: bool) -> Iterator[str]:
    if is_required:
        yield "needed"
    for choice in _choices(shape):
        for name, text in _BOUNDS.items():
            if name in choice:
                value = choice[name]
                yield text.format(f"{value:,}" if isinstance(value, int | float) else value)
    if shape.get("default") is not None:
        yield f"else {shape['default']}"
