"""The model that a store belongs to: claimed by its first sound embeddings, refused to any other.

Needs no model loaded, so the states of a pool can tell which identity a partition would get. See
``encoders.encoder`` for what an identity consists of.
"""

import json
from dataclasses import asdict
from typing import Any

from clip_assets import layout
from clip_assets.encoders.encoder import ModelIdentity
from clip_assets.errors import MissingArtifactError, ModelMismatchError
from clip_assets.settings import InferenceSettings
from clip_assets.storage.manifests import ABSENT
from clip_assets.storage.store import Store

DEMO = "demo"
"""Name of the model that the package ships."""


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
        _write(store, {"identity": asdict(identity), "names": []})
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
    known = ModelIdentity(**record["identity"])
    if known.digest() != identity.digest():
        raise ModelMismatchError(
            store.uri(layout.MODEL),
            f"embeddings of {known.describe()}",
            identity.describe(),
            f"Set inference.model to {known.name!r} and inference.pretrained to "
            f"{known.pretrained!r} (of embed: --model), or use another place for the other model.",
        )
    name = [identity.name, identity.pretrained]
    if name not in record["names"]:
        _write(store, record | {"names": [*record["names"], name]})


def read_identity(store: Store) -> ModelIdentity | None:
    """The model that the store belongs to, None as long as nothing was embedded."""
    record = _read(store)
    return ModelIdentity(**record["identity"]) if record else None


def expected_identity(store: Store, settings: InferenceSettings) -> str:
    """Digest that a run with these settings would put into a partition's inputs.

    Known without loading a model where the store has met the settings' model; otherwise a
    text that equals no digest, so that partitions show as stale and the run decides.
    """
    record = _read(store)
    if record is None:
        return ABSENT
    name, pretrained = model_name(settings)
    if [name, pretrained] in record["names"]:
        return ModelIdentity(**record["identity"]).digest()
    return f"not loaded: {name}" + (f"/{pretrained}" if pretrained else "")


def _read(store: Store) -> dict[str, Any] | None:
    try:
        return json.loads(store.read_bytes(layout.MODEL))
    except MissingArtifactError:
        return None


def _write(store: Store, record: dict[str, Any]) -> None:
    store.write_bytes(layout.MODEL, json.dumps(record, indent=1).encode())
