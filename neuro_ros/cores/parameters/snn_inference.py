# SPDX-License-Identifier: Apache-2.0
"""Parameters of the ``snn_inference`` node.

This module refuses to know about networks and back ends; it only says which values make sense together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from neuro_ros.cores.parameters._fields import ParameterError, parameter
from neuro_ros.cores.parameters._silicon import SiliconParameters
from neuro_ros.thermal.silicon import SiliconOptions

__all__ = ["SnnInferenceParameters"]


@dataclass(frozen=True)
class SnnInferenceParameters:
    """Everything that can be set on ``snn_inference``; see the descriptions."""

    model: str = parameter("gesture", "model file, or the name of a shipped model")
    model_key: str = parameter(
        "", "key of an encrypted model: a file, or env:NAME for an environment variable; empty = none"
    )
    trusted_keys: tuple[str, ...] = parameter(
        [""], "public keys (files, or env:NAME), one of which must have signed the model; empty names count for nothing"
    )
    model_folders: tuple[str, ...] = parameter(
        [""],
        "further folders that a candidate of switch_model may lie in, besides those of model and of the shipped "
        "models; empty names count for nothing",
    )
    backend: str = parameter(
        "fixed",
        "what runs the network: fixed (this CPU, exact), lava (Loihi 2 simulation), loihi (Loihi 2, needs hardware)",
        choices=("fixed", "lava", "loihi"),
    )
    constant_time: bool = parameter(
        False,
        "a window takes the same work whatever it holds, against listening in by its time; only with backend fixed; "
        "constant_size of event_camera does the same for the messages",
    )
    confidence_threshold: float = parameter(
        0.6, "smallest share of the evidence that makes a decision", minimum=0.0, maximum=1.0, dynamic=True
    )
    confidence_release: float = parameter(
        1.0,
        "a decision holds until the share of its class falls below this; from confidence_threshold up there is no "
        "hysteresis",
        minimum=0.0,
        maximum=1.0,
        dynamic=True,
    )
    evidence_half_life_s: float = parameter(
        0.1,
        "sensor time after which a window's output spikes count half; 0 = decide on each window alone",
        unit="s",
        minimum=0.0,
        maximum=60.0,
        dynamic=True,
    )
    gap_policy: str = parameter(
        "reset",
        "what happens to the network's state when windows are missing",
        choices=("reset", "hold"),
        dynamic=True,
    )
    backwards_policy: str = parameter(
        "reset",
        "what happens to the network's state when sensor time runs backwards",
        choices=("reset", "hold"),
        dynamic=True,
    )
    late_policy: str = parameter(
        "process",
        "windows older than late_after_s are processed in order, or skipped whole",
        choices=("process", "skip"),
        dynamic=True,
    )
    late_after_s: float = parameter(
        0.5,
        "age of a window (host time against its stamp) from which it counts as late",
        unit="s",
        minimum=0.001,
        maximum=3600.0,
        dynamic=True,
    )
    max_withheld_windows: int = parameter(
        20,
        "withheld windows are run as zero input up to this many in a row; beyond, the state is reset",
        minimum=0,
        maximum=10_000,
        dynamic=True,
    )
    queue_depth: int = parameter(
        10,
        "windows that may wait for the network; the oldest is dropped from a full queue, and counted",
        minimum=1,
        maximum=1000,
    )
    wait_for_subscribers: int = parameter(
        0,
        "windows are not taken before so many subscriptions of gesture are matched, so that none misses the first ones",
        minimum=0,
        maximum=100,
    )
    wait_for_nodes: tuple[str, ...] = parameter(
        [""],
        "windows are not taken before these nodes hear `gesture`; names in the node's own namespace, or absolute; "
        "empty names count for nothing",
    )
    subscriber_timeout_s: float = parameter(
        10.0, "they are taken all the same after this time", unit="s", minimum=0.0, maximum=3600.0
    )
    max_streams: int = parameter(
        4,
        "streams (cameras) whose state is kept; the one that was silent longest makes room",
        minimum=1,
        maximum=64,
    )
    stream_idle_s: float = parameter(
        0.0,
        "a stream without a window for so long is forgotten; time in which the node is not active does not count; "
        "0 = never",
        unit="s",
        minimum=0.0,
        maximum=86400.0,
        dynamic=True,
    )
    state_directory: str = parameter("", "folder of saved states; empty = states are neither saved nor loaded")
    state_save_period_s: float = parameter(
        0.0, "time between automatic saves; 0 = only on deactivation", unit="s", minimum=0.0, maximum=86400.0
    )
    state_keep: int = parameter(
        2,
        "saved states kept of a stream: the newest, and those before it, which stand in when it cannot be read",
        minimum=1,
        maximum=100,
    )
    restore_state: bool = parameter(True, "take up the saved states of state_directory at configure")
    restore_max_gap_s: float = parameter(
        10.0,
        "a restored state is used when at most this much sensor time passed since it was saved; else it is reset",
        unit="s",
        minimum=0.0,
        maximum=86400.0,
    )
    window_time_warn_s: float = parameter(
        0.05,
        "diagnostics warn when the median window takes longer in the back end",
        unit="s",
        minimum=0.0,
        maximum=60.0,
        dynamic=True,
    )
    self_test_period_s: float = parameter(
        60.0,
        "time between two self-tests of the weights, the first at activation: a fixed stimulus on a state of its own, "
        "one window of it at a time between those of the streams; 0 = none; only with backend fixed",
        unit="s",
        minimum=0.0,
        maximum=86400.0,
        dynamic=True,
    )

    chip: str = parameter(
        "",
        "chip that energy and core utilisation are estimated for, whatever the back end: loihi1, loihi2 or speck; "
        "empty = none",
    )
    placement_seed: int = parameter(
        -1,
        "seed of a random order of the chip's cores in that mapping, against probing; the same number of cores and "
        "limits, but spikes go further; -1 = along the rows",
        minimum=-1,
        maximum=2**31 - 1,
    )
    power_budget_w: float = parameter(
        0.0,
        "diagnostics warn when the estimated power on chip is above; 0 = no budget",
        unit="W",
        minimum=0.0,
        maximum=1000.0,
        dynamic=True,
    )

    emulated_silicon: SiliconParameters = field(default_factory=SiliconParameters)

    def emulated_options(self) -> SiliconOptions:
        """Return the options of the silicon that is emulated, between the temperatures that it is put to."""
        return self.emulated_silicon.options(-150.0, 150.0)

    def __post_init__(self) -> None:
        self.emulated_silicon.check("emulated_silicon", -150.0, 150.0)
        if self.emulated_silicon.profile != "digital" and self.backend != "fixed":
            raise ParameterError(
                f"emulated_silicon.profile: {self.emulated_silicon.profile} needs the back end fixed, not "
                f"{self.backend}, which is built anew for every change of a register"
            )
        if self.constant_time and (self.backend != "fixed" or self.emulated_silicon.profile != "digital"):
            raise ParameterError("constant_time needs the back end fixed, and digital as emulated_silicon.profile")
        if self.placement_seed >= 0 and not self.chip:
            raise ParameterError(f"placement_seed {self.placement_seed} needs chip, which is empty: nothing is placed")
        if self.power_budget_w > 0.0 and not self.chip:
            raise ParameterError(f"power_budget_w {self.power_budget_w:g} W needs chip, which is empty: no estimate")
        if not self.model:
            raise ParameterError("model is empty; give a model file or the name of a shipped model, such as gesture")
        if self.state_save_period_s > 0.0 and not self.state_directory:
            raise ParameterError(
                f"state_save_period_s {self.state_save_period_s:g} s needs state_directory, which is empty"
            )
