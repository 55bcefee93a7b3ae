# SPDX-License-Identifier: Apache-2.0
"""Gestures: their labels, and a simulator that acts them before an event camera.

No ROS and no torch. Recordings of people come in through `neuro_ros.events`.
"""

from neuro_ros.gestures.body import Action, ParameterRangeError, Subject, SubjectRanges, hand_targets
from neuro_ros.gestures.labels import LABELS, MIRROR, LabelError, label_index, mirror_index
from neuro_ros.gestures.simulator import STEP_NS, GestureSimulator, GestureSlice, GestureStream, LabelInterval
from neuro_ros.gestures.splits import CHANGES, SPLITS, subject_seeds

__all__ = [
    "CHANGES",
    "LABELS",
    "MIRROR",
    "SPLITS",
    "STEP_NS",
    "Action",
    "GestureSimulator",
    "GestureSlice",
    "GestureStream",
    "LabelError",
    "LabelInterval",
    "ParameterRangeError",
    "Subject",
    "SubjectRanges",
    "hand_targets",
    "label_index",
    "mirror_index",
    "subject_seeds",
]
