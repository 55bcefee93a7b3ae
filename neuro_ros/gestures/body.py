# SPDX-License-Identifier: Apache-2.0
"""The upper body: where its joints are in space, and where its filled limbs then are in the image.

Joints follow from the two hands by the geometry of two links of equal length; the trunk may be turned, bent and
swaying. All is projected by a pinhole camera. A limb in the image is a tapered capsule, one row of a table that
`render.py` draws. This module knows no pixels' physics and no gestures.

A subject whose `depth` is 0 is flat: the elbows lie in the plane of the shoulders and the trunk stands still, so that
it belongs to the background (`trunk`). Otherwise the trunk moves and is part of the table.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numba
import numpy as np
import numpy.typing as npt

from neuro_ros.gestures.paths import SHOULDER_HALF_WIDTH, hands_at, motion_of
from neuro_ros.gestures.subject import Action, ParameterRangeError, Subject

__all__ = ["LIMB_FIELDS", "Body"]

#: Columns of a limb table, in drawing order (a later row covers an earlier one): ends [px], radii at them [px],
#: luminance, and the clothes: amplitude of the pattern, its frequency [rad/px] and phase along the limb, its frequency
#: across [rad/px], darkening at the rim.
LIMB_FIELDS = (
    "x0", "y0", "x1", "y1", "radius0", "radius1", "luminance",
    "texture_amplitude", "texture_frequency", "texture_phase", "weave_frequency", "shading",
)  # fmt: skip

# Lengths and radii in body units. A forearm of 21 units on a 128 pixel sensor is a person who stands so that the upper
# body with stretched arms just fills the image.
_LINK_LENGTH = 21.0  # of the upper arm and of the forearm
_HAND_LENGTH = 5.0
_UPPER_ARM_RADIUS, _FOREARM_RADIUS, _HAND_RADIUS = 4.4, 3.6, 4.6
# By how much a limb of a solid body is thicker at its upper end than on average, and the hand at its lower.
_TAPER = 0.12
# Distance of the camera at size 1: 1.5 m, about 13 mm a unit.
_CAMERA_DISTANCE = 115.0
# About which the trunk bends.
_HIP_Y = 58.0
_SWAY_HZ = (0.31, 0.23)
# An elbow hangs outwards by this angle from the vertical, and a little behind.
_ELBOW_HANGS_RAD, _ELBOW_BEHIND = 0.5, 0.35
_CLAVICLE_Y, _NECK_Y, _TRUNK_Z = 2.0, -7.0, 4.0
# Legs hang from the hips, seen of those who stand far away.
_LEG_X, _KNEE_X, _FOOT_Y, _LEG_RADIUS, _LEG_LUMINANCE = 6.5, 7.5, 150.0, 7.0, 0.7
_LIMBS = 12

# Trunk and head of a flat subject: ends, radius, and whose luminance they have.
_FLAT_TRUNK = (
    (-7.0, 8.0, -7.0, 60.0, 9.0, "sleeve"),
    (7.0, 8.0, 7.0, 60.0, 9.0, "sleeve"),
    (0.0, 8.0, 0.0, 60.0, 9.0, "sleeve"),
    (0.0, -17.0, 0.0, -13.0, 8.0, "skin"),
)

# Places in the vector that describes a body.
(
    _BUILD, _SIZE, _SOLID, _YAW_COS, _YAW_SIN, _LEAN_COS, _LEAN_SIN, _ELBOW_RAD, _SWAY, _SWAY_PHASE,
    _SLEEVE, _SKIN, _TRUNK, _AMPLITUDE, _FREQUENCY, _PHASE, _WEAVE, _SHADING,
) = range(18)  # fmt: skip


@numba.njit(cache=True, nogil=True)
@no_type_check
def _flat_elbow(side, dx, dy, distance, height):
    nx, ny = -dy / distance, dx / distance
    if nx * side + 0.5 * ny < 0.0:  # of the two solutions the one that points outwards and down
        nx, ny = -nx, -ny
    return side * SHOULDER_HALF_WIDTH + 0.5 * dx + height * nx, 0.5 * dy + height * ny, 0.0


@numba.njit(cache=True, nogil=True)
@no_type_check
def _solid_elbow(side, dx, dy, dz, distance, height, raised_rad):
    # Where the elbow would hang, less its part along the line from shoulder to wrist.
    angle = _ELBOW_HANGS_RAD + raised_rad
    hx, hy, hz = side * math.sin(angle), math.cos(angle), _ELBOW_BEHIND
    along = (hx * dx + hy * dy + hz * dz) / (distance * distance)
    hx, hy, hz = hx - along * dx, hy - along * dy, hz - along * dz
    norm = max(math.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
    h = height / norm
    return side * SHOULDER_HALF_WIDTH + 0.5 * dx + h * hx, 0.5 * dy + h * hy, 0.5 * dz + h * hz


@numba.njit(cache=True, nogil=True)
@no_type_check
def _project(shape, x, y, z, sway_x, sway_y):
    """Turn, bend and move a point with the trunk; return it with its magnification by perspective."""
    if shape[_YAW_SIN] != 0.0:
        x, z = x * shape[_YAW_COS] + z * shape[_YAW_SIN], z * shape[_YAW_COS] - x * shape[_YAW_SIN]
    if shape[_LEAN_SIN] != 0.0:  # forward is towards the camera
        up = y - _HIP_Y
        y, z = _HIP_Y + up * shape[_LEAN_COS] - z * shape[_LEAN_SIN], z * shape[_LEAN_COS] + up * shape[_LEAN_SIN]
    camera = _CAMERA_DISTANCE / shape[_SIZE]
    return x + sway_x, y + sway_y, z, camera / max(camera + z, 0.2 * camera)


@numba.njit(cache=True, nogil=True)
@no_type_check
def _put(table, far, row, a, b, radius0, radius1, view, luminance, amplitude, frequency, phase, weave, shading):
    """Write a limb between two projected points."""
    scale, cx, cy = view
    table[row, 0], table[row, 1] = cx + scale * a[3] * a[0], cy + scale * a[3] * a[1]
    table[row, 2], table[row, 3] = cx + scale * b[3] * b[0], cy + scale * b[3] * b[1]
    table[row, 4], table[row, 5] = scale * a[3] * radius0, scale * b[3] * radius1
    middle = scale * (0.5 * (a[3] + b[3]))
    table[row, 6], table[row, 7], table[row, 8], table[row, 9] = luminance, amplitude, frequency / middle, phase
    table[row, 10], table[row, 11] = weave / middle, shading
    far[row] = 0.5 * (a[2] + b[2])


@numba.njit(cache=True, nogil=True)
@no_type_check
def _sort_far_first(table, far, rows):
    for i in range(1, rows):
        j = i
        while j > 0 and far[j] > far[j - 1]:
            far[j], far[j - 1] = far[j - 1], far[j]
            for k in range(table.shape[1]):
                table[j, k], table[j - 1, k] = table[j - 1, k], table[j, k]
            j -= 1


@numba.njit(cache=True, nogil=True)
@no_type_check
def _pose(shape, motion, t_s, last_motion, last_t_s, part, t_body_s, view, hands, table, far):
    """Fill the limb table of a body at a time; return the number of rows."""
    hands_at(motion, t_s, hands[0])
    if part < 1.0:
        hands_at(last_motion, last_t_s, hands[1])
        for k in range(2):
            for axis in range(3):
                old = hands[1, k, axis]
                hands[0, k, axis] = old + part * (hands[0, k, axis] - old)
    solid = shape[_SOLID] > 0.0
    build = shape[_BUILD]
    taper = _TAPER if solid else 0.0
    thick, thin = build * (1.0 + taper), build * (1.0 - taper)
    sway_x = shape[_SWAY] * math.sin(2.0 * math.pi * _SWAY_HZ[0] * t_body_s + shape[_SWAY_PHASE])
    sway_y = 0.4 * shape[_SWAY] * math.sin(2.0 * math.pi * _SWAY_HZ[1] * t_body_s + 2.0 * shape[_SWAY_PHASE])
    amplitude, frequency, phase = shape[_AMPLITUDE], shape[_FREQUENCY], shape[_PHASE]
    weave, shading = shape[_WEAVE], shape[_SHADING]
    row = 0
    if solid:
        wide = build * SHOULDER_HALF_WIDTH
        left = _project(shape, -wide + 3.0, _CLAVICLE_Y + 3.0, _TRUNK_Z - 2.0, sway_x, sway_y)
        right = _project(shape, wide - 3.0, _CLAVICLE_Y + 3.0, _TRUNK_Z - 2.0, sway_x, sway_y)
        chest = _project(shape, 0.0, 16.0, _TRUNK_Z, sway_x, sway_y)
        hip = _project(shape, 0.0, 78.0, _TRUNK_Z, 0.3 * sway_x, 0.0)
        neck = _project(shape, 0.0, _NECK_Y, _TRUNK_Z - 2.0, sway_x, sway_y)
        chin = _project(shape, 0.0, -12.5, 0.0, sway_x, sway_y)
        crown = _project(shape, 0.0, -18.5, 0.0, sway_x, sway_y)
        trunk = shape[_TRUNK]
        _put(table, far, 0, chest, hip, wide, 0.88 * wide, view, trunk, amplitude, frequency, phase, weave, shading)
        _put(
            table,
            far,
            1,
            left,
            right,
            5.5 * build,
            5.5 * build,
            view,
            trunk,
            amplitude,
            weave,
            phase,
            frequency,
            shading,
        )
        _put(table, far, 2, neck, chin, 4.0 * build, 4.0, view, 0.85 * shape[_SKIN], 0.0, 1.0, 0.0, 0.0, shading)
        _put(table, far, 3, chin, crown, 6.3, 7.2, view, shape[_SKIN], 0.5 * amplitude, 0.9, phase, 0.0, shading)
        row = 4
        for k in range(2):
            side = 2.0 * k - 1.0
            thigh = _project(shape, side * _LEG_X * build, 84.0, _TRUNK_Z + 1.0, 0.3 * sway_x, 0.0)
            foot = _project(shape, side * _KNEE_X * build, _FOOT_Y, _TRUNK_Z + 1.0, 0.0, 0.0)
            _put(
                table, far, row, thigh, foot, _LEG_RADIUS * build, 0.7 * _LEG_RADIUS * build, view,
                _LEG_LUMINANCE * trunk, 0.0, 1.0, 0.0, 0.0, shading,
            )  # fmt: skip
            row += 1
    link = _LINK_LENGTH * (0.5 + 0.5 * build)
    for k in range(2):
        side = 2.0 * k - 1.0
        dx, dy, dz = hands[0, k, 0] - side * SHOULDER_HALF_WIDTH, hands[0, k, 1], hands[0, k, 2]
        distance = math.sqrt(dx * dx + dy * dy + dz * dz)
        reach = link + link - 0.5
        if distance > reach:  # stretched arm: the wrist stays on the line towards the target
            dx, dy, dz = dx * reach / distance, dy * reach / distance, dz * reach / distance
            distance = reach
        distance = max(distance, 1.0)
        # Equal links: the elbow is above the middle.
        height = math.sqrt(max(link * link - 0.25 * (distance * distance), 0.0))
        if solid:
            ex, ey, ez = _solid_elbow(side, dx, dy, dz, distance, height, shape[_ELBOW_RAD])
        else:
            ex, ey, ez = _flat_elbow(side, dx, dy, distance, height)
        wx, wy, wz = side * SHOULDER_HALF_WIDTH + dx, dy, dz
        forearm = max(math.sqrt((wx - ex) ** 2 + (wy - ey) ** 2 + (wz - ez) ** 2), 1e-6)
        tip = (
            wx + _HAND_LENGTH * (wx - ex) / forearm,
            wy + _HAND_LENGTH * (wy - ey) / forearm,
            wz + _HAND_LENGTH * (wz - ez) / forearm,
        )
        shoulder = _project(shape, side * SHOULDER_HALF_WIDTH, 0.0, 0.0, sway_x, sway_y)
        elbow = _project(shape, ex, ey, ez, sway_x, sway_y)
        wrist = _project(shape, wx, wy, wz, sway_x, sway_y)
        fingers = _project(shape, tip[0], tip[1], tip[2], sway_x, sway_y)
        sleeve = shape[_SLEEVE]
        _put(
            table, far, row, shoulder, elbow, thick * _UPPER_ARM_RADIUS, thin * _UPPER_ARM_RADIUS, view,
            sleeve, amplitude, frequency, phase, weave, shading,
        )  # fmt: skip
        _put(
            table, far, row + 1, elbow, wrist, thick * _FOREARM_RADIUS, thin * _FOREARM_RADIUS, view,
            sleeve, amplitude, frequency, phase + 1.0, weave, shading,
        )  # fmt: skip
        # The pattern of the hand is as fine on a near hand as on a far one: fingers, not clothes.
        _put(
            table, far, row + 2, wrist, fingers, thin * _HAND_RADIUS, thick * _HAND_RADIUS, view,
            shape[_SKIN], 0.5 * amplitude, 1.3, phase, 0.0, shading,
        )  # fmt: skip
        row += 3
    if solid:
        _sort_far_first(table, far, row)
    return row


class Body:
    """A subject in the image, posed again and again without allocating.

    Parameters
    ----------
    subject : Subject
    scale_px : float
        Pixels per body unit.
    centre_px : tuple of float
        Image position of the point midway between the shoulders.

    Raises
    ------
    ParameterRangeError
        If a property of the subject is not finite, or a size or luminance not above 0.
    """

    def __init__(self, subject: Subject, scale_px: float, centre_px: tuple[float, float]) -> None:
        self.subject = subject
        self._scale, self._centre = float(scale_px), (float(centre_px[0]), float(centre_px[1]))
        self._shape = np.zeros(_SHADING + 1)
        # The trunk is a little darker or brighter than the sleeves, so that arms before it are still seen.
        self._trunk_luminance = 0.55 * subject.sleeve + 0.45 * subject.background
        self._shape[:] = (
            subject.build, subject.size, float(self.solid), math.cos(subject.yaw_rad), math.sin(subject.yaw_rad),
            math.cos(subject.lean_rad), math.sin(subject.lean_rad), subject.elbow_rad, subject.sway,
            float(np.random.default_rng([0x5A1, subject.seed]).random()) * 2.0 * math.pi,
            subject.sleeve, subject.skin, self._trunk_luminance, *subject.texture, subject.weave, subject.shading,
        )  # fmt: skip
        values = np.array([self._scale, *self._centre, subject.depth, subject.amplitude, *self._shape])
        if not np.isfinite(values).all() or min(self._scale, subject.size, subject.sleeve, subject.skin) <= 0.0:
            raise ParameterRangeError(
                f"subject {subject.seed}: a property is not finite, or a size or luminance is not above 0"
            )
        self._hands = np.empty((2, 2, 3))
        self._table = np.empty((_LIMBS, len(LIMB_FIELDS)))
        self._far = np.empty(_LIMBS)

    @property
    def solid(self) -> bool:
        """Whether the body has depth and its trunk moves."""
        return self.subject.depth > 0.0

    def trunk(self) -> npt.NDArray[np.float64]:
        """Return the limb table of what stands still, (n, 12): trunk and head of a flat subject, else nothing."""
        if self.solid:
            return np.empty((0, len(LIMB_FIELDS)))
        cx, cy = self._centre
        scale = self._scale
        rows = [
            (
                cx + scale * x0, cy + scale * y0, cx + scale * x1, cy + scale * y1, scale * radius, scale * radius,
                self.subject.skin if of == "skin" else self._trunk_luminance, 0.0, 1.0, 0.0, 0.0, 0.0,
            )
            for x0, y0, x1, y1, radius, of in _FLAT_TRUNK
        ]  # fmt: skip
        return np.array(rows, np.float64)

    def motion(self, action: Action) -> npt.NDArray[np.float64]:
        """Return a performance's numbers for `pose`."""
        return motion_of(self.subject, action)

    def pose(
        self,
        motion: npt.NDArray[np.float64],
        t_s: float,
        last_motion: npt.NDArray[np.float64],
        last_t_s: float,
        part: float,
        t_body_s: float,
        shift_px: tuple[float, float] = (0.0, 0.0),
    ) -> npt.NDArray[np.float64]:
        """Return the limb table of all that moves.

        Parameters
        ----------
        motion, last_motion : (MOTION_SIZE,) float64
            The performance and the one before it, from `motion`.
        t_s, last_t_s : float
            Seconds since the start of each.
        part : float
            How far the hands have come from the last one's path to this one's, 0 to 1.
        t_body_s : float
            Seconds since the subject came, for the sway.
        shift_px : tuple of float
            Displacement of the whole image.

        Returns
        -------
        (n, 12) float64
            Columns `LIMB_FIELDS`; a copy.
        """
        view = (self._scale, self._centre[0] + shift_px[0], self._centre[1] + shift_px[1])
        rows = _pose(
            self._shape, motion, t_s, last_motion, last_t_s, part, t_body_s, view, self._hands, self._table, self._far
        )
        return self._table[:rows].copy()
