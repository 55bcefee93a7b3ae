# SPDX-License-Identifier: Apache-2.0
"""The labels, and that a mirror image of the acted gesture is the gesture of the swapped label."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from neuro_ros.gestures import LABELS, MIRROR, Action, Subject, hand_targets, label_index, mirror_index
from neuro_ros.gestures.body import LIMB_FIELDS, Body, _solid_elbow
from neuro_ros.gestures.labels import LabelError
from neuro_ros.gestures.paths import SHOULDER_HALF_WIDTH
from neuro_ros.gestures.subject import N_OTHER_VARIANTS, ParameterRangeError, SubjectRanges


def test_labels_have_the_contracted_order():
    assert LABELS == (
        "hand_clap", "right_hand_wave", "left_hand_wave", "right_arm_clockwise", "right_arm_counter_clockwise",
        "left_arm_clockwise", "left_arm_counter_clockwise", "arm_roll", "air_drums", "air_guitar", "other",
    )  # fmt: skip


def test_mirror_swaps_the_contracted_pairs_and_is_its_own_inverse():
    assert [MIRROR[i] for i in (1, 3, 4)] == [2, 6, 5]
    assert all(MIRROR[MIRROR[i]] == i for i in range(11))
    assert all(MIRROR[i] == i for i in (0, 7, 8, 9, 10))


@pytest.mark.parametrize("label", range(11))
@pytest.mark.parametrize("variant", range(N_OTHER_VARIANTS))
def test_the_mirrored_gesture_is_the_gesture_of_the_mirrored_label(label, variant):
    subject = Subject(speed=1.1, amplitude=0.9, lead=-1, depth=0.9)
    action = Action(label=label, phase=0.13, variant=variant, wobble_px=0.0)
    other = replace(action, label=mirror_index(label))
    if label == 10 and variant == 2:  # both hands sweep to one side: the mirror image is half a turn later
        other = replace(other, phase=action.phase + 0.5)
    for k in range(40):
        t_s = 0.031 * k
        right, left = hand_targets(subject, action, t_s)
        mirrored_right, mirrored_left = hand_targets(subject.mirrored(), other, t_s)
        for (x, y, z), (mx, my, mz) in ((right, mirrored_left), (left, mirrored_right)):
            assert math.isclose(-x, mx, abs_tol=1e-9)
            assert math.isclose(y, my, abs_tol=1e-9)
            assert math.isclose(z, mz, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("label", "hand", "sign"), [(3, 0, 1.0), (4, 0, -1.0), (5, 1, 1.0), (6, 1, -1.0)]
)  # clockwise in the image, y downwards: the signed area is positive
def test_circles_turn_as_their_label_says(label, hand, sign):
    path = [hand_targets(Subject(), Action(label=label, wobble_px=0.0), 0.01 * k)[hand] for k in range(30)]
    cx = sum(x for x, _, _ in path) / 30
    cy = sum(y for _, y, _ in path) / 30
    turned = sum((x0 - cx) * (y1 - cy) - (x1 - cx) * (y0 - cy) for (x0, y0, _), (x1, y1, _) in itertools.pairwise(path))
    assert turned * sign > 0.0


def test_right_hand_is_on_the_left_side_of_the_image():
    right, left = hand_targets(Subject(), Action(label=0, phase=0.5), 0.0)
    assert right[0] < 0.0 < left[0]


def test_label_index_takes_names_and_indices_and_refuses_the_rest():
    assert label_index("other") == label_index(10) == 10
    for wrong in ("Other", 11, -1):
        with pytest.raises(LabelError, match=str(wrong)):
            label_index(wrong)


def test_subject_ranges_are_checked():
    with pytest.raises(ParameterRangeError, match="speed"):
        SubjectRanges(speed=(1.0, float("nan")))
    with pytest.raises(ParameterRangeError, match="size"):
        SubjectRanges(size=(0.0, 1.0))
    for wrong in ((), (1.0, 2.0, 3.0), (2.0, 1.0), (1.0, 2.0, 5.0, 4.0)):
        with pytest.raises(ParameterRangeError, match="yaw_rad"):
            SubjectRanges(yaw_rad=wrong)
    with pytest.raises(ParameterRangeError, match="left_handed"):
        SubjectRanges(left_handed=float("nan"))


def test_the_elbow_of_a_solid_arm_is_one_link_from_shoulder_and_wrist():
    rng = np.random.default_rng(3)
    for _ in range(200):
        dx, dy, dz = rng.uniform(-23.0, 23.0, 3)
        side = float(rng.choice((-1.0, 1.0)))
        distance = math.sqrt(dx * dx + dy * dy + dz * dz)
        height = math.sqrt(21.0**2 - 0.25 * distance**2)
        x, y, z = _solid_elbow(side, dx, dy, dz, distance, height, 0.3)
        x -= side * SHOULDER_HALF_WIDTH
        assert math.isclose(math.hypot(x, y, z), 21.0, rel_tol=1e-9)
        assert math.isclose(math.hypot(dx - x, dy - y, dz - z), 21.0, rel_tol=1e-9)


@pytest.mark.parametrize("label", range(11))
def test_limbs_of_every_gesture_are_finite_and_have_a_width(label):
    body = Body(Subject(depth=1.2, shading=0.2, yaw_rad=0.4, lean_rad=0.2, sway=2.0, size=1.3), 1.0, (0.0, 0.0))
    motion = body.motion(Action(label=label, phase=0.3, variant=label % 5))
    for k in range(25):
        table = body.pose(motion, 0.04 * k, motion, 0.04 * k, 1.0, 0.04 * k)
        assert table.shape == (12, len(LIMB_FIELDS))
        assert np.isfinite(table).all()
        assert (table[:, 4:7] > 0.0).all()


@pytest.mark.parametrize("wrong", [{"yaw_rad": math.nan}, {"size": 0.0}, {"skin": -1.0}, {"depth": math.inf}])
def test_a_body_that_cannot_be_is_refused(wrong):
    with pytest.raises(ParameterRangeError, match="subject 0"):
        Body(Subject(**wrong), 1.0, (0.0, 0.0))


def test_a_nearer_hand_is_seen_larger():
    ahead, flat = (Body(Subject(depth=depth, shading=0.2), 1.0, (0.0, 0.0)) for depth in (1.0, 1e-9))
    action = Action(label=LABELS.index("air_drums"), phase=0.0)
    radii = [
        body.pose(body.motion(action), 0.0, body.motion(action), 0.0, 1.0, 0.0)[-1, 4:6].max() for body in (ahead, flat)
    ]
    assert 1.15 < radii[0] / radii[1] < 1.5
