"""Heads as they are named in settings, and read from files.

A file of a network does not say what stands between its layers, so that is said behind its name,
or known of the networks that LAION published.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from clip_assets.encoders.head import (
    Floats,
    Head,
    LinearHead,
    LinearLayer,
    NetworkHead,
    PromptHead,
)
from clip_assets.errors import ConfigurationError, SourceFormatError
from clip_assets.files import identity, opening
from clip_assets.files.pinned import MARK, pinned

ACTIVATIONS = ("none", "relu")

PUBLISHED: Mapping[tuple[tuple[int, ...], tuple[int, ...]], str] = {
    # The aesthetic predictor that was trained on SAC, Logos and AVA: dropout between its layers.
    ((0, 2, 4, 6, 7), (768, 1024, 128, 64, 16, 1)): "none",
    # The detector of unsafe images over ViT-H-14.
    ((0, 3, 6, 9, 12, 15, 16), (1024, 1024, 2048, 1024, 256, 128, 16, 1)): "relu",
}
"""What stands between the layers of networks, by their places and widths."""

_OPTION = r"(?:sha256|activation|above)=[^&#]*"
_OPTIONS = re.compile(rf"#({_OPTION}(?:&{_OPTION})*)$")
_LAYER = re.compile(r"(.*?)(\d+)[.](weight|bias)")


@dataclass(frozen=True, slots=True)
class HeadName:
    """How settings name a head.

    Args:
        place: of the file, with the hash of one that is fetched.
        activation: one of ``ACTIVATIONS``; None: not said.
        above: the score that counts as 0.
    """

    place: str
    activation: str | None = None
    above: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "HeadName":
        """A name from its text: a path or url, then ``#`` and options with ``&`` between them.

        Raises:
            ConfigurationError: an option has no such value.
        """
        options = _OPTIONS.search(text)
        if options is None:
            return cls(text)
        said = dict(one.split("=", 1) for one in options[1].split("&"))
        place = text[: options.start()] + (f"{MARK}{said['sha256']}" if "sha256" in said else "")
        activation, above = said.get("activation"), said.get("above", "0")
        is_number = re.fullmatch(r"-?\d+([.]\d+)?", above)
        if activation not in (None, *ACTIVATIONS) or not is_number:
            raise ConfigurationError(
                "heads",
                text[-100:],
                f"#activation={' or '.join(ACTIVATIONS)}, #above= and a number, or both with &",
                "Correct it; docs/scores.md tells what they mean.",
            )
        return cls(place, activation, float(above))


def told(uri: str) -> str:
    """A head's name with what changes when its file does; a remote one is named with its hash."""
    path = HeadName.parse(uri).place.partition(MARK)[0]
    return f"{uri} {identity.looked_at(path).etag}" if Path(path).is_file() else uri


def read(uri: str, dim: int) -> Head:
    """A head of a file.

    An ``.npy`` has the weights, (dim,) or (1, dim), and perhaps the bias behind them, or
    prompts, (n, dim). ``.safetensors``, ``.pt`` and ``.pth`` have a linear layer, or several as a
    ``torch.nn.Sequential`` names them.

    Args:
        uri: see ``HeadName.parse``.
        dim: of the embeddings.

    Raises:
        ConfigurationError: the name is wrong.
        SourceMissingError: there is no such file.
        SourceFormatError: it is no head over embeddings of this width.
    """
    name = HeadName.parse(uri)
    content = opening.content(str(pinned(name.place, {})))
    kind = name.place.partition(MARK)[0].rpartition(".")[2].lower()
    try:
        head = _head(kind, content, name.activation, dim)
    except _NoHead as error:
        raise _refused(uri, str(error), dim) from error
    except Exception as error:  # whatever the readers of three formats raise
        said = str(error).partition("\n")[0][:200]
        raise _refused(uri, f"{type(error).__name__}: {said}", dim) from error
    return head.lowered(name.above) if name.above else head


class _NoHead(Exception):  # noqa: N818  (what is found, not an error of ours)
    """What a file holds instead of a head."""


def _head(kind: str, content: bytes, activation: str | None, dim: int) -> Head:
    if kind == "npy":
        return _of_array(np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32), dim)
    if kind not in ("safetensors", "pt", "pth"):
        raise _NoHead(f"a file called .{kind}"[:100])
    from clip_assets.encoders.openclip.state import state_of

    named = state_of(content, is_pickled=kind != "safetensors")
    tensors = {name: np.asarray(value, np.float32) for name, value in named.items()}
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise _NoHead(f"numbers in {name} that are not finite"[:100])
    weights, biases = (
        [value for name, value in tensors.items() if name.endswith(end)]
        for end in ("weight", "bias")
    )
    if len(weights) == 1 and len(biases) <= 1:
        return _linear(weights[0].reshape(-1), biases[0].reshape(-1) if biases else None, dim)
    return _network(tensors, activation, dim)


def _of_array(stored: Floats, dim: int) -> Head:
    if not np.isfinite(stored).all():
        raise _NoHead("numbers that are not finite")
    if stored.ndim == 2 and len(stored) > 1 and stored.shape[1] == dim:
        return PromptHead(stored)
    return _linear(stored.reshape(-1), None, dim)


def _linear(weights: Floats, bias: Floats | None, dim: int) -> LinearHead:
    if bias is None and len(weights) == dim + 1:
        weights, bias = weights[:-1], weights[-1:]
    if len(weights) != dim or (bias is not None and len(bias) != 1):
        raise _NoHead(f"{len(weights):,} weights")
    if not weights.any():
        raise _NoHead("weights that are 0")
    return LinearHead(weights, 0.0 if bias is None else float(bias[0]))


def _network(tensors: Mapping[str, Floats], activation: str | None, dim: int) -> Head:
    """Layers in the order of their places, those without a ReLU between them as one."""
    layers = _layers(tensors)
    widths = (next(iter(layers.values())).weights.shape[1],)
    widths += tuple(len(layer.bias) for layer in layers.values())
    fits = all(
        before == layer.weights.shape[1]
        for before, layer in zip(widths, layers.values(), strict=False)
    )
    if not fits or widths[0] != dim or widths[-1] != 1:
        raise _NoHead(f"layers of {' x '.join(map(str, widths))}")
    has_gaps = any(after - before > 1 for before, after in pairwise(layers))
    between = activation or PUBLISHED.get((tuple(layers), widths), "" if has_gaps else "none")
    if not between:
        raise _NoHead(f"layers at {', '.join(map(str, layers))} with what is not said between them")
    places = [*layers]
    joined = [layers[places[0]]]
    for before, place in pairwise(places):
        is_next = between == "none" or place - before == 1
        layer = layers[place]
        joined.append(layer.after(joined.pop()) if is_next else layer)
    if len(joined) == 1:
        return _linear(joined[0].weights[0], joined[0].bias, dim)
    return NetworkHead(joined)


def _layers(tensors: Mapping[str, Floats]) -> dict[int, LinearLayer]:
    """By their places in a ``torch.nn.Sequential``, ascending."""
    tensors_at: dict[int, dict[str, Floats]] = {}
    prefixes: set[str] = set()
    for name, value in tensors.items():
        match = _LAYER.fullmatch(name)
        if match is None or value.ndim != (2 if match[3] == "weight" else 1):
            raise _NoHead(f"tensors {', '.join(tensors)}"[:100])
        prefixes.add(match[1])
        tensors_at.setdefault(int(match[2]), {})[match[3]] = value
    if len(prefixes) != 1 or not all("weight" in own for own in tensors_at.values()):
        raise _NoHead(f"tensors {', '.join(tensors)}"[:100])
    return {
        place: _layer(own["weight"], own.get("bias")) for place, own in sorted(tensors_at.items())
    }


def _layer(weights: Floats, bias: Floats | None) -> LinearLayer:
    width = len(weights)
    if bias is not None and len(bias) != width:
        raise _NoHead(f"{len(bias)} biases of {width} outputs")
    return LinearLayer(weights, np.zeros(width, np.float32) if bias is None else bias)


def _refused(uri: str, found: str, dim: int) -> SourceFormatError:
    return SourceFormatError(
        uri,
        found,
        f"a head over {dim} numbers: .npy, .safetensors, .pt or .pth",
        "Give one that was trained on embeddings of the pool's model, in a form that "
        "docs/scores.md tells, and say there what stands between its layers: #activation=relu.",
    )
