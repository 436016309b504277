"""What each stage can be told: names, defaults, meanings and bounds."""

import os
from typing import Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from clip_assets import schemas
from clip_assets.files.images import MAX_PIXELS
from clip_assets.settings.quantities import ByteCount

MEMORY_BYTES = 2 * 2**30
"""Of files and images in flight, where nothing else is said."""

PIXEL_BYTES = 20
"""Of memory for one pixel of ``max_pixels``: five eighths of them are the decoder's."""

REQUEST_BYTES = 2**17
"""Of a body that are read ahead of its room."""

REQUESTS_PER_CORE = 64
"""A core that handles 300 images a second needs so many requests that take 0.2 s each."""

OptOut = Literal[
    "robots_content_usage",
    "robots_content_signal",
    "tdmrep_json",
    "content_usage",
    "tdm_reservation",
    "data_mining",
    "c2pa_training",
]
"""Columns of what was said of an image's use, besides those with a setting of their own."""


class Section(BaseModel):
    """Settings of one stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceSettings(Section):
    """Which files hold the pool's pairs, and how they become partitions."""

    watch: list[str] = Field(
        default=[], description="Files, folders and globs to look for new sources in"
    )
    rows_per_partition: int = Field(
        default=1_000_000,
        ge=1,
        description="Source rows that a partition aims at; fixed at first ingest",
    )
    columns: dict[str, str] = Field(
        default={},
        description="Further source column names, each with the canonical column it means",
    )
    duplicates: Literal["pair", "url"] = Field(
        default="pair",
        description="What makes rows duplicates: url and caption, or the url alone; then the row "
        "that is kept has every caption of its partition in its column captions",
    )
    promoted: list[str] = Field(
        default=[],
        description="Further columns of sources that are columns of raw and unique; the others are "
        "in the json of the column further",
    )

    @field_validator("promoted")
    @classmethod
    def _are_no_names_of_ours(cls, names: list[str]) -> list[str]:
        low = [name.casefold() for name in names]
        if taken := [name for name in names if name.casefold() in schemas.PAIRS.names]:
            raise ValueError(f"{', '.join(taken)} is a column already; a source's is source_<name>")
        if len(set(low)) < len(low) or not all(low):
            raise ValueError("a column is named twice, or has no name")
        return names


class DownloadSettings(Section):
    """How images are fetched, resized and packed; names and defaults are img2dataset's."""

    image_size: int = Field(default=256, ge=1, description="Side of the resized image in pixels")
    resize_mode: Literal["border", "center_crop", "keep_ratio", "keep_ratio_largest", "no"] = Field(
        default="keep_ratio", description="img2dataset's resize_mode"
    )
    resize_only_if_bigger: bool = Field(
        default=True, description="Leave smaller images as they are"
    )
    encode_format: Literal["jpg", "png", "webp"] = Field(
        default="jpg", description="Format in the tars"
    )
    encode_quality: int = Field(
        default=95, ge=0, le=100, description="Quality of the format in the tars"
    )
    skip_reencode: bool = Field(
        default=False, description="Keep the file's own bytes where the image is not resized"
    )
    min_image_size: int = Field(default=0, ge=0, description="Smallest side of an original")
    max_aspect_ratio: float | None = Field(
        default=None, ge=1, description="Largest ratio of an original's sides; null: any"
    )
    extract_exif: bool = Field(default=True, description="Write EXIF tags into the samples")
    compute_hash: Literal["md5", "sha256", "sha512", "none"] = Field(
        default="sha256", description="Hash of the file that samples hold; img2dataset's"
    )
    verify_hash: Literal["flag", "fail"] = Field(
        default="flag",
        description="What happens when a source's sha512, sha256 or md5 is not the file's",
    )
    perceptual_hash: bool = Field(
        default=False, description="Also keep 64 bits of every image by which similar ones show"
    )
    blur_faces: bool = Field(default=False, description="Blur the boxes in face_bboxes")
    save_additional_columns: list[str] = Field(
        default=[], description="Further columns of the pairs that samples keep"
    )
    samples_per_shard: int = Field(
        default=10_000,
        ge=1,
        le=10_000,
        description="Pairs of one tar, which appears when all of them have ended",
    )
    concurrency: int = Field(
        default=0, ge=0, description="Requests at once in one process; 0: 64 for each core"
    )
    per_host: int = Field(default=8, ge=1, description="Requests at once to one host")
    per_host_interval_s: float = Field(
        default=0, ge=0, description="Least time between two requests to one host"
    )
    max_crawl_delay_s: float = Field(
        default=10,
        ge=0,
        description="Most that a Crawl-delay of an obeyed robots.txt puts between two requests",
    )
    retries: int = Field(default=1, ge=0, description="Further attempts after a transient failure")
    retry_limit: int = Field(
        default=6, ge=1, description="Attempts at one url after which retrying leaves it alone"
    )
    retry_age_s: float = Field(
        default=0, ge=0, description="Least age of a failure that is retried"
    )
    connect_timeout_s: float = Field(default=5, gt=0, description="Until a connection stands")
    read_timeout_s: float = Field(
        default=10, gt=0, description="Until an answer begins, and between two pieces of it"
    )
    deadline_s: float = Field(
        default=30, gt=0, description="For one url: all its attempts and the pauses between them"
    )
    max_bytes: ByteCount = Field(default=32 * 2**20, ge=1, description="Of one image file")
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, description="Of one decoded image")
    max_memory_bytes: ByteCount = Field(
        default=0,
        ge=0,
        description="Of all files and images in flight in one process; 0: 2 GiB, or more where one "
        "file of max_bytes and one image of max_pixels take more",
    )
    max_redirects: int = Field(default=5, ge=0, description="Followed for one url")
    nameservers: list[str] = Field(
        default=[],
        description="Addresses, or address:port, of the nameservers to ask; none: the system's way",
    )
    contact: str = Field(
        default="", description="Url or address in the User-Agent, for site owners"
    )
    respect_noai: bool = Field(
        default=True, description="Obey X-Robots-Tag noai, noindex and the like"
    )
    respect_robots: bool = Field(
        default=False, description="Ask every host for its robots.txt first, and obey it"
    )
    respect_opt_outs: list[OptOut] = Field(
        default=list(get_args(OptOut)),
        description="Which further opt-outs refuse an image; all are recorded in any case",
    )
    ask_sites: bool = Field(
        default=False,
        description="Ask every host once for robots.txt and tdmrep.json, to record what they say",
    )
    allow_hosts: list[str] = Field(
        default=[],
        description="Private or loopback addresses and networks that may be fetched from",
    )

    @property
    def requests_at_once(self) -> int:
        """``concurrency``, computed from the machine where it is 0."""
        return self.concurrency or REQUESTS_PER_CORE * len(os.sched_getaffinity(0))

    @property
    def memory_bytes(self) -> int:
        """``max_memory_bytes``, computed from what one url can need where it is 0."""
        needed = 4 * self.max_bytes + PIXEL_BYTES * self.max_pixels
        return self.max_memory_bytes or max(MEMORY_BYTES, needed)

    @property
    def body_bytes(self) -> tuple[int, int]:
        """Of ``memory_bytes``: what bodies share, and a reserve for those that find it full."""
        return self.memory_bytes // 4, max(self.memory_bytes // 8, self.max_bytes)

    @property
    def decoding_bytes(self) -> int:
        """Of ``memory_bytes``: for all images that are decoded at a time."""
        return self.memory_bytes - sum(self.body_bytes)

    @model_validator(mode="after")
    def _has_room_for_one(self) -> Self:
        if self.memory_bytes < 4 * self.max_bytes:
            raise ValueError(
                f"max_memory_bytes ({self.max_memory_bytes:,}) must be at least four times "
                f"max_bytes ({self.max_bytes:,})"
            )
        return self

    @field_validator("save_additional_columns")
    @classmethod
    def _are_further_columns(cls, names: list[str]) -> list[str]:
        if taken := set(names) & {*schemas.SHARD_ROWS.names, "md5", "sha512"}:
            raise ValueError(f"samples have {', '.join(sorted(taken))} already")
        return names


class InferenceSettings(Section):
    """Which model embeds, and how."""

    model: str = Field(
        default="ViT-B-32", description="open_clip model name, hf-hub:..., local-dir:... or demo"
    )
    pretrained: str | None = Field(
        default="laion2b_s34b_b79k",
        description="open_clip tag or checkpoint path; none for folders",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto: the fastest that keeps cosine 0.999 on this machine"
    )
    batch_size: int = Field(
        default=0,
        ge=0,
        description="Samples of one step of the model; 0: 32 on a CPU, 1,024 on a GPU. Halved "
        "when memory runs out",
    )
    decode_threads: int = Field(
        default=0, ge=0, description="Threads that decode images; 0: every core"
    )
    fused: bool = Field(
        default=False,
        description="Embed each shard while the next ones are fetched, in one step with the needs "
        "of embedding; read when Dagster loads the code location",
    )
    device_jpegs: bool = Field(
        default=False, description="Let the accelerator decode JPEGs, where cores are too few"
    )
