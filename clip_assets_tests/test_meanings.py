"""Every column says what it means."""

import pyarrow as pa

from clip_assets import schemas
from clip_assets.meanings import meaning


def test_every_column_is_told_in_words() -> None:
    silent = {
        (name, column)
        for name, schema in vars(schemas).items()
        if isinstance(schema, pa.Schema)
        for column in schema.names
        if not meaning(schema, column)
    }
    assert not silent
    assert meaning(schemas.SHARD_ROWS, "width") != meaning(schemas.PAIRS, "width")
