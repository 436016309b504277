"""Every setting of a pool, its default and its meaning.

Read from ``pool.yaml`` at the store's root (or the file named by ``CLIP_ASSETS_POOL``), then
``CLIP_ASSETS_*`` environment variables, then arguments; the later wins. Stage packages take
one section each; only this module reads files and the environment.
"""

from pathlib import Path
from typing import Any, Literal

import fsspec
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from clip_assets import layout
from clip_assets.errors import ConfigurationError


class Section(BaseModel):
    """Settings of one stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sources(Section):
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
        "that is kept has every caption of its partition in a column captions",
    )


class Download(Section):
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
    verify_hash: Literal["flag", "fail"] = Field(
        default="flag",
        description="What happens when a source's sha256 or md5 is not the file's",
    )
    blur_faces: bool = Field(default=False, description="Blur the boxes in face_bboxes")
    save_additional_columns: list[str] = Field(
        default=[], description="Further columns of the pairs that samples keep"
    )
    samples_per_shard: int = Field(
        default=10_000, ge=1, le=10_000, description="Pairs of one tar; also what a kill can lose"
    )
    concurrency: int = Field(default=64, ge=1, description="Requests at once in one process")
    per_host: int = Field(default=8, ge=1, description="Requests at once to one host")
    per_host_interval_s: float = Field(
        default=0, ge=0, description="Least time between two requests to one host"
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
        default=20, gt=0, description="For one attempt at a url, redirects and body included"
    )
    max_bytes: int = Field(default=32 * 2**20, ge=1, description="Of one image file")
    max_pixels: int = Field(default=89_478_485, ge=1, description="Of one decoded image")
    max_redirects: int = Field(default=5, ge=0, description="Followed for one url")
    contact: str = Field(
        default="", description="Url or address in the User-Agent, for site owners"
    )
    respect_noai: bool = Field(
        default=True, description="Obey X-Robots-Tag noai, noindex and the like"
    )
    respect_robots: bool = Field(
        default=False, description="Ask every host for its robots.txt first, and obey it"
    )
    allow_hosts: list[str] = Field(
        default=[],
        description="Private or loopback addresses and networks that may be fetched from",
    )


class Inference(Section):
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
    batch_size: int = Field(default=256, ge=1, description="Samples of one step of the model")
    decode_threads: int = Field(
        default=0, ge=0, description="Threads that decode images; 0: every core"
    )


class Index(Section):
    """Which faiss index is built."""

    max_memory_bytes: int = Field(
        default=4 * 2**30,
        ge=2**20,
        description="Of each served index; decides how vectors are encoded",
    )
    flat_limit: int = Field(
        default=50_000, ge=1, description="Up to this many vectors the index is exact (Flat)"
    )
    train_limit: int = Field(
        default=1_000_000, ge=1, description="Vectors sampled for training at most"
    )
    keep_versions: int = Field(default=3, ge=1, description="Index versions that retention leaves")
    missing_partitions: Literal["skip", "refuse"] = Field(
        default="skip", description="What fan-in assets do about partitions that are not done"
    )


class Settings(BaseSettings):
    """Settings of one pool."""

    model_config = SettingsConfigDict(
        env_prefix="CLIP_ASSETS_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file; ``load`` passes the file's content as arguments."""
        return env_settings, init_settings

    root: str = Field(
        default="data",
        description="Where the pool's files live, a path or fsspec url: --root or the variable",
    )
    devices: str = Field(
        default="auto", description="Accelerators to use: auto, none, or numbers such as 0,1"
    )
    sources: Sources = Field(default_factory=Sources)
    download: Download = Field(default_factory=Download)
    inference: Inference = Field(default_factory=Inference)
    index: Index = Field(default_factory=Index)


def load(root: str | None = None, pool: str | None = None) -> Settings:
    """Read the settings of a pool.

    Args:
        root: the store; default ``CLIP_ASSETS_ROOT``, then ``data``.
        pool: the settings file; default ``CLIP_ASSETS_POOL``, then ``pool.yaml`` in the root.

    Raises:
        ConfigurationError: a file or variable holds a wrong name or value.
    """
    places = _Places()
    root = root or places.root
    named = pool or places.pool
    path = named or f"{root.rstrip('/')}/{layout.POOL}"
    content = _read(path, must_exist=bool(named))
    if "root" in content:
        raise ConfigurationError(
            path,
            "a root",
            "settings of the pool that the file belongs to",
            "Remove it; the root is named by --root or CLIP_ASSETS_ROOT.",
        )
    variables = _variables()
    try:
        return Settings(**content).model_copy(update={"root": absolute(root)})
    except ValidationError as error:
        found = [(item["loc"], item["msg"]) for item in error.errors()]
        raise ConfigurationError(
            ", ".join(sorted({_blamed(loc, variables, path) for loc, _ in found})),
            "; ".join(f"{'.'.join(map(str, loc))}: {message}" for loc, message in found),
            "known settings with valid values",
            "See: clip-assets config",
        ) from error


class _Places(BaseSettings):
    """Where the settings themselves are."""

    model_config = SettingsConfigDict(env_prefix="CLIP_ASSETS_", extra="ignore")

    root: str = "data"
    pool: str = ""
    dagster_home: str = Field(default="", validation_alias="DAGSTER_HOME")


def dagster_home() -> str:
    """Where Dagster keeps its instance, empty when nobody said so."""
    return _Places().dagster_home


def _variables() -> dict[str, Any]:
    """What the environment sets, nested like the settings."""
    source = EnvSettingsSource(Settings)
    try:
        return source()
    except SettingsError as error:
        names = sorted(name for name in source.env_vars if name.startswith("clip_assets_"))
        raise ConfigurationError(
            f"environment variables {', '.join(names).upper()}",
            str(error),
            "lists and mappings as json",
            "Write them like CLIP_ASSETS_SOURCES__WATCH='[\"pairs/*.csv\"]'.",
        ) from error


def _blamed(loc: tuple[int | str, ...], variables: dict[str, Any], path: str) -> str:
    """The variable that a wrong setting is from, else the file."""
    section, *inner = loc
    given = variables.get(str(section))
    if given is None or (isinstance(given, dict) and inner and inner[0] not in given):
        return path
    parts = [section, *inner[:1]] if isinstance(given, dict) else [section]
    return "CLIP_ASSETS_" + "__".join(map(str, parts)).upper()


def _read(path: str, *, must_exist: bool) -> dict[str, Any]:
    try:
        fs, name = fsspec.url_to_fs(path)  # pyright: ignore[reportUnknownMemberType]
        content = yaml.safe_load(fs.cat_file(name)) or {}
    except FileNotFoundError:
        if not must_exist:
            return {}
        raise ConfigurationError(path, "no file", "a settings file", "Name another.") from None
    except (OSError, ValueError, ImportError) as error:
        raise ConfigurationError(
            path,
            f"{type(error).__name__}: {error}",
            "a file that can be read, in a folder or at a url that fsspec opens",
            "Check --root and --pool.",
        ) from error
    except yaml.YAMLError as error:
        raise ConfigurationError(path, str(error), "valid yaml", "Correct it.") from error
    if not isinstance(content, dict):
        raise ConfigurationError(path, "no mapping", "settings by name", "See: clip-assets config")
    return content


def absolute(root: str) -> str:
    """The root as an absolute path or url, so that other processes find it."""
    return root if "://" in root else str(Path(root).resolve())
