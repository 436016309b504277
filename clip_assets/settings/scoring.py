"""Scores of the pool's own: heads over its embeddings."""

from pydantic import Field

from clip_assets.settings.sections import Section

_FORMS = ".npy, .safetensors or .pt; a path, or a url with #sha256= and the hash of the file"


class HeadsSettings(Section):
    """Heads over image embeddings, see docs/scores.md."""

    aesthetic: str = Field(
        default="", description=f"Scores how pleasing an image is: {_FORMS}; empty: none is made"
    )
    safety: str = Field(
        default="", description="Above 0 for images that searches leave out when asked to be safe"
    )
    violence: str = Field(
        default="", description="Above 0 for images that searches leave out as violent when asked"
    )
