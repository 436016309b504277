"""Pool metadata of known content."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from clip_assets import layout, schemas
from clip_assets.metadata.pool_metadata import POOL_METADATA
from clip_assets.pool.stages import materialize
from clip_assets.storage import tables
from clip_assets.storage.manifests import Catalog, Report

Rows = Sequence[Mapping[str, Any]]


@pytest.fixture
def publish_rows(catalog: Catalog) -> Callable[[int, Rows], None]:
    """``publish_rows(number, rows)``: the pool metadata of one partition, as done."""

    def publish(number: int, rows: Rows) -> None:
        key = layout.partition_key(number)
        blank = dict.fromkeys(schemas.POOL_ROWS.names) | {"uid": "00", "status": "success"}
        table = pa.Table.from_pylist([blank | dict(row) for row in rows], schemas.POOL_ROWS)

        def work(run: Any) -> Report:
            with run.publish(layout.pool_rows(key)) as part:
                tables.write(part, table, schemas.POOL_ROWS)
            return Report(len(rows), len(rows))

        stage = replace(POOL_METADATA, rows_from="")
        inputs = {"rows": str(rows)}
        materialize(Catalog(catalog.store), stage, key, inputs, work)

    return publish
