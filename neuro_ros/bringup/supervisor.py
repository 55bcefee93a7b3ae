# SPDX-License-Identifier: Apache-2.0
"""Keeps a set of processes running until they are told to stop, and leaves none behind.

Each child is the leader of its own process group, so that Ctrl-C in a terminal reaches the supervisor alone and the
children are stopped in order. What a child prints goes to its own log file; warnings and errors are passed on. A child
that ends unexpectedly is started again, later and later while it keeps failing. Where the kernel offers it, children
die with their supervisor even when that one is killed.

One thread, one `select` loop: nothing here polls. The module refuses to know about ROS; what the processes are is the
caller's matter (`neuro_ros.bringup.graph`).
"""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from neuro_ros.errors import NeuroRosError

__all__ = ["ProcessSpec", "Supervisor", "SupervisorError", "SupervisorLimits", "forwarded"]

_PR_SET_PDEATHSIG = 1
_READ_BYTES = 65536
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ROS_LINE = re.compile(r"^\[(WARN|ERROR|FATAL)\] \[[\d.]+\] \[([^\]]+)\]: ?(.*)$")
_PYTHON_LINE = re.compile(r"^(WARNING|ERROR|CRITICAL)\b[ :]*(.*)$")


class SupervisorError(NeuroRosError):
    """A process cannot be supervised: its program is missing, or the log folder cannot be written."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process to keep running.

    Parameters
    ----------
    name : str
        Unique; names the log file and stands before forwarded lines.
    command : tuple of str
        Program and arguments.
    respawn : bool
        Start again after an unexpected end. Without it an end is reported and the rest goes on.
    ends_graph : bool
        When this process ends, everything ends: with success if it exited 0, as a failure otherwise. It is not
        started again.
    stop_order : int
        Processes of a smaller number are stopped first, and have ended before the next number is told to.
    orphan_signal : signal.Signals
        What the kernel sends when the supervisor itself dies (Linux). SIGKILL is certain; SIGTERM lets a process
        close its files, for one that surely ends on it.
    """

    name: str
    command: tuple[str, ...]
    respawn: bool = True
    ends_graph: bool = False
    stop_order: int = 1
    orphan_signal: signal.Signals = signal.SIGKILL


@dataclass(frozen=True, slots=True)
class SupervisorLimits:
    """Times of the supervisor, all in seconds.

    Parameters
    ----------
    first_delay_s, max_delay_s : float
        Pause before a process is started again: the first, doubled at each quick end up to the second.
    healthy_s : float
        A process that ran this long has recovered; its next pause is the first one again.
    give_up_after : int
        Quick ends in a row after which a process that was never healthy ends the graph. One that was healthy once
        is tried for ever: the rest of a robot should not stop because a sensor's process does.
    stop_s : float
        From the request to stop until SIGKILL, for each stop order. Half way, SIGTERM follows SIGINT.
    repeat_s : float
        A second request within this time is the same one: a terminal, a shell and a wrapper may all pass on Ctrl-C.
    """

    first_delay_s: float = 0.1
    max_delay_s: float = 10.0
    healthy_s: float = 10.0
    give_up_after: int = 5
    stop_s: float = 10.0
    repeat_s: float = 0.5


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    log_path: Path
    process: subprocess.Popen[bytes] | None = None
    log: BinaryIO | None = None
    partial: bytes = b""
    last_line: str = ""
    started_s: float = 0.0
    quick_ends: int = 0
    was_healthy: bool = False
    restart_at_s: float | None = None
    starts: int = field(default=0)


def forwarded(name: str, line: str) -> str | None:
    """Return the text of a child's line that should be passed on, or None for one that need not be.

    Parameters
    ----------
    name : str
        Name of the process, for lines that do not name a node.
    line : str
        One line as printed, in the console format of ROS or of Python's logging.
    """
    match = _ROS_LINE.match(line)
    if match:
        return f"{match[1]} {match[2]}: {match[3]}"
    match = _PYTHON_LINE.match(line)
    if match:
        return f"{match[1]} {name}: {match[2]}"
    return None


def _die_with_parent(parent: int, orphan_signal: int) -> Callable[[], None]:
    """Return what a child does between fork and exec."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        # A shell's background job inherits an ignored SIGINT, and would hand it on to every node.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.setpgid(0, 0)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, orphan_signal, 0, 0, 0)
            if os.getppid() != parent:  # the parent died before the request was made
                os._exit(1)

    return prepare


class Supervisor:
    """Runs processes until one of them ends the graph, a signal arrives, or the time is over.

    Parameters
    ----------
    specs : sequence of ProcessSpec
        Started in this order, all at once.
    log_directory : path
        Gets ``NAME.log`` for each process; created when missing.
    environment : mapping, optional
        Environment of the processes; this process's own when not given.
    duration_s : float, optional
        Stop, with success, after so long.
    on_line : callable, optional
        Is given (process name, line) for every line that a process prints.
    report : callable, optional
        Takes one line about what happens: forwarded warnings, ends, restarts; stderr when not given.
    limits : SupervisorLimits
        Times.

    Raises
    ------
    SupervisorError
        Two processes have the same name.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        log_directory: str | os.PathLike[str],
        *,
        environment: Mapping[str, str] | None = None,
        duration_s: float | None = None,
        on_line: Callable[[str, str], None] | None = None,
        report: Callable[[str], None] | None = None,
        limits: SupervisorLimits = SupervisorLimits(),
    ) -> None:
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            raise SupervisorError(f"process names {', '.join(names)} are not unique")
        self._directory = Path(log_directory)
        self._children = [_Child(spec, self._directory / f"{spec.name}.log") for spec in specs]
        self._environment = None if environment is None else dict(environment)
        self._duration_s = duration_s
        self._on_line = on_line
        self._report = report or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._wake_read = self._wake_write = -1
        self._stop_requests = 0
        self._asked_s = 0.0
        self._stopping = False
        self._code: int | None = None

    @property
    def pids(self) -> dict[str, int]:
        """Process name to process id, of those that run now."""
        return {child.spec.name: child.process.pid for child in self._children if child.process is not None}

    @property
    def restarts(self) -> dict[str, int]:
        """Process name to how often it was started again."""
        return {child.spec.name: max(0, child.starts - 1) for child in self._children}

    def stop(self, code: int | None = None) -> None:
        """Ask for the end from `on_line` or a signal handler; the second request kills at once.

        Parameters
        ----------
        code : int, optional
            What `run` shall return; 0 when not given and nothing else fails.
        """
        self._code = code if code is not None else self._code
        now_s = time.monotonic()
        if self._stop_requests == 0 or now_s - self._asked_s >= self._limits.repeat_s:
            self._stop_requests += 1
            self._asked_s = now_s
        if self._wake_write >= 0:
            os.write(self._wake_write, b"\0")

    def run(self) -> int:
        """Start everything, watch, and return when everything has ended.

        Returns
        -------
        int
            0 when the end was asked for or reached, 1 when something failed.

        Raises
        ------
        SupervisorError
            The log folder cannot be written, or a program does not exist. Nothing is left running.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SupervisorError(f"{self._directory} cannot hold the logs: {error.strerror}") from error
        end_s = None if self._duration_s is None else time.monotonic() + self._duration_s
        with self._signals():
            try:
                for child in self._children:
                    self._start(child)
                while self._code is None and not self._stop_requests:
                    if end_s is not None and time.monotonic() >= end_s:
                        break
                    self._wait(self._next_due(end_s))
                    self._restart_due()
                self._stopping = True
                self._stop_in_order()
            finally:
                self._stopping = True
                for child in self._children:
                    self._kill(child)
        return self._code or 0

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn signals into bytes in a pipe that the select loop reads."""
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        old_fd = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        old = {signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *_: None)}
        for number in _STOP_SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:  # started by nohup
                continue
            old[number] = signal.signal(number, lambda *_: self.stop())
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            signal.set_wakeup_fd(old_fd)
            self._selector.unregister(self._wake_read)
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_read = self._wake_write = -1
            self._selector.close()

    def _start(self, child: _Child) -> None:
        spec = child.spec
        child.restart_at_s = None
        try:
            child.log = child.log_path.open("ab", buffering=0)
            child.process = subprocess.Popen(
                spec.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # Safe here although it runs between fork and exec: this process has one thread.
                preexec_fn=_die_with_parent(os.getpid(), spec.orphan_signal),  # noqa: PLW1509
            )
        except OSError as error:
            if child.log is not None:
                child.log.close()
                child.log = None
            raise SupervisorError(f"{spec.name}: {error.filename}: {error.strerror}") from error
        child.starts += 1
        child.started_s = time.monotonic()
        child.partial, child.last_line = b"", ""
        pipe = child.process.stdout
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, child)

    def _next_due(self, end_s: float | None) -> float | None:
        """Return the time of the next thing to do without being woken; None = nothing is planned."""
        due = [child.restart_at_s for child in self._children if child.restart_at_s is not None]
        return min([*due, *([] if end_s is None else [end_s])], default=None)

    def _wait(self, until_s: float | None) -> None:
        """Handle what happens next, at the latest until the given time."""
        timeout = None if until_s is None else max(0.0, until_s - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                os.read(self._wake_read, _READ_BYTES)
            else:
                self._read(key.data)
        for child in self._children:
            if child.process is not None:
                self._reap(child)

    def _read(self, child: _Child) -> bool:
        """Pass on what a child has printed; return False when there is nothing (more) to read now."""
        pipe = child.process.stdout if child.process is not None else None
        if pipe is None or pipe.closed or child.log is None:
            return False
        try:
            data = os.read(pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._selector.unregister(pipe)
            pipe.close()
            return False
        try:
            child.log.write(data)
        except OSError as error:  # no space left must not stop the graph
            self._report(f"WARN {child.spec.name}: cannot write {child.log_path}: {error.strerror}")
        *lines, rest = (child.partial + data).split(b"\n")
        if len(rest) > _READ_BYTES:  # a line without an end does not grow for ever
            lines, rest = [*lines, rest], b""
        child.partial = rest
        for line in lines:
            self._line(child, line.decode("utf-8", "replace").rstrip("\r"))
        return True

    def _line(self, child: _Child, line: str) -> None:
        if line.strip():
            child.last_line = line.strip()
        text = forwarded(child.spec.name, line)
        if text is not None:
            self._report(text)
        if self._on_line is not None:
            self._on_line(child.spec.name, line)

    def _reap(self, child: _Child) -> None:
        """Take note of a child that has ended; its whole group goes with it."""
        process = child.process
        if process is None:
            return
        # Looked at before it is waited for: as long as it is a zombie nobody else gets its group's number.
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        self._signal(child, signal.SIGKILL)
        while self._read(child):
            pass
        if child.partial:
            self._line(child, child.partial.decode("utf-8", "replace"))
        code = process.wait()
        if process.stdout is not None and not process.stdout.closed:
            self._selector.unregister(process.stdout)
            process.stdout.close()
        if child.log is not None:
            child.log.close()
            child.log = None
        child.process = None
        if not self._stopping:
            self._ended(child, code)
        elif code > 0:
            # The end was wanted, so it is no failure of the run; but it was not as it should be.
            self._complain(child, f"exited with code {code} when it was stopped", "WARN")

    def _ended(self, child: _Child, code: int) -> None:
        """Decide what the end of a child that nobody asked for means."""
        spec, limits = child.spec, self._limits
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        if spec.ends_graph:
            if code != 0:
                self._complain(child, how)
            self._code = 0 if code == 0 else 1
            return
        lived_s = time.monotonic() - child.started_s
        if lived_s >= limits.healthy_s:
            child.quick_ends, child.was_healthy = 0, True
        child.quick_ends += 1
        if not spec.respawn:
            self._complain(child, f"{how} and is not started again")
        elif not child.was_healthy and child.quick_ends >= limits.give_up_after:
            self._complain(child, f"{how}, {child.quick_ends} times in a row; giving up")
            self._code = 1
        else:
            delay_s = min(limits.max_delay_s, limits.first_delay_s * 2.0 ** min(child.quick_ends - 1, 30))
            self._complain(child, f"{how} after {lived_s:.1f} s; starting it again in {delay_s:.1f} s")
            child.restart_at_s = time.monotonic() + delay_s

    def _complain(self, child: _Child, what: str, level: str = "ERROR") -> None:
        last = f"; last line: {child.last_line}" if child.last_line else ""
        self._report(f"{level} {child.spec.name}: {what}{last} (log: {child.log_path})")

    def _restart_due(self) -> None:
        now_s = time.monotonic()
        for child in self._children:
            if child.restart_at_s is not None and child.restart_at_s <= now_s and self._code is None:
                self._start(child)

    def _stop_in_order(self) -> None:
        """SIGINT, then SIGTERM, then SIGKILL, one stop order after the other."""
        for order in sorted({child.spec.stop_order for child in self._children}):
            group = [child for child in self._children if child.spec.stop_order == order]
            began_s = time.monotonic()
            for number, until_s in (
                (signal.SIGINT, began_s + self._limits.stop_s / 2),
                (signal.SIGTERM, began_s + self._limits.stop_s),
            ):
                for child in group:
                    self._signal(child, number, whole_group=False)
                while any(child.process is not None for child in group) and time.monotonic() < until_s:
                    if self._stop_requests > 1:
                        self._report("WARN stopping at once, as asked a second time")
                        self._code = 1
                        return
                    self._wait(until_s)
            for child in group:
                if child.process is not None:
                    self._complain(child, f"did not stop within {self._limits.stop_s:g} s and is killed")
                    self._code = 1
                    self._kill(child)

    def _signal(self, child: _Child, number: int, whole_group: bool = True) -> None:
        if child.process is None:
            return
        try:
            if whole_group:
                os.killpg(child.process.pid, number)
            else:
                os.kill(child.process.pid, number)
        except (ProcessLookupError, PermissionError):  # all of the group has ended
            return

    def _kill(self, child: _Child) -> None:
        if child.process is None:
            return
        self._signal(child, signal.SIGKILL)
        os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
        self._reap(child)
