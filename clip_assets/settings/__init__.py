"""Every setting of a pool, its default and its meaning.

Read from ``pool.yaml`` at the store's root (or the file named by ``CLIP_ASSETS_POOL``), then
``CLIP_ASSETS_*`` environment variables, then arguments; the later wins. Stage packages take
one section each, see ``sections``; only this module reads files and the environment.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from clip_assets import layout
from clip_assets.errors import ConfigurationError, SourceError, SourceMissingError
from clip_assets.files import opening
from clip_assets.settings import choices, named
from clip_assets.settings.baselines import ANY, BasicFilter, NoFilter
from clip_assets.settings.bases import SubsetSettings
from clip_assets.settings.choices import Definition
from clip_assets.settings.indexing import IndexSettings
from clip_assets.settings.publication import HubSettings
from clip_assets.settings.scoring import HeadsSettings
from clip_assets.settings.sections import (
    DownloadSettings,
    InferenceSettings,
    Section,
    SourceSettings,
)
from clip_assets.settings.sharding import SubsetShardSettings
from clip_assets.settings.wrong import Place, faults

__all__ = [
    "DownloadSettings",
    "HubSettings",
    "IndexSettings",
    "InferenceSettings",
    "Section",
    "Settings",
    "SourceSettings",
    "SubsetSettings",
    "SubsetShardSettings",
]

SUBSETS: dict[str, SubsetSettings] = {
    "no_filter": NoFilter(baseline="no_filter"),
    "basic_filter": BasicFilter(baseline="basic_filter", language=ANY),
}
"""Subsets that every pool has; its settings add others, and can give ``basic_filter`` a language
model."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
"""A subset's name: it becomes a file name and a partition key of Dagster."""


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
    devices_per_step: int = Field(
        default=1, ge=1, description="Accelerators that the batches of one partition are dealt to"
    )
    sources: SourceSettings = Field(default_factory=SourceSettings)
    download: DownloadSettings = Field(default_factory=DownloadSettings)
    inference: InferenceSettings = Field(default_factory=InferenceSettings)
    index: IndexSettings = Field(default_factory=IndexSettings)
    hub: HubSettings = Field(default_factory=HubSettings)
    heads: HeadsSettings = Field(default_factory=HeadsSettings)
    subsets: dict[str, Definition] = Field(
        default_factory=lambda: dict(SUBSETS),
        description="Further subsets by name, each with its definition, see docs/subsets.md",
    )

    subset_shards: dict[str, SubsetShardSettings] = Field(
        default_factory=dict[str, SubsetShardSettings],
        description="Subsets whose samples are copied into shards of their own, by name",
    )

    @field_validator(layout.SUBSET_SHARDS)
    @classmethod
    def _are_of_subsets(cls, given: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        # Where these are wrong, that is what is told.
        named.check_names(layout.SUBSET_SHARDS, given, info.data.get("subsets", given))
        return given

    @field_validator("subsets")
    @classmethod
    def _with_baselines(cls, given: dict[str, SubsetSettings]) -> dict[str, SubsetSettings]:
        _check_names(given)
        taken = [name for name in given if name in SUBSETS and not _is_own(name, given[name])]
        if taken:
            raise ValueError(f"{taken[0]!r} is DataComp's, and every pool's; choose another name")
        named.check(every := SUBSETS | given)
        return every


def _is_own(name: str, given: SubsetSettings) -> bool:
    """Whether a definition is the one of that name, whatever it says of languages."""
    if isinstance(given, BasicFilter):
        given = given.model_copy(update={"language": ANY, "language_model": None})
    return given == SUBSETS[name]


def _check_names(given: Mapping[str, SubsetSettings]) -> None:
    odd = [name for name in given if not NAME.fullmatch(name)]
    if odd:
        raise ValueError(f"{odd[0]!r} is no name of letters, digits, _ and - of 1 to 64")


class _One(BaseModel):
    """A definition alone."""

    subsets: dict[str, Definition]


def with_subset(
    defined: Mapping[str, SubsetSettings], name: str, definition: Mapping[str, Any]
) -> dict[str, SubsetSettings]:
    """Subsets with one more, or with another definition of one.

    Args:
        defined: subsets by name.
        name: of the new one.
        definition: as people write it.

    Raises:
        ConfigurationError: it is none, or does not fit the others.
    """
    where = f"subset {name!r}"
    try:
        new = _One(subsets={name: definition}).subsets  # pyright: ignore[reportArgumentType]
        _check_names(new)
        named.check(every := {**defined, **new})
    except ValidationError as error:
        by_place = faults(error, places())
        told = [": ".join(filter(None, (".".join(p[2:]), why))) for p, why in by_place.items()]
        raise ConfigurationError(
            where, "; ".join(told), "a definition", "docs/subsets.md has examples."
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            where, str(error), "a definition", "docs/subsets.md has examples."
        ) from error
    return every


def load(root: str | None = None, pool: str | None = None) -> Settings:
    """Read the settings of a pool.

    Args:
        root: the store; default ``CLIP_ASSETS_ROOT``, then ``data``.
        pool: the settings file; default ``CLIP_ASSETS_POOL``, then ``pool.yaml`` in the root.

    Raises:
        ConfigurationError: a file or variable holds a wrong name or value.
    """
    variable = _Variables()
    root = root or variable.root
    named = pool or variable.pool
    path = named or f"{root.rstrip('/')}/{layout.SETTINGS_FILE}"
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
        by_place = faults(error, places())
        raise ConfigurationError(
            ", ".join(sorted({_blamed(place, variables, path) for place in by_place})),
            "; ".join(f"{'.'.join(place)}: {message}" for place, message in by_place.items()),
            "known settings with valid values",
            "See: clip-assets config",
        ) from error


def places() -> list[Place]:
    """Where every setting is: sections, and the settings in them."""
    every: list[Place] = []
    for name, field in Settings.model_fields.items():
        every.append((name,))
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            every += [(name, inner) for inner in section.model_fields]
    every += [(choices.SECTION, "", inner) for inner in choices.fields()]
    return every


def wrong(error: ConfigurationError) -> Mapping[Place, str]:
    """What is wrong by place, empty if ``load`` failed before it looked at single settings."""
    cause = error.__cause__
    return faults(cause, places()) if isinstance(cause, ValidationError) else {}


class _Variables(BaseSettings):
    """Where the settings themselves are."""

    model_config = SettingsConfigDict(env_prefix="CLIP_ASSETS_", extra="ignore")

    root: str = "data"
    pool: str = ""
    dagster_home: str = Field(default="", validation_alias="DAGSTER_HOME")


def dagster_home() -> str:
    """Where Dagster keeps its instance, empty when nobody said so."""
    return _Variables().dagster_home


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


def _blamed(place: Place, variables: dict[str, Any], path: str) -> str:
    """The variable that a wrong setting is from, else the file."""
    section, *inner = place
    given = variables.get(section)
    if given is None or (isinstance(given, dict) and inner and inner[0] not in given):
        return path
    parts = [section, *inner[:1]] if isinstance(given, dict) else [section]
    return "CLIP_ASSETS_" + "__".join(parts).upper()


def _read(path: str, *, must_exist: bool) -> dict[str, Any]:
    try:
        content = yaml.safe_load(opening.content(path)) or {}
    except SourceMissingError:
        if not must_exist:
            return {}
        raise ConfigurationError(path, "no file", "a settings file", "Name another.") from None
    except (SourceError, ConfigurationError) as error:
        raise ConfigurationError(
            path,
            error.found,
            "a file that can be read, in a folder or at a url that fsspec opens",
            "Check --root and --pool.",
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(path, str(error), "valid yaml", "Correct it.") from error
    except RecursionError:
        raise ConfigurationError(
            path, "lists or mappings nested too deep", "settings by name", "Correct it."
        ) from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigurationError(path, "no mapping", "settings by name", "See: clip-assets config")
    return content


def absolute(root: str) -> str:
    """The root as an absolute path or url, so that other processes find it."""
    return root if "://" in root else str(Path(root).resolve())
