# SPDX-License-Identifier: Apache-2.0
"""Gestures: their labels, and a simulator that acts them before an event camera.

No ROS and no torch. Recordings of people come in through `neuro_ros.events`.
"""

from neuro_ros.gestures.conditions import LIGHTS, PLAIN, ConditionRanges, Conditions
from neuro_ros.gestures.labels import LABELS, MIRROR, LabelError, label_index, mirror_index
from neuro_ros.gestures.paths import hand_targets
from neuro_ros.gestures.simulator import STEP_NS, GestureSimulator, GestureSlice, GestureStream, LabelInterval
from neuro_ros.gestures.splits import CHANGES, SPLIT_TABLE, SPLITS, Split, subject_seeds
from neuro_ros.gestures.subject import Action, ParameterRangeError, Subject, SubjectRanges

__all__ = [
    "CHANGES",
    "LABELS",
    "LIGHTS",
    "MIRROR",
    "PLAIN",
    "SPLITS",
    "SPLIT_TABLE",
    "STEP_NS",
    "Action",
    "ConditionRanges",
    "Conditions",
    "GestureSimulator",
    "GestureSlice",
    "GestureStream",
    "LabelError",
    "LabelInterval",
    "ParameterRangeError",
    "Split",
    "Subject",
    "SubjectRanges",
    "hand_targets",
    "label_index",
    "mirror_index",
    "subject_seeds",
]
