# SPDX-License-Identifier: Apache-2.0
"""The stage: one subject before one background and a camera that may move, at any time of the performance.

This module puts body, camera and background together; it knows neither events nor which gesture comes next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuro_ros.gestures.body import Body
from neuro_ros.gestures.conditions import CameraMotion, Conditions
from neuro_ros.gestures.render import draw_background
from neuro_ros.gestures.subject import Subject

__all__ = ["Performance", "Shown", "Stage"]

TRANSITION_S = 0.25  # how long the hands travel from one gesture to the next

#: Limbs (n, 12), and by how much the background is displaced (x, y) [px].
Shown = tuple[npt.NDArray[np.float64], tuple[float, float]]


@dataclass(frozen=True)
class Performance:
    """A gesture under way.

    Attributes
    ----------
    motion : (MOTION_SIZE,) float64
        What decides the hands' paths, from `Body.motion`.
    start_ns : int
        Sensor time at which it began.
    label : int
        Class index.
    """

    motion: npt.NDArray[np.float64]
    start_ns: int
    label: int


class Stage:
    """A subject before a background, seen by a camera that may move.

    Parameters
    ----------
    subject : Subject
    conditions : Conditions
    width, height : int
        Of the sensor [px].
    seed : int
        Of the camera's movement, and of who walks by.

    Attributes
    ----------
    body : Body
    background : Background
    moving : bool
        Whether camera or background move.
    """

    def __init__(self, subject: Subject, conditions: Conditions, width: int, height: int, seed: int) -> None:
        unit = min(width, height) / 128.0
        centre = (
            0.5 * (width - 1) + unit * subject.shift_x_px,
            (0.5 * height - 14.0 * unit) + unit * subject.shift_y_px,
        )
        self.body = Body(subject, unit * subject.size, centre)
        self.moving = conditions.moving
        self._camera = CameraMotion(conditions, width, height, subject.background, seed)
        self._trunk = self.body.trunk()
        still = self._trunk[:0] if self.moving else self._trunk
        self.background = draw_background(
            width, height, subject.background, still, subject.seed, conditions.clutter, self._camera.margin_px
        )

    def show(self, now: Performance, last: Performance | None, t_ns: int, since_ns: int) -> Shown:
        """Return the limbs and the displacement of the background at a time.

        Parameters
        ----------
        now : Performance
        last : Performance, optional
            From whose path the hands travel to this one's, within `TRANSITION_S`.
        t_ns : int
            Sensor time.
        since_ns : int
            Sensor time at which the subject came.

        Returns
        -------
        limbs : (n, 12) float64
            Columns `neuro_ros.gestures.body.LIMB_FIELDS`.
        displacement : tuple of float
            Of the background, (x, y) [px].
        """
        t_s, t_stage_s = (t_ns - now.start_ns) * 1e-9, (t_ns - since_ns) * 1e-9
        part = 1.0
        if last is None:
            last = now
        elif t_s < TRANSITION_S:
            part = t_s / TRANSITION_S
            part = part * part * (3.0 - 2.0 * part)
        last_t_s = (t_ns - last.start_ns) * 1e-9
        if not self.moving:
            return self.body.pose(now.motion, t_s, last.motion, last_t_s, part, t_stage_s), (0.0, 0.0)
        shake, drift = self._camera.shake_px(t_stage_s), self._camera.drift_px(t_stage_s)
        limbs = self.body.pose(now.motion, t_s, last.motion, last_t_s, part, t_stage_s, shake)
        behind = self._camera.passers_by(t_stage_s, shake)
        if len(self._trunk):
            trunk = self._trunk.copy()
            trunk[:, :4] += (*shake, *shake)
            behind = np.concatenate([behind, trunk])
        limbs = np.concatenate([behind, limbs]) if len(behind) else limbs
        return limbs, (shake[0] + drift[0], shake[1] + drift[1])
