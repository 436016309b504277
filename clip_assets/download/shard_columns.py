"""Which columns a shard is made from, and which its rows have: img2dataset's, then ours."""

import pyarrow as pa

from clip_assets import schemas
from clip_assets.download.resize import SOURCE_HASHES
from clip_assets.settings import DownloadSettings


def kept_columns(settings: DownloadSettings) -> list[str]:
    """Columns of the pairs, besides uid, caption and url, that samples keep."""
    boxes = ["face_bboxes"] if settings.blur_faces else []
    return list(dict.fromkeys(settings.save_additional_columns + boxes))


def pair_columns(settings: DownloadSettings, present: list[str]) -> list[str]:
    """Columns of the pairs that a shard is made from.

    Args:
        settings: which further columns are kept.
        present: columns that the pairs have; of hashes of the source only those are asked for.
    """
    hashes = [name for name in SOURCE_HASHES if name in present]
    return list(dict.fromkeys(["uid", "url", "caption", *hashes, *kept_columns(settings)]))


def row_columns(pairs: pa.Schema, settings: DownloadSettings) -> tuple[pa.Schema, pa.Schema]:
    """Columns of a shard's rows: img2dataset's in its order, then those of ours.

    Its order has additional columns before the caption, and EXIF and hash at the end if wanted.
    """
    uid, *others = schemas.SHARD_ROWS
    end = schemas.SHARD_ROWS.get_field_index("exif") - 1
    theirs = [uid, *(pairs.field(name) for name in kept_columns(settings)), *others[:end]]
    if settings.extract_exif:
        theirs.append(schemas.SHARD_ROWS.field("exif"))
    if settings.compute_hash != "none":
        theirs.append(pa.field(settings.compute_hash, pa.string()))
    names = {field.name for field in theirs}
    return pa.schema(theirs), pa.schema([field for field in others if field.name not in names])
