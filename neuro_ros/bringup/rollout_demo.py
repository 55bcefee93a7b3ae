# SPDX-License-Identifier: Apache-2.0
"""A roll-out on the running graph: shadow, canary and promotion of a good model, then a faulty one that is rolled back.

``python -m neuro_ros.bringup.rollout_demo`` is what ``make demo-rollout`` runs. The graph is started as processes on a
domain of its own, the simulator acts, and a second thread does what an operator would: it asks for SHADOW of a good
candidate, which the canary's rules take through CANARY to PROMOTED, and then puts a faulty one in its place at once,
which the rules notice and roll back. The bag says what became of every window.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuro_ros.bringup.bag import Bag
from neuro_ros.bringup.domain import private_domain, private_environment
from neuro_ros.bringup.graph import GraphOptions
from neuro_ros.bringup.switching import SwitchClient, SwitchError
from neuro_ros.bringup.trial_models import write_faulty, write_sound
from neuro_ros.bringup.up import run_graph
from neuro_ros.cores.files import model_path
from neuro_ros.cores.messages import Gesture, SnnTelemetry, SpikeTensor
from neuro_ros.cores.snn_statistics import percentile
from neuro_ros.errors import NeuroRosError, UsageError
from neuro_ros.snn import load_model

__all__ = ["main", "run_rollout_demo"]

_EXIT_BAD = 1
_EXIT_USAGE = 2
_S = 1_000_000_000
#: Until the graph is active: seven processes import their libraries at once [s].
_START_S = 120.0
#: A phase that a rule ends lasts so long at most, beside its windows [s].
_PHASE_S = 90.0
_POLL_S = 0.5
_WINDOWS_A_SECOND = 20.0
#: What the roll-out should come to: phase and cause of every transition.
_EXPECTED = (
    ("SHADOW", "command"),
    ("CANARY", "rule"),
    ("PROMOTED", "rule"),
    ("SHADOW", "command"),
    ("PROMOTED", "command"),
    ("ROLLED_BACK", "rule"),
)


def _say(line: str) -> None:
    sys.stderr.write(f"demo-rollout: {line}\n")
    sys.stderr.flush()


@dataclass
class _Outcome:
    """What the operator's thread leaves behind."""

    history: list[dict[str, Any]] = field(default_factory=list)
    live_id: str = ""
    trouble: str = ""


class _Operator:
    """Does what an operator would, in a thread beside the supervisor of the graph."""

    def __init__(self, environment: Mapping[str, str], sound: Path, faulty: Path, windows: int) -> None:
        self.outcome = _Outcome()
        self._environment = environment
        self._sound, self._faulty = sound, faulty
        self._phase_s = _PHASE_S + 2.0 * windows / _WINDOWS_A_SECOND
        self._ended = threading.Event()
        self._stop: Callable[[], None] = lambda: None
        self._told = 0
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)

    def begin(self, stop: Callable[[], None]) -> None:
        """Start, with a way to end the graph."""
        self._stop = stop
        self._thread.start()

    def end(self) -> None:
        """Wait until nothing is asked any more: the graph has ended."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            with SwitchClient(environment=self._environment) as client:
                self._work(client)
        except NeuroRosError as error:
            self.outcome.trouble = str(error)
        finally:
            self._stop()

    def _work(self, client: SwitchClient) -> None:
        self._insist(client, "shadow", model_path=str(self._sound))
        self._wait_for(client, "PROMOTED")
        _say("the good one is live; now a faulty one is put in its place at once")
        self._insist(client, "shadow", model_path=str(self._faulty))
        self._insist(client, "promote")
        self._wait_for(client, "ROLLED_BACK")
        self._pause(2.0)  # what the model that came back says is part of the story
        self._look(client)

    def _insist(self, client: SwitchClient, command: str, **fields: Any) -> None:
        """Give a command, again while the graph is still coming up."""
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                answer = client.ask(command, **fields)
                refusal = "" if answer["accepted"] else answer["message"]
            except SwitchError as error:
                refusal = str(error)
            if not refusal:
                self._take(answer)
                return
            coming_up = "inactive" in refusal or "did not" in refusal
            if not coming_up or time.monotonic() > deadline_s:
                raise SwitchError(f"{command} was refused: {refusal}")
            self._pause(_POLL_S)

    def _wait_for(self, client: SwitchClient, phase: str) -> None:
        deadline_s = time.monotonic() + self._phase_s
        while (found := self._look(client)) != phase:
            if time.monotonic() > deadline_s:
                raise SwitchError(f"phase {phase} was not reached, it is {found}")
            self._pause(_POLL_S)

    def _look(self, client: SwitchClient) -> str:
        return self._take(client.ask("status"))

    def _take(self, answer: Mapping[str, Any]) -> str:
        """Keep what was answered and tell of every new transition."""
        self.outcome.history = list(answer["history"])
        self.outcome.live_id = answer["live_id"]
        for entry in self.outcome.history[self._told :]:
            _say(f"{entry['before']} to {entry['after']} ({entry['cause']}): {entry['reason']}")
        self._told = len(self.outcome.history)
        return str(answer["phase"])

    def _pause(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise SwitchError("the graph ended before the roll-out did")


@dataclass
class _Run:
    """What the bag says."""

    windows: int = 0
    published: Counter[str] = field(default_factory=Counter)
    shadow: int = 0
    unanswered: int = 0
    repeated: int = 0
    lost: int = 0
    alone_s: list[float] = field(default_factory=list)
    live_s: list[float] = field(default_factory=list)
    other_s: list[float] = field(default_factory=list)


def _read(path: Path) -> _Run:
    """Read the bag: which model answered which window, and how long a window took, alone and with two."""
    run = _Run()
    windows: list[tuple[int, int]] = []
    answered: Counter[tuple[int, int]] = Counter()
    with Bag(os.fspath(path)) as bag:
        wanted = {topic.name for kind in (SpikeTensor, Gesture, SnnTelemetry) for topic in bag.of_type(kind)}
        with_other = False
        for item in bag.messages(wanted):
            message: Any = item.message
            name = item.topic.rsplit("/", 1)[-1]
            if isinstance(message, SpikeTensor):
                windows.append((message.epoch, message.sequence))
            elif isinstance(message, SnnTelemetry):
                if message.arm == "live":
                    run.lost = max(run.lost, message.windows_lost)
            elif name == "gesture":
                run.published[message.model_id] += 1
                answered[message.epoch, message.sequence] += 1
                (run.live_s if with_other else run.alone_s).append(message.inference_s)
                with_other = False
            elif name == "shadow":
                run.shadow += 1
                run.other_s.append(message.inference_s)
                with_other = True
    run.windows = len(windows)
    run.repeated = sum(count - 1 for count in answered.values())
    # Windows that were under way when the graph was stopped are nobody's loss.
    last = max(answered, default=(0, -1))
    run.unanswered = sum(1 for window in windows if window <= last and window not in answered)
    return run


def _table(outcome: _Outcome, run: _Run, names: Mapping[str, str]) -> str:
    """Write the transitions with their times, and what became of the windows."""
    lines = ["", "  time       transition                cause     live after it       why"]
    start_ns = outcome.history[0]["at_ns"] if outcome.history else 0
    for entry in outcome.history:
        change = f"{entry['before']} to {entry['after']}"
        live = names.get(entry["live_id"], entry["live_id"])
        since_s = (entry["at_ns"] - start_ns) / _S
        lines.append(f"  {since_s:+7.2f} s  {change:<24}  {entry['cause']:<8}  {live:<18}  {entry['reason']}")
    by_model = ", ".join(f"{names.get(model, model)} {count}" for model, count in run.published.items())
    windows = f"{run.windows}, {run.unanswered} without an answer, {run.repeated} answered twice, {run.lost} lost"
    times = (
        f"{_milliseconds(run.alone_s)} alone; with two {_milliseconds(run.live_s)} for the published model and "
        f"{_milliseconds(run.other_s)} for the other one (median)"
    )
    lines += [
        "",
        f"  windows    {windows}",
        f"  published  {by_model or 'nothing'}",
        f"  in shadow  {run.shadow} answers that nobody obeyed",
        f"  a window   {times}",
        "",
    ]
    return "\n".join(lines)


def _milliseconds(values: Sequence[float]) -> str:
    return f"{1e3 * percentile(sorted(values), 0.5):.2f} ms"


def _problems(outcome: _Outcome, run: _Run, sound_id: str, code: int) -> list[str]:
    """Return what did not go as it should."""
    found = [outcome.trouble] if outcome.trouble else []
    if code:
        found.append("the graph did not end cleanly, see above")
    way = tuple((entry["after"], entry["cause"]) for entry in outcome.history)
    if way != _EXPECTED:
        found.append(f"the way was {', '.join(f'{phase} by {cause}' for phase, cause in way) or 'none'}")
    if outcome.live_id != sound_id:
        found.append(f"{outcome.live_id or 'no model'} is live in the end, not the good candidate {sound_id}")
    if run.unanswered or run.lost or run.repeated:
        found.append("windows were lost, or answered twice")
    return found


def _make_room(folder: Path) -> None:
    """Clear what an earlier run of this demo left, and nothing else."""
    bag = folder / "bag"
    if bag.is_symlink() or (bag.exists() and not bag.is_dir()):
        raise UsageError(f"{bag} is in the way; remove it or choose another folder with OUT=DIR")
    if bag.is_dir():
        foreign = [item.name for item in bag.iterdir() if item.suffix not in (".mcap", ".yaml")]
        if foreign:
            raise UsageError(f"{bag} holds {foreign[0]}, which is no bag of a demo; choose another folder with OUT=DIR")
        shutil.rmtree(bag)
    shutil.rmtree(folder / "logs", ignore_errors=True)
    (folder / "models").mkdir(parents=True, exist_ok=True)


def run_rollout_demo(model: str, folder: Path, windows: int, share: float) -> int:
    """Run the demo and print the table.

    Parameters
    ----------
    model : str
        The model that is live at first: a file, or the name of a shipped one.
    folder : Path
        For models, bag and logs; made when missing.
    windows : int
        How many windows both models must have seen before a rule says anything, in each phase.
    share : float
        Share of the windows in CANARY.

    Returns
    -------
    int
        0 when the roll-out went its way and no window was lost, 1 otherwise.

    Raises
    ------
    NeuroRosError
        Something given is missing or wrong; nothing was started.
    """
    first = load_model(model_path(model))
    try:
        _make_room(folder)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror}; choose another folder with OUT=DIR") from error
    models = (folder / "models").resolve()
    sound = write_sound(first, models / "sound.safetensors")
    faulty = write_faulty(first, models / "faulty.safetensors")
    names = {first.model_id: "first", sound.model_id: "good candidate", faulty.model_id: "faulty candidate"}
    settings: dict[str, dict[str, Any]] = {
        "snn_inference": {"model_folders": [str(models)]},
        "canary": {
            "rollout.min_windows": windows,
            "rollout.block_windows": max(2, windows // 10),
            "rollout.canary_after": windows,
            "rollout.promote_after": windows,
            "rollout.share": share,
            "report_period_s": 0.5,
        },
    }
    options = GraphOptions(source="simulator", model=model, record=str(folder / "bag"))
    with private_domain() as domain:
        environment = private_environment(domain)
        operator = _Operator(environment, models / "sound.safetensors", models / "faulty.safetensors", windows)
        try:
            code = run_graph(
                options,
                settings=settings,
                log_directory=folder / "logs",
                environment=environment,
                report=_say,
                on_start=operator.begin,
            )
        finally:
            operator.end()
    bag = folder / "bag"
    run = _read(bag) if bag.is_dir() else _Run()
    sys.stdout.write(_table(operator.outcome, run, names))
    sys.stdout.flush()
    problems = _problems(operator.outcome, run, sound.model_id, code)
    for problem in problems:
        _say(f"FAILED: {problem}")
    return _EXIT_BAD if problems else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 good, 1 the result is bad, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="demo-rollout", description="Roll a good and a faulty model out, and back.")
    default = Path(os.environ.get("OUT") or "demo_output") / "rollout"
    parser.add_argument("--out", type=Path, default=default, metavar="DIR")
    parser.add_argument("--model", default="gesture", help="model file, or the name of a shipped one")
    parser.add_argument("--windows", type=int, default=200, help="windows a phase before a rule says anything")
    parser.add_argument("--share", type=float, default=0.25, help="share of the windows in CANARY")
    args = parser.parse_args(arguments)
    try:
        return run_rollout_demo(args.model, args.out, args.windows, args.share)
    except NeuroRosError as error:
        _say(" ".join(str(error).split()))
        return _EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
