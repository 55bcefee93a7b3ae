# SPDX-License-Identifier: Apache-2.0
"""Owns the worker process of the Lava back ends: starts it, asks it, bounds every wait, ends it.

Knows nothing of networks. Safe in a process with DDS threads (it executes a new
program instead of forking) and from any module, `__main__` or not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from .errors import BackendUnavailableError, EngineError

__all__ = ["LavaProcess"]

_LOG = logging.getLogger(__name__)
_GRACE_S = 5.0  # what an orderly end, or the kernel's clean-up after SIGKILL, may take
_POLL_S = 0.02  # between two looks at a process group that is ending; only on the way out


class LavaProcess:
    """A worker process with a request-answer channel.

    Parameters
    ----------
    start_timeout_s : float
        Until Lava is imported in the worker.
    hardware : bool
        Whether Intel's extension for Loihi hardware is needed as well.

    Raises
    ------
    BackendUnavailableError
        When Lava or the extension cannot be imported there; the text holds the original error.
    EngineError
        When the worker dies, or does not answer in time.
    """

    def __init__(self, start_timeout_s: float, hardware: bool = False) -> None:
        ours, theirs = socket.socketpair()
        lifeline_read, lifeline_write = os.pipe()
        environment = dict(os.environ)
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
        # Lava forks one process a population: one thread each, or they fight for the cores
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = "1"
        try:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "neuro_ros.snn.lava_worker", str(theirs.fileno()), str(lifeline_read)),
                    *(["hardware"] if hardware else []),
                ],
                pass_fds=(theirs.fileno(), lifeline_read),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            ours.close()
            os.close(lifeline_write)
            raise EngineError(f"the Lava worker cannot be started: {error}") from None
        finally:
            theirs.close()
            os.close(lifeline_read)
        self._lifeline = lifeline_write
        self._channel = Connection(ours.detach())
        self._closed = False
        self._last_lines: list[str] = []
        self._reader = threading.Thread(target=self._read_output, name="lava-output", daemon=True)
        self._reader.start()
        self._receive(start_timeout_s, "starting Lava")

    @property
    def pid(self) -> int:
        """Process id of the worker, which is also the id of its process group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the worker can be asked."""
        return not self._closed and self._process.poll() is None

    @property
    def closed(self) -> bool:
        """Whether it was ended, on request or after a failure."""
        return self._closed

    def ask(self, request: tuple[Any, ...], timeout_s: float) -> Any:
        """Send `request` and return the answer.

        Raises
        ------
        EngineError
            When the worker fails, dies or takes longer than `timeout_s`; it is ended then.
        """
        if self._closed:
            raise EngineError("the Lava worker is not running; restart the engine")
        try:
            self._channel.send(request)
        except OSError:
            self._fail(f"the Lava worker died before '{request[0]}'")
        return self._receive(timeout_s, f"'{request[0]}'")

    def _receive(self, timeout_s: float, doing: str) -> Any:
        try:
            if not self._channel.poll(timeout_s):
                self._fail(f"the Lava worker gave no answer to {doing} within {timeout_s} s")
            kind, value = self._channel.recv()
        except (EOFError, OSError):
            self._fail(f"the Lava worker died during {doing}")
        if kind == "missing":
            self.close()
            raise BackendUnavailableError(value)
        if kind == "failed":
            _LOG.error("Lava worker: %s", value)
            self._fail(f"Lava failed during {doing}: {value.splitlines()[0]}")
        return value

    def _fail(self, what: str) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_POLL_S)  # a worker that has just closed its end is about to exit
        code = self._process.poll()
        self.close(kill=True)
        ended = f" (exit status {code})" if code is not None else ""
        last = f"; its last words: {self._last_lines[-1]}" if self._last_lines else ""
        raise EngineError(f"{what}{ended}{last}; restart the engine to go on")

    def _read_output(self) -> None:
        """Forward what Lava prints to the log; keeps the pipe from filling up."""
        for line in self._process.stdout or ():
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                _LOG.debug("Lava: %s", text)
            if text and "resource_tracker" not in text:  # Python's clean-up after a worker that was killed
                self._last_lines = [*self._last_lines[-19:], text]

    def close(self, kill: bool = False) -> None:
        """End the worker and everything that it started; twice is fine.

        Parameters
        ----------
        kill : bool
            At once. Otherwise Lava is asked to stop first, which frees its shared memory itself.
        """
        if self._closed:
            return
        self._closed = True
        self._channel.close()
        if not kill:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._lifeline)
        # The kernel ends what Lava forked; Python's resource tracker then removes the shared memory and ends too.
        # Only what is still there after that is killed.
        deadline = time.monotonic() + _GRACE_S
        while self._group_alive():
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                break
            self._reader.join(_POLL_S)
        self._reader.join(_GRACE_S)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _group_alive(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
