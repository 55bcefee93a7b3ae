# SPDX-License-Identifier: Apache-2.0
"""The labels, and that a mirror image of the acted gesture is the gesture of the swapped label."""

import itertools
import math
from dataclasses import replace

import pytest

from neuro_ros.gestures import LABELS, MIRROR, Action, Subject, hand_targets, label_index, mirror_index
from neuro_ros.gestures.body import N_OTHER_VARIANTS, ParameterRangeError, SubjectRanges
from neuro_ros.gestures.labels import LabelError


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
    subject = Subject(speed=1.1, amplitude=0.9, lead=-1)
    action = Action(label=label, phase=0.13, variant=variant, wobble_px=0.0)
    other = replace(action, label=mirror_index(label))
    if label == 10 and variant == 2:  # both hands sweep to one side: the mirror image is half a turn later
        other = replace(other, phase=action.phase + 0.5)
    for k in range(40):
        t_s = 0.031 * k
        right, left = hand_targets(subject, action, t_s)
        mirrored_right, mirrored_left = hand_targets(subject.mirrored(), other, t_s)
        for (x, y), (mx, my) in ((right, mirrored_left), (left, mirrored_right)):
            assert math.isclose(-x, mx, abs_tol=1e-9)
            assert math.isclose(y, my, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("label", "hand", "sign"), [(3, 0, 1.0), (4, 0, -1.0), (5, 1, 1.0), (6, 1, -1.0)]
)  # clockwise in the image, y downwards: the signed area is positive
def test_circles_turn_as_their_label_says(label, hand, sign):
    path = [hand_targets(Subject(), Action(label=label, wobble_px=0.0), 0.01 * k)[hand] for k in range(30)]
    cx = sum(x for x, _ in path) / 30
    cy = sum(y for _, y in path) / 30
    turned = sum((x0 - cx) * (y1 - cy) - (x1 - cx) * (y0 - cy) for (x0, y0), (x1, y1) in itertools.pairwise(path))
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
