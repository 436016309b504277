"""A site of pictures with a table of their urls, and the demo's model."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_assets.settings import DownloadSettings
from clip_assets_tests.models import draw, encoded
from clip_assets_tests.websites import Site, website

PICTURES = 40
SETTINGS = DownloadSettings(
    allow_hosts=["127.0.0.1"], retries=0, image_size=64, extract_exif=False, deadline_s=30
)


@dataclass(frozen=True)
class Shelf:
    """A site, and the table of its urls; of the last two one is gone and one is no image."""

    site: Site
    table: Path


@pytest.fixture
def shelf(tmp_path: Path) -> Generator[Shelf]:
    with website() as site:
        site.files = {f"/{n}.jpg": encoded(draw(n, (90, 80))) for n in range(PICTURES)}
        site.files["/page.jpg"] = b"<html>nothing to see</html>"
        names = [*(f"{n}.jpg" for n in range(PICTURES)), "gone.jpg", "page.jpg"]
        columns = {
            "URL": [f"{site.url}/{name}" for name in names],
            "TEXT": [f"picture {n}" for n in range(len(names))],
            "licence": ["by"] * len(names),
        }
        pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")
        yield Shelf(site, tmp_path / "pairs.parquet")
