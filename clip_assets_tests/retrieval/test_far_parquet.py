"""Row groups of a parquet file behind a server are asked for at once, and nothing else of it is."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.errors import SourceChangedError, SourceMissingError
from clip_assets.files.hub_files import web_address
from clip_assets.retrieval.far_parquet import FarParquet
from clip_assets_tests.servers import Hub

NAME = "we/pairs"
ROWS = 400
TABLE = pa.table(
    {
        "i": range(ROWS),
        "other": [np.random.default_rng(n).bytes(2_000) for n in range(ROWS)],
        "caption": [f"{'x' * (n % 7)} {n}" for n in range(ROWS)],
        "image_embedding": pa.array([[n, -n] for n in range(ROWS)], pa.list_(pa.float32(), 2)),
    }
)


@pytest.fixture
def uri(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    content = io.BytesIO()
    pq.write_table(TABLE, content, row_group_size=50, use_dictionary=["caption"])
    hub.files[NAME] = {"data/0.parquet": content.getvalue()}
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    return f"{web_address(f'hf://datasets/{NAME}')}/data/0.parquet"


def test_row_groups_are_read_as_arrow_reads_them(uri: str, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "0.parquet").write_bytes(hub.files[NAME]["data/0.parquet"])
    columns = ["i", "caption", "image_embedding"]
    far = FarParquet(uri)
    hub.requests.clear()
    hub.sent_bytes = 0
    with pq.ParquetFile(tmp_path / "0.parquet") as whole:
        for groups in ([0, 3, 4, 7], [2], []):
            assert far.read_row_groups(groups, columns) == whole.read_row_groups(groups, columns)
    ranges = [told for told in hub.requests if "/stored/" in told]
    # The long column between others is not read; columns beside each other are one range.
    assert 0 < len(ranges) <= 2 * 5
    assert hub.sent_bytes < len(hub.files[NAME]["data/0.parquet"]) / 10


def test_a_file_that_has_become_shorter_is_an_error(uri: str, hub: Hub) -> None:
    far = FarParquet(uri)
    hub.files[NAME]["data/0.parquet"] = hub.files[NAME]["data/0.parquet"][:-50_000]
    with pytest.raises(SourceChangedError, match="as when it was opened"):
        far.read_row_groups([7], ["i", "caption"])


def test_a_file_that_is_gone_is_an_error(uri: str, hub: Hub) -> None:
    far = FarParquet(uri)
    hub.files[NAME].clear()
    with pytest.raises(SourceMissingError):
        far.read_row_groups([7], ["i"])
