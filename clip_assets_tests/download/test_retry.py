import io
import tarfile

import pytest

from clip_assets import layout, schemas
from clip_assets.download.image_shards import image_shards
from clip_assets.download.retry import retry_failed
from clip_assets.errors import MissingArtifactError
from clip_assets.layout import PartitionKey
from clip_assets.storage import tables
from clip_assets.storage.manifests import Catalog

P = PartitionKey("00000")


def read_rows(store, number):
    return tables.read(store, layout.shard_rows(P, number), schemas.SHARD_ROWS, "x").to_pylist()


def samples(store, number):
    content = io.BytesIO(store.read_bytes(layout.shard_tar(P, number)))
    with tarfile.open(fileobj=content) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


@pytest.fixture
def finished(site, store, pool, image, settings):
    """Three shards: in the second one answer is a 503 and one a 404, the others are images."""
    settings = settings.model_copy(update={"retries": 0})
    urls = [site.serve(f"/{i}.jpg", image(size=(60 + i, 40))) for i in range(25)]
    site.serve("/13.jpg", status=503)
    site.serve("/17.jpg", status=404)
    catalog = pool(store, urls)
    image_shards(catalog, P, settings)
    site.requests.clear()
    return settings


def test_only_transient_failures_are_asked_again_and_only_their_shard_changes(
    site, store, image, finished
):
    catalog = Catalog(store)
    before = {path: store.read_bytes(path) for path in store.list(layout.shard_folder(P))}
    first = catalog.require("image_shards", P)
    old = samples(store, 1)
    site.serve("/13.jpg", image(size=(73, 40)))

    outcome = retry_failed(catalog, P, finished)

    assert dict(site.requests) == {"/13.jpg": 1}
    for path in store.list(layout.shard_folder(P)):
        assert (store.read_bytes(path) == before[path]) == ("/00001" not in path)
    new = samples(store, 1)
    assert list(new) == sorted(new)
    assert {name: content for name, content in new.items() if name in old} == old
    assert set(new) - set(old) == {"000013.jpg", "000013.json", "000013.txt"}
    row = read_rows(store, 1)[3]
    assert (row["status"], row["error_class"], row["attempts"]) == ("success", None, 2)
    report = outcome.manifest.report
    assert (report.rows_in, report.rows_out, report.dropped) == (25, 24, {"http_404": 1})
    assert (report.figures["retried"], report.figures["recovered"]) == (1, 1)
    again = Catalog(store).require("image_shards", P)
    assert again.digest(".tar") != first.digest(".tar")
    assert len(again.outputs) == len(first.outputs)


def test_a_partition_downloaded_whole_has_the_same_tars_as_one_retried(
    site, store, pool, image, finished
):
    site.serve("/13.jpg", image(size=(73, 40)))
    retried = retry_failed(Catalog(store), P, finished).manifest.digest(".tar")
    store.delete(layout.manifest("image_shards", P))

    assert image_shards(Catalog(store), P, finished).manifest.digest(".tar") == retried


def test_nothing_to_retry_changes_nothing(site, store, image, finished):
    site.serve("/13.jpg", image(size=(73, 40)))
    retry_failed(Catalog(store), P, finished)
    site.requests.clear()

    assert retry_failed(Catalog(store), P, finished).reused
    assert not site.requests


def test_urls_tried_too_often_and_too_recently_are_left_alone(site, store, finished):
    young = finished.model_copy(update={"retry_age_s": 3600})
    assert retry_failed(Catalog(store), P, young).reused

    limited = finished.model_copy(update={"retry_limit": 3})
    assert not retry_failed(Catalog(store), P, limited).reused
    assert not retry_failed(Catalog(store), P, limited).reused
    assert retry_failed(Catalog(store), P, limited).reused
    assert dict(site.requests) == {"/13.jpg": 2}
    assert read_rows(store, 1)[3]["attempts"] == 3


def test_a_stale_partition_is_downloaded_anew(site, store, finished):
    smaller = finished.model_copy(update={"image_size": 20})
    retry_failed(Catalog(store), P, smaller)

    assert len(site.requests) == 25


def test_a_partition_without_pairs_cannot_be_retried(store, settings):
    with pytest.raises(MissingArtifactError, match="clip-assets run --select unique_pairs"):
        retry_failed(Catalog(store), P, settings)
