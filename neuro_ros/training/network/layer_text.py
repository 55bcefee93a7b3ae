# SPDX-License-Identifier: Apache-2.0
"""A network in one line of text, so that somebody can choose theirs on the command line.

``conv:12k5s2p2,conv:24k3s2p1,dense:128``: layers from the input on, each with its kind, its channels or neurons, and
letters with numbers for the rest. The output layer, a neuron a class, comes by itself; ``output:u800v50`` as the last
one sets its decays.

====== ==================================================== ===========
letter meaning                                              default
====== ==================================================== ===========
k      side of the kernel                                   3
s      stride                                               1
p      padding                                              k // 2
u      decay of the current a step, of 4096 (register du)   by kind
v      decay of the potential a step, of 4096 (register dv) by kind
====== ==================================================== ===========
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from neuro_ros.training.errors import TrainingError
from neuro_ros.training.network.layers import ConvSpec, DenseSpec

__all__ = ["DEFAULT_LAYERS", "Decays", "layer_text", "parse_layers"]

#: Fits 32 x 32 cells and windows of some bins, and one small neuromorphic chip.
DEFAULT_LAYERS = "conv:12k5s2p2,conv:24k3s2p1,dense:128"

_MAX_LAYERS = 32
# Of a layer; beyond it nothing that this package exports to holds it, and memory would be the first to tell.
_MAX_WEIGHTS = 1 << 24
_MAX_NEURONS = 1 << 20
_LAYER = re.compile(r"(conv|dense|output):(\d*)((?:[a-z]\d+)*)")
_LETTERS = {"conv": "kspuv", "dense": "uv", "output": "uv"}


@dataclass(frozen=True)
class Decays:
    """Registers du and dv of a kind of layer that are not in its text."""

    du: int
    dv: int


# Currents of a step or two and potentials of about ten: what a limb or a saccade needs at 5 to 20 ms a step.
_DECAYS = {"conv": Decays(2000, 500), "dense": Decays(1500, 250), "output": Decays(800, 200)}


def _letters(kind: str, text: str, whole: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for letter, digits in re.findall(r"([a-z])(\d+)", text):
        known = ", ".join(_LETTERS[kind])
        if letter not in _LETTERS[kind]:
            raise TrainingError(f"layer {whole!r}: {letter!r} means nothing there; known are {known}")
        if letter in found:
            raise TrainingError(f"layer {whole!r}: {letter!r} is given twice")
        found[letter] = int(digits)
    return found


def _check(whole: str, what: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise TrainingError(f"layer {whole!r}: {what} is {value}, outside {low}..{high}")
    return value


def parse_layers(text: str, classes: int, input_shape: tuple[int, int, int]) -> tuple[ConvSpec | DenseSpec, ...]:
    """Return the layers that a text describes.

    Parameters
    ----------
    text : str
        See the module.
    classes : int
        Neurons of the output layer.
    input_shape : (int, int, int)
        Channels, height, width that come in; the layers must fit it.

    Returns
    -------
    tuple of ConvSpec or DenseSpec
        The output layer is the last one.

    Raises
    ------
    TrainingError
        Naming the layer, if it is not understood, does not fit what comes in, or is absurdly large.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not parts[-1].startswith("output"):
        parts.append("output:")
    if len(parts) > _MAX_LAYERS:
        raise TrainingError(f"{len(parts)} layers are more than {_MAX_LAYERS}")
    specs: list[ConvSpec | DenseSpec] = []
    name = _namer(parts)
    shape = input_shape
    for number, whole in enumerate(parts):
        match = _LAYER.fullmatch(whole)
        if match is None:
            raise TrainingError(f"layer {whole!r} is not understood; write for instance {DEFAULT_LAYERS}")
        kind, size, letters = match[1], match[2], _letters(match[1], match[3], whole)
        if (kind == "output") != (number == len(parts) - 1):
            raise TrainingError(f"layer {whole!r}: the output comes last, and once")
        if (kind == "output") == bool(size):
            raise TrainingError(f"layer {whole!r}: " + ("has a neuron a class" if size else "how many neurons?"))
        du = _check(whole, "u", letters.get("u", _DECAYS[kind].du), 0, 4095)
        dv = _check(whole, "v", letters.get("v", _DECAYS[kind].dv), 0, 4095)
        if kind == "conv":
            channels = _check(whole, "the number of channels", int(size), 1, 4096)
            kernel = _check(whole, "k", letters.get("k", 3), 1, 31)
            stride = _check(whole, "s", letters.get("s", 1), 1, 31)
            padding = _check(whole, "p", letters.get("p", kernel // 2), 0, 31)
            height, width = ((n + 2 * padding - kernel) // stride + 1 for n in shape[1:])
            if height < 1 or width < 1:
                raise TrainingError(f"layer {whole!r}: a kernel of {kernel} does not fit {shape[1]} x {shape[2]} cells")
            weights = channels * shape[0] * kernel * kernel
            specs.append(ConvSpec(name(kind), channels, kernel, stride, padding, du, dv))
            shape = (channels, height, width)
        else:
            neurons = (
                classes if kind == "output" else _check(whole, "the number of neurons", int(size), 1, _MAX_NEURONS)
            )
            weights = neurons * shape[0] * shape[1] * shape[2]
            specs.append(DenseSpec(name(kind), neurons, du, dv))
            shape = (neurons, 1, 1)
        _check(whole, "the number of neurons", shape[0] * shape[1] * shape[2], 1, _MAX_NEURONS)
        _check(whole, "the number of weights", weights, 1, _MAX_WEIGHTS)
    return tuple(specs)


def _namer(parts: list[str]) -> Callable[[str], str]:
    """Return a function that names the next layer of a kind: conv1, conv2; dense, where there is only one."""
    many = {kind: sum(part.startswith(kind) for part in parts) for kind in _LETTERS}
    count = dict.fromkeys(_LETTERS, 0)

    def name(kind: str) -> str:
        count[kind] += 1
        return kind if many[kind] == 1 and kind != "conv" else f"{kind}{count[kind]}"

    return name


def layer_text(specs: tuple[ConvSpec | DenseSpec, ...]) -> str:
    """Return the text of layers, with every number written out; the inverse of `parse_layers`."""
    parts = []
    for spec in specs[:-1]:
        decays = f"u{spec.du}v{spec.dv}"
        if isinstance(spec, ConvSpec):
            parts.append(f"conv:{spec.channels}k{spec.kernel}s{spec.stride}p{spec.padding}{decays}")
        else:
            parts.append(f"dense:{spec.neurons}{decays}")
    return ",".join([*parts, f"output:u{specs[-1].du}v{specs[-1].dv}"])
