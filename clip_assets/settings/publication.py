"""What is published of a pool on a hub, and what its card says of it."""

from typing import Literal, get_args

from pydantic import ConfigDict, Field

from clip_assets.settings.sections import Section

Column = Literal[
    "url",
    "caption",
    "width",
    "height",
    "original_width",
    "original_height",
    "sha256",
    "similarity",
    "license",
    "language",
    "nsfw",
    "image_embedding",
    "text_embedding",
]
"""What may be published of a row, beside its vector id and uid."""


def _columns() -> list[Column]:
    return list(get_args(Column))


class HubSettings(Section):
    """What is published on a hub."""

    # Pydantic's own takes 50 ms to compile this pattern, in every process.
    model_config = ConfigDict(regex_engine="python-re")

    repository: str = Field(
        default="",
        pattern=r"^([\w.-]{1,96}/[\w.-]{1,96})?\Z",
        description="ORGANISATION/NAME of the data set; empty: nothing is written to be published",
    )
    columns: list[Column] = Field(
        default_factory=_columns,
        description="Of each row, beside vector id and uid; without caption and text_embedding "
        "there are no texts in it",
    )
    leave_out_opt_outs: bool = Field(
        default=True, description="Leave out rows and vectors whose use anything reserves"
    )
    license: str = Field(
        default="other", max_length=60, description="Of the table, by the hub's name for it"
    )
    contact: str = Field(
        default="", max_length=300, description="Where takedowns are asked for; the card says it"
    )
    about: str = Field(
        default="", max_length=10_000, description="What the pairs are and whose; for the card"
    )
