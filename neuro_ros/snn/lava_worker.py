# SPDX-License-Identifier: Apache-2.0
"""The process that Lava lives in: ``python -m neuro_ros.snn.lava_worker FD LIFELINE_FD [hardware]``.

Lava forks processes and threads of its own, which a process with DDS threads must
not do. This one is started fresh, has no threads but one, leads its own session,
and talks over one socket. It never outlives the process that asked for it: the
lifeline is a pipe whose other end that process holds, and what Lava forks is told
by the kernel to die with the worker.

Requests and answers are pickled tuples between a parent and the child that it
started itself; nothing else can reach the socket.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection, wait
from typing import Any

from . import lava_shim
from .lava_network import LavaNetwork

__all__ = ["main"]

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
EXIT_ACTOR_ENDED = 70  # EX_SOFTWARE of <sysexits.h>


def _die_with_worker() -> None:
    """In a child that Lava forked: ask the kernel for SIGKILL when the worker ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:  # the worker ended before the request
        os._exit(1)


def _watch(lifeline: int) -> None:
    """Wait until the parent is gone, then end the worker; the kernel ends its children."""
    while os.read(lifeline, 1):  # nothing is ever written to it
        pass
    os.kill(os.getpid(), signal.SIGKILL)


class _Worker:
    """Answers requests, one at a time, with at most one network running."""

    def __init__(self, hardware: bool) -> None:
        if hardware:  # first, as it is what is missing, and Lava takes seconds to import
            lava_shim.require_loihi()
        self._lava = lava_shim.require_lava()
        self._running: LavaNetwork | None = None
        self._stopping = False
        self._guard: threading.Thread | None = None

    def _start_guard(self, actors: list[Any]) -> None:
        """Watch Lava's processes: when one ends, the others, and whoever waits for them, wait for ever."""
        self._stopping = False
        self._guard = threading.Thread(target=self._wait_for_end, args=(actors,), daemon=True)
        self._guard.start()

    def _wait_for_end(self, actors: list[Any]) -> None:
        ended = wait([actor.sentinel for actor in actors])
        if self._stopping:
            return
        for actor in actors:
            if actor.sentinel in ended:
                failure = actor.exception
                reason = repr(failure[0]) if failure else f"exit code {actor.exitcode}"
                print(f"a process of Lava ended: {reason}", flush=True)  # noqa: T201  the parent reads it
        os._exit(EXIT_ACTOR_ENDED)

    def answer(self, request: tuple[Any, ...]) -> Any:
        name, *arguments = request
        if name == "build":
            self._stop()
            network, state, registers, hardware = arguments
            self._running = LavaNetwork(self._lava, network, state, registers, hardware, self._start_guard)
            return None
        if name == "stop":
            self._stop()
            return None
        if self._running is None:
            raise RuntimeError("no network was built")
        if name == "run":
            return self._running.run(*arguments)
        if name == "write":
            return self._running.write(*arguments)
        if name == "state":
            return self._running.state()
        raise RuntimeError(f"unknown request {name!r}")

    def _stop(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            self._stopping = True
            running.stop()
            if self._guard is not None:
                self._guard.join()
                self._guard = None


def main() -> int:
    """Serve requests until the parent closes the socket."""
    channel = Connection(int(sys.argv[1]))
    threading.Thread(target=_watch, args=(int(sys.argv[2]),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the parent's to handle
    os.register_at_fork(after_in_child=_die_with_worker)
    try:
        worker = _Worker(sys.argv[3:] == ["hardware"])
    except ImportError:
        channel.send(("missing", traceback.format_exc(limit=-1).strip().splitlines()[-1]))
        return 1
    channel.send(("ready", os.getpid()))
    while True:
        try:
            request = channel.recv()
        except EOFError:
            worker.answer(("stop",))
            os._exit(0)  # Lava has stopped and freed its memory; the interpreter's own end takes seconds with torch
        try:
            answer = ("done", worker.answer(request))
        except ImportError as error:
            answer = ("missing", str(error))
        except Exception as error:  # noqa: BLE001  Lava raises anything; the parent decides what to do
            answer = ("failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
        try:
            channel.send(answer)
        except BrokenPipeError:
            return 0


if __name__ == "__main__":
    sys.exit(main())
