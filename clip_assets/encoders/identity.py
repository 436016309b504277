"""The model that a store belongs to: claimed by its first sound embeddings, refused to any other.

Needs no model loaded, so the states of a pool can tell which identity a partition would get. See
``encoders.encoder`` for what an identity consists of.
"""

import json
from dataclasses import asdict, dataclass, replace

from clip_assets import layout
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.errors import MissingArtifactError, ModelMismatchError
from clip_assets.settings import InferenceSettings
from clip_assets.storage.control import parsed
from clip_assets.storage.manifests import ABSENT
from clip_assets.storage.store import Store

DEMO = "demo"
"""Name of the model that the package ships."""


ADVICE = (
    "Put back a copy of it, or remove it and run clip-assets run with the settings of the same "
    "model, which writes it again."
)


def model_name(settings: InferenceSettings) -> tuple[str, str | None]:
    """Name and pretrained tag as an identity holds them; folders and the demo have no tag."""
    whole = settings.model == DEMO or settings.model.startswith(("local-dir:", "hf-hub:"))
    return settings.model, None if whole else settings.pretrained


def claim_model(store: Store, identity: ModelIdentity) -> None:
    """Make a store the store of this model, whose vectors have been found sound.

    Raises:
        ModelMismatchError: another model's embeddings are in the store.
    """
    if _read(store) is None:
        _write(store, _Owner(identity, []))
    check_model(store, identity)


def check_model(store: Store, identity: ModelIdentity) -> None:
    """Make sure that a store is this model's, or nobody's yet.

    The same model under another name (a pulled folder, say) is welcome, and the name is kept,
    so that ``expected_identity`` knows it.

    Raises:
        ModelMismatchError: another model's embeddings are in the store.
    """
    record = _read(store)
    if record is None:
        return
    known = record.identity
    if known.digest() != identity.digest():
        raise ModelMismatchError(
            store.uri(layout.MODEL),
            f"embeddings of {known.describe()}",
            identity.describe(),
            f"Set inference.model to {known.name!r} and inference.pretrained to "
            f"{known.pretrained!r} (of embed: --model), or use another place for the other model.",
        )
    name = [identity.name, identity.pretrained]
    if name not in record.names:
        _write(store, replace(record, names=[*record.names, name]))


def read_identity(store: Store) -> ModelIdentity | None:
    """The model that the store belongs to, None as long as nothing was embedded."""
    record = _read(store)
    return record.identity if record else None


def expected_identity(store: Store, settings: InferenceSettings) -> str:
    """Digest that a run with these settings would put into a partition's inputs.

    Known without loading a model where the store has met the settings' model; otherwise a
    text that equals no digest, so that partitions show as stale and the run decides.
    """
    record = _read(store)
    if record is None:
        return ABSENT
    name, pretrained = model_name(settings)
    if [name, pretrained] in record.names:
        return record.identity.digest()
    return f"not loaded: {name}" + (f"/{pretrained}" if pretrained else "")


@dataclass(frozen=True, slots=True)
class _Owner:
    """The content of ``layout.MODEL``.

    Args:
        identity: of the model.
        names: model and pretrained tag, each by which it was met.
    """

    identity: ModelIdentity
    names: list[list[str | None]]


def _read(store: Store) -> _Owner | None:
    try:
        content = store.read_bytes(layout.MODEL)
    except MissingArtifactError:
        return None
    return parsed(content, _Owner, store.uri(layout.MODEL), ADVICE)


def _write(store: Store, record: _Owner) -> None:
    store.write_bytes(layout.MODEL, json.dumps(asdict(record), indent=1).encode())
