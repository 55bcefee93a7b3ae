# SPDX-License-Identifier: Apache-2.0
"""Looks after this host: who disciplines its clock, and by what name it goes in the exchange.

The tools of chrony and linuxptp are run in a thread of their own, with a time limit and not often; the executor only
ever sees the last answer. What they print is understood by `neuro_ros.timesync.host_discipline`.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from neuro_ros.cores.core import Health, HealthLevel
from neuro_ros.timesync.host_discipline import HostDiscipline, parse_chronyc_tracking, parse_pmc_time_status

__all__ = ["HostClockWatch", "clock_identity", "port_identity"]

#: How often the tools are asked [s].
_PERIOD_S = 10.0
#: How long one of them may take [s].
_TIMEOUT_S = 2.0
#: A thread that does not end for so long is left behind [s]; it holds nothing but a pipe.
_CLOSE_TRIES, _CLOSE_WAIT_S = 20, 0.05
_NETWORK_CARDS = Path("/sys/class/net")
#: Octets that make an EUI-64 of a MAC address (IEEE 1588-2008 clause 7.5.2.2.2).
_EUI64_FILL = "fffe"

_Parser = Callable[[str], HostDiscipline | None]
_TOOLS: Mapping[str, tuple[Sequence[str], _Parser]] = {
    "chrony": (("chronyc", "-c", "-n", "tracking"), parse_chronyc_tracking),
    "linuxptp": (("pmc", "-u", "-b", "0", "GET TIME_STATUS_NP"), parse_pmc_time_status),
}


def clock_identity(cards: Path = _NETWORK_CARDS) -> str:
    """Return an identity of this host's clock, of the first network card's address; a random one without any."""
    for card in sorted(cards.glob("*"), key=lambda item: (not (item / "device").exists(), item.name)):
        try:
            octets = (card / "address").read_text(encoding="ascii").strip().replace(":", "").lower()
        except (OSError, ValueError):
            continue
        if len(octets) == 12 and octets.strip("0f"):
            return f"{octets[:6]}.{_EUI64_FILL}.{octets[6:]}"
    number = secrets.token_hex(8)
    return f"{number[:6]}.{number[6:10]}.{number[10:]}"


def port_identity() -> str:
    """Return an identity for a port of this host.

    The number is random: two nodes of a host differ, and a node that starts anew does not take the answers to its
    former life for its own.
    """
    return f"{clock_identity()}-{1 + secrets.randbelow(65535)}"


class HostClockWatch:
    """Asks chrony and linuxptp, where they are installed.

    Parameters
    ----------
    find : Callable[[str], str or None]
        Finds a program on the path.
    period_s, timeout_s : float
        How often they are asked, and how long an answer may take [s].
    """

    def __init__(
        self,
        find: Callable[[str], str | None] = shutil.which,
        period_s: float = _PERIOD_S,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        found = {name: (find(command[0]), command, parse) for name, (command, parse) in _TOOLS.items()}
        self._commands = {
            name: ([program, *command[1:]], parse) for name, (program, command, parse) in found.items() if program
        }
        self._period_s, self._timeout_s = period_s, timeout_s
        self._answers: dict[str, HostDiscipline | str] = {}
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        if self._commands:
            self._thread = threading.Thread(target=self._run, name="host clock", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for name, (command, parse) in self._commands.items():
                if self._stop.is_set():
                    return
                self._answers = {**self._answers, name: self._ask(command, parse)}
            self._stop.wait(self._period_s)

    def _ask(self, command: Sequence[str], parse: _Parser) -> HostDiscipline | str:
        try:
            process = self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
            )
        except OSError as error:
            return str(error.strerror)
        with process:
            try:
                output, _ = process.communicate(timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                return f"no answer within {self._timeout_s:g} s"
        return parse(output) or "not running"

    def health(self) -> list[Health]:
        """Return what they said last: a WARN when chrony runs without a source that it believes."""
        answers = self._answers
        figures: dict[str, object] = {}
        texts, worried = [], False
        for name in _TOOLS:
            answer = answers.get(name, "not asked yet" if name in self._commands else "not installed")
            if isinstance(answer, str):
                figures[name] = answer
                continue
            # A host that is itself PTP's grandmaster has none, and that is no fault.
            worried |= answer.program == "chrony" and not answer.synchronised
            figures[name] = "synchronised" if answer.synchronised else "not synchronised"
            figures[f"{name} distance_us"] = answer.distance_s * 1e6
            figures |= {f"{name} {key}": value for key, value in answer.values.items()}
            texts.append(f"{name} {figures[name]}, {answer.distance_s * 1e6:.1f} us off")
        level = HealthLevel.WARN if worried else HealthLevel.OK
        return [Health("host clock", level, "; ".join(texts) or "neither chrony nor linuxptp runs here", figures)]

    def close(self) -> None:
        """End the thread, and the tool that runs, if any. Safe twice."""
        self._stop.set()
        if self._thread is None:
            return
        for _ in range(_CLOSE_TRIES):
            process = self._process
            if process is not None and process.poll() is None:
                process.kill()
            self._thread.join(_CLOSE_WAIT_S)
            if not self._thread.is_alive():
                return
