"""What the columns of tables mean, in one line each: for Dagster's UI and ``docs/layout.md``.

A column is told by its name; where a name means something else in one schema, that stands below
the schema's. Columns themselves are defined by ``schemas``.
"""

from collections.abc import Mapping

import pyarrow as pa

from clip_assets import schemas

COLUMNS: Mapping[str, str] = {
    "uid": "md5 of url and caption, 32 hex digits: the pair's identity everywhere",
    "url": "where the image is, as the source has it",
    "caption": "the text that goes with the image",
    "captions": "every caption of the url in its partition, sorted",
    "text": "the caption, under DataComp's name",
    "width": "of the stored image, pixels",
    "height": "of the stored image, pixels",
    "original_width": "of the image as it was fetched, pixels",
    "original_height": "of the image as it was fetched, pixels",
    "similarity": "cosine of image and caption",
    "group": "uid of the pair that stands for it: its own, where the subset lists it",
    "list": "which list of the index, or cluster of the subset, it is in",
    "digest": "start of the sha256 of image file, caption, model and precision",
    "is_caption_cut": "whether the caption has more tokens than the model's text tower reads",
    "nsfw": "the source's tag, such as UNLIKELY",
    "punsafe": "the source's estimate that the image is unsafe, 0 to 1",
    "pwatermark": "the source's estimate that the image has a watermark, 0 to 1",
    "aesthetic": "how pleasing the image is, by the pool's own head, else by the source",
    "license": "the source's",
    "language": "the source's",
    "sha256": "of the bytes that were fetched, 64 hex digits",
    "md5": "the source's, of the image file",
    "clip_b32_similarity_score": "the source's similarity by OpenAI's ViT-B/32",
    "clip_l14_similarity_score": "the source's similarity by OpenAI's ViT-L/14",
    "clip_similarity_score": "cosine of image and caption by the pool's own model",
    "face_bboxes": "faces: left, top, right, bottom, as shares of width and height",
    "further": "columns of the source that have no name here",
    "source": "the source file",
    "line": "its line, from 1",
    "reason": "why it is no pair",
    "time": "when it was taken down",
    "hi": "first half of the md5 of url and caption",
    "lo": "second half of it",
    "row": "row of raw, from 0",
    "owner": "number of the partition that has the pair first",
    "key": "name of the sample in its tar",
    "shard": "number of the tar in its partition",
    "status": "success, or how the download failed, in img2dataset's words; adopted: no image here",
    "error_message": "what went wrong, in words",
    "error_class": "why there is no image; docs/download.md lists the classes",
    "http_status": "the server's last status",
    "attempts": "requests that were made, 0 if none was",
    "final_url": "where redirects led, if elsewhere",
    "size_bytes": "bytes that were fetched",
    "fetch_s": "seconds that the last request took",
    "fetched_at": "when",
    "source_sha256": "what the source says the hash is",
    "hash_matches": "whether it is that",
    "perceptual_hash": "64 bits that change little when the image is scaled, 16 hex digits",
    "is_placeholder": "whether many urls of the partition gave these same bytes",
    "exif": "the image's EXIF, as json",
    "taken_at": "when the camera says that it took the picture, by its own clock; mostly null",
    "robots": "what robots.txt says of this url",
    "robots_content_usage": "Content-Usage in robots.txt",
    "robots_content_signal": "Content-Signal in robots.txt",
    "tdmrep_json": "the site's tdmrep.json on this url",
    "x_robots_tag": "the header X-Robots-Tag",
    "content_usage": "the header Content-Usage",
    "tdm_reservation": "the header tdm-reservation",
    "data_mining": "IPTC's data mining property in the file",
    "c2pa_training": "C2PA's training assertion in the file",
    "site_asked_at": "when the site's files were asked for",
    "opt_outs": "which of these reserve the use",
    "extension": "the rest of the member's name after the key and a dot, in lower case",
    "offset": "of the member's first byte in the tar",
    "size": "of the member, in bytes",
    "image_path": "partition, shard and key of the sample",
    "json": "all that was said of the sample",
    "i": "vector id in the index",
    "id": "vector id in the index version that was searched",
    "query": "what was asked: the text, image path or uid; of an embedding its row",
    "query_row": "row of the query in its file, from 0",
    "rank": "of the result among those of its query, from 0",
}

ELSEWHERE: Mapping[str, Mapping[str, str]] = {
    "PAIRS": {
        "width": "of the image as the source says, pixels",
        "height": "of the image as the source says, pixels",
        "similarity": "the source's cosine of image and caption",
        "sha256": "of the image file, as the source says",
    },
    "REJECTS": {"text": "the row as it stands there"},
    "SUBSET_GROUPS": {"similarity": "cosine of the image and that of its group"},
    "RETRIEVED": {"similarity": "cosine of the query and the result"},
    "POOL_ROWS": {"similarity": "the source's cosine of image and caption"},
}


def meaning(schema: pa.Schema, column: str) -> str:
    """What a column of a table means; empty for a column that only its own stage knows."""
    name = next((name for name, value in vars(schemas).items() if value is schema), "")
    return ELSEWHERE.get(name, {}).get(column) or COLUMNS.get(column, "")
