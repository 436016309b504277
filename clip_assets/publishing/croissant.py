"""A published data set in the words of croissant 1.0, for programs; the card is ``card``'s.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

import json
from typing import Any

from clip_assets import schemas
from clip_assets.publishing.card import Facts, fields

_TYPES = {"string": "sc:Text", "int32": "sc:Integer", "int64": "sc:Integer", "float": "sc:Float"}

_OWN = (
    "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty",
    "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
    "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)  # fmt: skip
# Terms of croissant that are written without its prefix: all, since readers expect all.

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {name: f"cr:{name}" for name in _OWN}


def croissant(told: Facts) -> str:
    """The data set's metadata, as json."""
    return json.dumps(_croissant(told), indent=1, ensure_ascii=True) + "\n"


def _croissant(told: Facts) -> dict[str, Any]:
    settings = told.settings
    url = f"https://huggingface.co/datasets/{settings.repository}"
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": settings.repository.replace("/", "_"),
        "description": settings.about or "Pairs of an image's address and a caption, with vectors.",
        "license": settings.license,
        "url": url,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "repository",
                "name": "repository",
                "contentUrl": url,
                "encodingFormat": "git+https",
                "sha256": "main",  # of a repository its branch, as the specification has it
            },
            {
                "@type": "cr:FileSet",
                "@id": "rows",
                "name": "rows",
                "containedIn": {"@id": "repository"},
                "encodingFormat": "application/x-parquet",
                "includes": "data/*.parquet",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "default",
                "name": "default",
                "field": [_field(name, meaning) for name, meaning in fields(settings).items()],
            }
        ],
    }


def _field(name: str, meaning: str) -> dict[str, Any]:
    """A column of the rows; one that no schema has is a vector."""
    known = {field.name: _TYPES.get(str(field.type), "sc:Text") for field in schemas.HUB_ROWS}
    return {
        "@type": "cr:Field",
        "@id": f"default/{name}",
        "name": name,
        "description": meaning,
        "dataType": known.get(name, "sc:Float"),
        "source": {"fileSet": {"@id": "rows"}, "extract": {"column": name}},
    } | ({} if name in known else {"repeated": True})
