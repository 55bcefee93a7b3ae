# SPDX-License-Identifier: Apache-2.0
"""Augmentation: pure functions on events and on spike tensors; the generator given decides all chance.

Each has a form for events (before windowing) and one for tensors (steps, channels, height, width). A mirror image of a
gesture is another gesture (`MIRROR`: 1-2, 3-6 and 4-5 change places), so whoever flips swaps the label too; a data set
whose classes have no mirror images is not flipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuro_ros.errors import NeuroRosError
from neuro_ros.events import EVENT_DTYPE
from neuro_ros.gestures.labels import MIRROR

__all__ = [
    "Augmentation",
    "AugmentationError",
    "add_noise",
    "add_noise_steps",
    "augment_events",
    "augment_steps",
    "drop_events",
    "drop_steps",
    "flip_events",
    "flip_label",
    "flip_steps",
    "scale_time",
    "scale_time_steps",
    "shift_events",
    "shift_steps",
    "warp_events",
    "warp_matrix",
    "warp_steps",
]

Events = npt.NDArray[np.void]
Spikes = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class AugmentationError(NeuroRosError, ValueError):
    """A strength of augmentation that cannot be."""


@dataclass(frozen=True)
class Augmentation:
    """How strongly to vary a sample; zeros leave it as it is.

    Attributes
    ----------
    flip : float
        Probability of a mirror image.
    mirror : tuple of int, optional
        Which class a class becomes by it; None forbids it.
    shift : float
        Largest displacement per axis, as a share of the image's smaller side.
    rotate_deg : float
        Largest rotation about the image's centre, either way.
    zoom : float
        The image is magnified by exp(u), u uniform within this much of 0, and by up to half as much again along one
        axis.
    shear : float
        Largest slant, in widths a height.
    time_scale : float
        Time runs at exp(u) of its speed, u uniform within this much of 0.
    drop : float
        Largest share of events dropped; the share is uniform from 0.
    noise_hz : float
        Largest rate of added events a pixel; the rate is uniform from 0.

    Raises
    ------
    AugmentationError
        If a strength is outside its range.
    """

    flip: float = 0.5
    mirror: tuple[int, ...] | None = MIRROR
    shift: float = 0.06
    time_scale: float = 0.2
    drop: float = 0.3
    noise_hz: float = 1.0
    rotate_deg: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0

    def __post_init__(self) -> None:
        limits = (
            ("flip", 1.0), ("shift", 0.5), ("time_scale", 1.0), ("drop", 0.99), ("noise_hz", 1000.0),
            ("rotate_deg", 180.0), ("zoom", 1.0), ("shear", 1.0),
        )  # fmt: skip
        for name, high in limits:
            if not 0.0 <= getattr(self, name) <= high:
                raise AugmentationError(f"augmentation: {name} is {getattr(self, name)}, not within 0 and {high:g}")
        if self.mirror is not None and any(
            not 0 <= other < len(self.mirror) or self.mirror[other] != i for i, other in enumerate(self.mirror)
        ):
            raise AugmentationError(f"augmentation: mirror {self.mirror} is not its own inverse")

    @property
    def warps(self) -> bool:
        """Whether the image is rotated, magnified or slanted at all."""
        return self.rotate_deg > 0.0 or self.zoom > 0.0 or self.shear > 0.0

    def draw_warp(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return the matrix of a random warp, see `warp_matrix`."""
        turn, zoom, stretch, slant = rng.uniform(-1.0, 1.0, 4)
        larger = float(np.exp(self.zoom * zoom))
        along = float(np.exp(0.5 * self.zoom * stretch))
        return warp_matrix(self.rotate_deg * turn, larger, larger * along, self.shear * slant)


def flip_label(label: int, mirror: Sequence[int] = MIRROR) -> int:
    """Return the class of the mirror image; -1 = unknown stays unknown."""
    return label if label < 0 else mirror[label]


def flip_events(events: Events, width: int) -> Events:
    """Return the mirror image, right to left, of events on a sensor so wide [px]."""
    flipped = events.copy()
    flipped["x"] = width - 1 - events["x"]
    return flipped


def shift_events(events: Events, dx_px: int, dy_px: int, width: int, height: int) -> Events:
    """Return the events displaced; what leaves the sensor is lost.

    Parameters
    ----------
    events : (n,) EVENT_DTYPE
    dx_px, dy_px : int
        To the right and downwards.
    width, height : int
        Of the sensor [px].
    """
    x = events["x"].astype(np.int64) + dx_px
    y = events["y"].astype(np.int64) + dy_px
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    shifted = events[inside]
    shifted["x"], shifted["y"] = x[inside], y[inside]
    return shifted


def warp_matrix(rotate_deg: float, zoom_x: float, zoom_y: float, shear: float) -> npt.NDArray[np.float64]:
    """Return the matrix that slants, magnifies and then rotates displacements (x, y) from the image's centre.

    Parameters
    ----------
    rotate_deg : float
        From x to y: clockwise as the image is seen.
    zoom_x, zoom_y : float
        Above 0.
    shear : float
        Displacement in x for each in y.

    Returns
    -------
    (2, 2) float64

    Raises
    ------
    AugmentationError
        If a zoom is not above 0 or a value is not finite.
    """
    if not (zoom_x > 0.0 and zoom_y > 0.0 and np.isfinite([rotate_deg, zoom_x, zoom_y, shear]).all()):
        raise AugmentationError(f"augmentation: an image cannot be magnified by {zoom_x} and {zoom_y}")
    angle = np.deg2rad(rotate_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix: npt.NDArray[np.float64] = turn @ np.diag([zoom_x, zoom_y]) @ np.array([[1.0, shear], [0.0, 1.0]])
    return matrix


def warp_events(events: Events, matrix: npt.NDArray[np.float64], width: int, height: int) -> Events:
    """Return the events moved by a matrix about the centre; what leaves the sensor is lost.

    Parameters
    ----------
    events : (n,) EVENT_DTYPE
    matrix : (2, 2) float
        From `warp_matrix`.
    width, height : int
        Of the sensor [px].
    """
    centre_x, centre_y = (width - 1) / 2.0, (height - 1) / 2.0
    from_x, from_y = events["x"] - centre_x, events["y"] - centre_y
    x = np.rint(matrix[0, 0] * from_x + matrix[0, 1] * from_y + centre_x).astype(np.int64)
    y = np.rint(matrix[1, 0] * from_x + matrix[1, 1] * from_y + centre_y).astype(np.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    warped = events[inside]
    warped["x"], warped["y"] = x[inside], y[inside]
    return warped


def scale_time(events: Events, factor: float) -> Events:
    """Return the events with the time between them, from the first one on, multiplied by a factor above 0."""
    if not 0.0 < factor < float("inf"):
        raise AugmentationError(f"augmentation: time cannot be scaled by {factor}")
    scaled = events.copy()
    if len(events):
        start_ns = events["t"][0]
        scaled["t"] = start_ns + np.rint((events["t"] - start_ns) * factor).astype(np.int64)
    return scaled


def drop_events(events: Events, share: float, rng: np.random.Generator) -> Events:
    """Return the events without about this share of them, each dropped by itself."""
    return events[rng.random(len(events)) >= share]


def add_noise(events: Events, rate_hz: float, width: int, height: int, rng: np.random.Generator) -> Events:
    """Return the events with others added, anywhere on the sensor, from the first to the last one's time.

    Parameters
    ----------
    events : (n,) EVENT_DTYPE
        In ascending time, for the result to be.
    rate_hz : float
        Of a pixel.
    width, height : int
        Of the sensor [px].
    rng : numpy Generator
    """
    if not len(events):
        return events.copy()
    start_ns, span_ns = int(events["t"][0]), int(events["t"][-1] - events["t"][0])
    count = int(rng.poisson(max(0.0, rate_hz * width * height * span_ns * 1e-9)))
    noise = np.zeros(count, EVENT_DTYPE)
    # Whole microseconds, as a sensor's.
    noise["t"] = start_ns + rng.integers(0, span_ns // 1000 + 1, count) * 1000
    noise["x"], noise["y"] = rng.integers(0, width, count), rng.integers(0, height, count)
    noise["p"] = rng.integers(0, 2, count)
    both = np.concatenate([events, noise])
    return both[np.argsort(both["t"], kind="stable")]


def augment_events(
    events: Events, label: int, width: int, height: int, rng: np.random.Generator, how: Augmentation | None = None
) -> tuple[Events, int]:
    """Vary a recording in all ways.

    Parameters
    ----------
    events : (n,) EVENT_DTYPE
        In ascending time; not changed.
    label : int
        Class index, -1 = unknown.
    width, height : int
        Of the sensor [px].
    rng : numpy Generator
        Source of chance; the same number of draws whatever the strengths, but for warps, dropping and noise.
    how : Augmentation, optional
        Strengths.

    Returns
    -------
    events : (n,) EVENT_DTYPE
        New.
    label : int
        Of the mirror image, if it is one.
    """
    how = how or Augmentation()
    flips, speed, share, rate = rng.random() < how.flip, rng.uniform(-1.0, 1.0), rng.random(), rng.random()
    dx, dy = (int(np.rint(u * how.shift * min(width, height))) for u in rng.uniform(-1.0, 1.0, 2))
    out = events
    if flips and how.mirror is not None:
        out, label = flip_events(out, width), flip_label(label, how.mirror)
    if how.warps:
        out = warp_events(out, how.draw_warp(rng), width, height)
    out = scale_time(shift_events(out, dx, dy, width, height), float(np.exp(how.time_scale * speed)))
    if how.drop > 0.0:
        out = drop_events(out, how.drop * share, rng)
    if how.noise_hz > 0.0:
        out = add_noise(out, how.noise_hz * rate, width, height, rng)
    return out, label


def flip_steps(spikes: Spikes, labels: Labels, mirror: Sequence[int] = MIRROR) -> tuple[Spikes, Labels]:
    """Return the mirror image of a tensor (a view), and of its labels (-1 = unknown stays)."""
    return spikes[..., ::-1], np.where(labels >= 0, np.asarray(mirror)[labels], labels)


def shift_steps(spikes: Spikes, dx: int, dy: int) -> Spikes:
    """Return the tensor displaced by cells to the right and downwards; what leaves is lost, what comes in is empty."""
    shifted = np.zeros_like(spikes)
    height, width = spikes.shape[-2:]
    shifted[..., max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = spikes[
        ..., max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)
    ]
    return shifted


def warp_steps(spikes: Spikes, matrix: npt.NDArray[np.float64], dx: int = 0, dy: int = 0) -> Spikes:
    """Return the tensor moved by a matrix about its centre, then displaced; each cell takes its nearest origin's value.

    Parameters
    ----------
    spikes : (steps, c, h, w) float32
    matrix : (2, 2) float
        From `warp_matrix`.
    dx, dy : int
        Cells to the right and downwards.

    Returns
    -------
    (steps, c, h, w) float32
        New; what comes in from outside is empty.
    """
    height, width = spikes.shape[-2:]
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x -= (width - 1) / 2.0 + dx
    y -= (height - 1) / 2.0 + dy
    back = np.linalg.inv(matrix)
    from_x = np.rint(back[0, 0] * x + back[0, 1] * y + (width - 1) / 2.0).astype(np.int64)
    from_y = np.rint(back[1, 0] * x + back[1, 1] * y + (height - 1) / 2.0).astype(np.int64)
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    origin = np.where(inside, from_y * width + from_x, 0).reshape(-1)
    flat = spikes.reshape(*spikes.shape[:-2], height * width)
    warped: Spikes = flat[..., origin] * inside.reshape(-1).astype(spikes.dtype)
    return warped.reshape(spikes.shape)


def drop_steps(spikes: Spikes, share: float, rng: np.random.Generator) -> Spikes:
    """Return the tensor without about this share of its spikes."""
    return spikes * (rng.random(spikes.shape, np.float32) >= np.float32(share))


def add_noise_steps(spikes: Spikes, probability: float, rng: np.random.Generator) -> Spikes:
    """Return the tensor with a spike added to each cell and step by a probability."""
    return np.maximum(spikes, (rng.random(spikes.shape, np.float32) < np.float32(probability)).astype(spikes.dtype))


def scale_time_steps(spikes: Spikes, labels: Labels, factor: float) -> tuple[Spikes, Labels]:
    """Return as many steps in which time runs at a factor of its duration, from the first step on.

    Above 1 steps are repeated, below 1 they are merged so that no spike is lost; behind the end of what there is
    follow empty steps with unknown labels (-1).

    Parameters
    ----------
    spikes : (steps, c, h, w) float32
    labels : (steps,) int64
    factor : float
        Above 0.

    Returns
    -------
    spikes, labels
        New, of the given shapes.
    """
    if not 0.0 < factor < float("inf"):
        raise AugmentationError(f"augmentation: time cannot be scaled by {factor}")
    steps = len(spikes)
    scaled, scaled_labels = np.zeros_like(spikes), np.full_like(labels, -1)
    for k in range(steps):
        first, last = int(k / factor), int(np.ceil((k + 1) / factor))
        if factor >= 1.0:
            last = first + 1
        if first >= steps:
            break
        scaled[k] = spikes[first : min(last, steps)].max(axis=0)
        scaled_labels[k] = labels[first]
    return scaled, scaled_labels


def augment_steps(
    spikes: Spikes, labels: Labels, rng: np.random.Generator, how: Augmentation | None = None, step_s: float = 0.005
) -> tuple[Spikes, Labels]:
    """Vary a tensor in all ways.

    Parameters
    ----------
    spikes : (steps, c, h, w) float32
        Not changed.
    labels : (steps,) int64
        Class indices, -1 = unknown.
    rng : numpy Generator
        Source of chance.
    how : Augmentation, optional
        Strengths; the noise is that of a cell here.
    step_s : float
        Length of a step.

    Returns
    -------
    spikes, labels
        Of the given shapes.
    """
    how = how or Augmentation()
    flips, speed, share, rate = rng.random() < how.flip, rng.uniform(-1.0, 1.0), rng.random(), rng.random()
    dx, dy = (int(np.rint(u * how.shift * min(spikes.shape[-2:]))) for u in rng.uniform(-1.0, 1.0, 2))
    if flips and how.mirror is not None:
        spikes, labels = flip_steps(spikes, labels, how.mirror)
    if how.time_scale > 0.0:
        spikes, labels = scale_time_steps(spikes, labels, float(np.exp(how.time_scale * speed)))
    spikes = warp_steps(spikes, how.draw_warp(rng), dx, dy) if how.warps else shift_steps(spikes, dx, dy)
    if how.drop > 0.0:
        spikes = drop_steps(spikes, how.drop * share, rng)
    if how.noise_hz > 0.0:
        # Half of the rate of a cell for each polarity.
        spikes = add_noise_steps(spikes, 0.5 * how.noise_hz * rate * step_s, rng)
    return spikes, labels
