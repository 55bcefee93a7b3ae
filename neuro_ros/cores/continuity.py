# SPDX-License-Identifier: Apache-2.0
"""Does a window continue its stream? Gaps, repetitions, backward time and withheld windows, judged by policy.

Nothing here runs a network: `judge` says what has to happen, and the caller does it and counts it.
This module refuses to know about engines and ROS.
"""

from __future__ import annotations

from dataclasses import dataclass

from neuro_ros.cores.messages import SpikeTensor
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters

__all__ = ["Position", "Verdict", "judge"]

_NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class Position:
    """Where a stream stands: the last window that was seen of it.

    Parameters
    ----------
    epoch, sequence, sensor_end_ns : int
        Of that window.
    broken : bool
        The window was not run (late or unusable), so the network's state has a hole.
    absent : bool
        The node was inactive since; what was published meanwhile was not asked for and is not lost.
    restored : bool
        The state comes from a file, so the hole since then is expected.
    adopt : bool
        The next window continues this state whatever its epoch: somebody asked for exactly that.
    """

    epoch: int
    sequence: int
    sensor_end_ns: int
    broken: bool = False
    absent: bool = False
    restored: bool = False
    adopt: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a window.

    Parameters
    ----------
    run : bool
        False: skip it, it was seen before.
    reset : str
        Why the state must be set to zero first; empty = carry on with it.
    withheld : int
        Windows of zero input to run first.
    lost : int
        Windows that never arrived.
    missed : int
        Windows published while the node was inactive.
    backwards, gap : bool
        Sensor time ran backwards; something is missing before this window.
    """

    run: bool = True
    reset: str = ""
    withheld: int = 0
    lost: int = 0
    missed: int = 0
    backwards: bool = False
    gap: bool = False


def judge(position: Position | None, message: SpikeTensor, parameters: SnnInferenceParameters) -> Verdict:
    """Compare a window with the last one of its stream.

    Parameters
    ----------
    position : Position or None
        None = the first window of the stream.
    message : SpikeTensor
        The window; its geometry has been checked.
    parameters : SnnInferenceParameters
        The policies.
    """
    withheld = message.windows_withheld
    dormant = withheld > parameters.max_withheld_windows
    to_run = 0 if dormant else withheld
    if position is None:
        return Verdict(withheld=to_run)
    if position.adopt:
        return Verdict(reset="withheld" if dormant else "", withheld=to_run)
    if message.epoch != position.epoch:
        return Verdict(reset="epoch", withheld=to_run)
    if message.sequence <= position.sequence:
        return Verdict(run=False)

    missing = message.sequence - position.sequence - 1
    lost, missed = (0, missing) if position.absent else (missing, 0)
    elapsed_ns = message.sensor_start_ns - position.sensor_end_ns
    if position.restored:
        fresh = 0 <= elapsed_ns <= parameters.restore_max_gap_s * _NS_PER_S
        reset = "" if fresh else "restored state too old"
        return Verdict(
            reset="withheld" if dormant else reset, withheld=to_run, lost=lost, missed=missed, gap=missing > 0
        )

    backwards = elapsed_ns < 0
    # Between two windows in a row lies exactly what was withheld; anything else is a hole in sensor time.
    length_ns = message.sensor_end_ns - message.sensor_start_ns
    hole = missing == 0 and not backwards and elapsed_ns != withheld * length_ns
    gap = missing > 0 or hole or position.broken
    reset = ""
    if gap and parameters.gap_policy == "reset":
        reset = "gap"
    if backwards and parameters.backwards_policy == "reset":
        reset = "backwards"
    if dormant:
        reset = "withheld"
    return Verdict(reset=reset, withheld=to_run, lost=lost, missed=missed, backwards=backwards, gap=gap)
