"""open_clip models as encoders: loading, identity and precision.

Importing this module costs nothing: torch and open_clip are imported when a model is loaded.
What comes from open_clip is taken as it is: the model's own preprocessing and its own tokenizer,
always. See ``towers`` for how a loaded model computes.
"""

import copy
import difflib
import functools
import hashlib
import importlib.util
import json
import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_assets.encoders.encoder import Encoder, ModelIdentity
from clip_assets.encoders.identity import DEMO, model_name
from clip_assets.encoders.openclip import hub, lazy_open_clip, pulled
from clip_assets.encoders.replicas import Replicas
from clip_assets.errors import ModelLoadError, SourceError
from clip_assets.files.faults import refuse_special
from clip_assets.settings import InferenceSettings

if TYPE_CHECKING:
    import torch

DEMO_FOLDER = Path(__file__).parents[2] / "demo" / "model"

BF16_FLAGS = {"amx_bf16", "avx512_bf16"}
"""A processor with one of these multiplies bf16 matrices faster than fp32 ones."""

BF16_PARAMETERS = 20_000_000
"""Smaller models are fast enough to be exact."""

CONFIG = "open_clip_config.json"

TEXT_TOWER = "config.json"
"""Of transformers: how a text tower is built that is not open_clip's own."""

PROBE = "A photo of 3 naïve <cats> & dogs, isn't it?"
"""What it becomes tells one tokenizer from another."""


@functools.lru_cache(maxsize=1)
def loaded(settings: InferenceSettings, *devices: str) -> Encoder:
    """The model of some settings, loaded once in a process; see ``load_encoder``."""
    return load_encoder(settings, *devices)


def load_encoder(settings: InferenceSettings, *devices: str) -> Encoder:
    """Load a model with its weights, its preprocessing and its tokenizer.

    Args:
        settings: which model; ``demo`` is the one that the package ships.
        devices: of torch, ``cpu``, ``cuda`` or ``cuda:1``; several share the batches. Default:
            the first GPU if there is one.

    Raises:
        ModelLoadError: no such model or weights, or weights of another shape.
        DeviceLostError: a device is not there.
    """
    lazy_open_clip.load()
    import torch

    from clip_assets.encoders.openclip.towers import OpenClipEncoder

    default = "cuda" if torch.cuda.is_available() else "cpu"
    places = [torch.device(device) for device in devices or (default,)]
    for place in places:
        _check_device(place)
    name, pretrained = model_name(settings)
    source = f"local-dir:{DEMO_FOLDER}" if name == DEMO else name
    model, tokenizer = load_model(source, pretrained)
    precision = _precision(settings.precision, model, places[0])
    identity = identify(model, tokenizer, (name, pretrained), precision)
    pulled.check(source, identity.sha256)
    # Each encoder rebuilds its model in place.
    copies = [copy.deepcopy(model) for _ in places[1:]]
    encoders = [
        OpenClipEncoder(
            replica, tokenizer, identity, place, settings.batch_size, decodes=settings.device_jpegs
        )
        for replica, place in zip([model, *copies], places, strict=True)
    ]
    return encoders[0] if len(encoders) == 1 else Replicas(encoders)


def _refuse_special(name: str, pretrained: str | None) -> None:
    """Refuse pipes and devices among the files of a model; reading one may never end."""
    named = [Path(name.removeprefix("local-dir:"))] if name.startswith("local-dir:") else []
    for path in [*named, *([Path(pretrained)] if pretrained else [])]:
        for file in [path, *(path.iterdir() if path.is_dir() else ())]:
            try:
                refuse_special(str(file))
            except SourceError as error:
                expected = "files of a model"
                raise _unloadable(name, f"{error.found} ({file.name})", expected) from error


def _check_device(device: "torch.device") -> None:
    """Find out before a model is loaded that it cannot be put there."""
    import torch

    from clip_assets.encoders.openclip import device_faults

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise device_faults.absent(error, device) from error


def identify(
    model: Any, tokenizer: Any, name: tuple[str, str | None], precision: str
) -> ModelIdentity:
    """The identity of a loaded model.

    Args:
        model: as ``load_model`` gives it.
        tokenizer: likewise.
        name: see ``identity.model_name``.
        precision: what it is going to compute in.
    """
    preprocessing = {
        "image": model.visual.preprocess_cfg,
        # By its tokens and not its class: a pulled folder may bring another class.
        "probe_tokens": tokenizer([PROBE])[0].tolist(),
        # Weights do not tell one activation from the other.
        "quick_gelu": any(type(layer).__name__ == "QuickGELU" for layer in model.modules()),
    }
    return ModelIdentity(
        name=name[0],
        pretrained=name[1],
        sha256=weights_sha256(model),
        preprocessing=json.dumps(preprocessing, sort_keys=True),
        dim=_dim(model, tokenizer),
        precision=precision,
    )


def weights_sha256(model: Any) -> str:
    """sha256 of all parameters and buffers, whatever file they came from.

    Args:
        model: in the precision it was loaded in.
    """
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(memoryview(flat.view(torch.uint8).numpy()))
    return total.hexdigest()


def load_model(name: str, pretrained: str | None) -> tuple[Any, Any]:
    """Load open_clip's model in fp32 with its weights, and its tokenizer.

    Raises:
        ModelLoadError: no such model or weights, or weights of another shape.
    """
    _refuse_special(name, pretrained)
    lazy_open_clip.load()
    import open_clip
    from safetensors import SafetensorError

    where = f"{name}/{pretrained}" if pretrained else name
    expected = "a model that open_clip loads, with weights of its shape"
    schema = name.startswith(("local-dir:", "hf-hub:"))
    if not schema and open_clip.get_model_config(name) is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), 1)
        known = f"a name that open_clip knows{f', such as {near[0]}' if near else ''}"
        raise _unloadable(where, f"no model of open_clip is called {name!r}", known)
    if not schema and not pretrained:
        raise _unloadable(where, "no pretrained weights named", "a tag or a checkpoint path")
    is_here = name.startswith("local-dir:") or Path(pretrained or "").is_file()
    try:
        with nullcontext() if is_here else hub.asked_once():
            config = model_config(name)
            _check_transformers(where, config)
            model = open_clip.create_model(
                name,
                pretrained,
                force_quick_gelu=needs_quick_gelu(name, pretrained),
                pretrained_text=False,
                require_pretrained=True,
                **_local_text_tower(name, config),
            )
            tokenizer = open_clip.get_tokenizer(name)
    except (
        # What open_clip, torch and safetensors raise on wrong names, files and shapes.
        RuntimeError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AssertionError,
        AttributeError,
        EOFError,
        ImportError,
        pickle.UnpicklingError,
        SafetensorError,
    ) as error:
        raise _unloadable(where, f"{type(error).__name__}: {_short(error)}", expected) from error
    return model.eval().requires_grad_(requires_grad=False), tokenizer


def model_config(name: str) -> dict[str, Any]:
    """open_clip's configuration of a model."""
    lazy_open_clip.load()
    import open_clip
    from open_clip.pretrained import download_pretrained_from_hf

    if name.startswith("hf-hub:"):
        file = Path(download_pretrained_from_hf(name.removeprefix("hf-hub:"), CONFIG))
    elif name.startswith("local-dir:"):
        file = Path(name.removeprefix("local-dir:"), CONFIG)
    else:
        config = open_clip.get_model_config(name)
        if config is None:
            raise LookupError(f"no model {name}")
        return config
    return json.loads(file.read_text())["model_cfg"]


def _check_transformers(where: str, config: dict[str, Any]) -> None:
    """Refuse a model whose captions need a package that is not installed."""
    wanted = {"hf_model_name", "hf_tokenizer_name"} & config["text_cfg"].keys()
    if wanted and importlib.util.find_spec("transformers") is None:
        raise ModelLoadError(
            where,
            f"captions for {config['text_cfg'][min(wanted)]!r} and no package transformers",
            "the package that reads them",
            "Run: pip install 'clip-assets[hf]'",
        )


def _local_text_tower(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Arguments that make a pulled folder build a text tower of transformers from itself.

    open_clip looks such a tower up by its name on the hub, also for a folder.
    """
    folder = Path(name.removeprefix("local-dir:"))
    is_pulled = name.startswith("local-dir:") and (folder / TEXT_TOWER).is_file()
    if not is_pulled or not config["text_cfg"].get("hf_model_name"):
        return {}
    local = {"hf_model_name": str(folder), "hf_model_pretrained": False}
    return {"text_cfg": config["text_cfg"] | local}


def needs_quick_gelu(name: str, pretrained: str | None) -> bool:
    """Whether a tag was trained with another activation than its model's configuration says."""
    lazy_open_clip.load()
    import open_clip

    return bool(open_clip.get_pretrained_cfg(name, pretrained or "").get("quick_gelu"))


def _dim(model: Any, tokenizer: Any) -> int:
    import torch

    with torch.inference_mode():
        return int(model.encode_text(tokenizer([""])).shape[-1])


def _precision(asked: str, model: Any, device: "torch.device") -> str:
    """What to compute in: the fastest that keeps the cosine promise on this machine."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "fp16"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    pays = parameters >= BF16_PARAMETERS and BF16_FLAGS & _cpu_flags()
    return "bf16" if pays else "fp32"


def _cpu_flags() -> set[str]:
    """What the processor can do, by Linux's names; nothing where that cannot be asked."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."


def _unloadable(where: str, found: str, expected: str) -> ModelLoadError:
    advice = (
        "Check inference.model and inference.pretrained; without a network use a folder made "
        "by: clip-assets models pull"
    )
    return ModelLoadError(where, found, expected, advice)
