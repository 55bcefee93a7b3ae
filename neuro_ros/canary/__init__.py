# SPDX-License-Identifier: Apache-2.0
"""The canary: what the running network does, whether that is a reason to worry, and how a new one is rolled out."""

from neuro_ros.canary.alarms import ALARMS, Alarm, AlarmBoard, AlarmLimits, alarm_names, suggest_remap
from neuro_ros.canary.baseline import BASELINE_SUFFIX, Baseline, LayerBaseline, Spread, find_baselines, load_baseline
from neuro_ros.canary.comparison import Answer, ArmComparison
from neuro_ros.canary.errors import BaselineError, CanaryError, RolloutError
from neuro_ros.canary.limits import Limits, limit
from neuro_ros.canary.measure import BaselineBuilder
from neuro_ros.canary.observation import LayerReport, Observation, Verdict
from neuro_ros.canary.probe import Probe, SelfTestAnswer, build_probe
from neuro_ros.canary.relation import Relation
from neuro_ros.canary.rollout import Rollout, Switch, Transition
from neuro_ros.canary.rollout_rules import Command, Evidence, Phase, Proposal, RolloutRules, Standing, propose
from neuro_ros.canary.scene import SceneStatistics, SceneSummary, SceneWindow, isolated, look
from neuro_ros.canary.sketch import QuantileSketch, SlidingSketch
from neuro_ros.canary.statistics import GestureStatistics, GestureSummary, leader, margin
from neuro_ros.canary.window import RecentValues

__all__ = [
    "ALARMS",
    "BASELINE_SUFFIX",
    "Alarm",
    "AlarmBoard",
    "AlarmLimits",
    "Answer",
    "ArmComparison",
    "Baseline",
    "BaselineBuilder",
    "BaselineError",
    "CanaryError",
    "Command",
    "Evidence",
    "GestureStatistics",
    "GestureSummary",
    "LayerBaseline",
    "LayerReport",
    "Limits",
    "Observation",
    "Phase",
    "Probe",
    "Proposal",
    "QuantileSketch",
    "RecentValues",
    "Relation",
    "Rollout",
    "RolloutError",
    "RolloutRules",
    "SceneStatistics",
    "SceneSummary",
    "SceneWindow",
    "SelfTestAnswer",
    "SlidingSketch",
    "Spread",
    "Standing",
    "Switch",
    "Transition",
    "Verdict",
    "alarm_names",
    "build_probe",
    "find_baselines",
    "isolated",
    "leader",
    "limit",
    "load_baseline",
    "look",
    "margin",
    "propose",
    "suggest_remap",
]
