# SPDX-License-Identifier: Apache-2.0
"""Runs one node as a process: single-threaded executor, clean end on SIGINT and SIGTERM, one line for what is wrong.

The middleware can hang where nothing reaches it: it makes and destroys a node with the interpreter locked, and waits
for minutes for a segment of shared memory that a killed process has left half made. So that neither a start nor an end
takes for ever, C code that needs no interpreter writes all stacks to stderr then and exits with code 1.

What the node does is not known here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from neuro_ros.errors import NeuroRosError
from neuro_ros.nodes import garbage
from neuro_ros.nodes.half_made_ports import remove_half_made_ports

__all__ = ["run_node", "stop_on_signals"]

#: Longest wait of the executor [s]; a signal wakes it at once, this bounds the loss of a wake-up.
_SPIN_TIMEOUT_S = 1.0
#: How long a thread keeps the interpreter from another that wants it [s]. Python's own 5 ms is the latency of a whole
#: window: the thread that takes or runs one must not wait for the executor to finish its diagnostics.
_SWITCH_INTERVAL_S = 0.001
#: Longest time to make a node [s], which takes a second or two; whoever supervises the process may try again then.
_START_LIMIT_S = 60.0
#: So long after it was asked to end, a node that still runs tells where it stands [s]; supervisors kill after 10.
_STOP_TOLD_S = 8.0
#: Longest time of the middleware to let go of a node that has done all its work, a bag or a state on disk included [s].
_END_LIMIT_S = 6.0


@contextlib.contextmanager
def stop_on_signals(on_stop: Callable[[], None]) -> Iterator[threading.Event]:
    """Set an event on SIGINT or SIGTERM, and call `on_stop` from a helper thread to wake whoever waits.

    Python runs signal handlers only between bytecodes of the main thread, which sits in the middleware's wait; the
    interpreter's wake-up descriptor is written at once, so a thread that reads it can do the waking.

    Parameters
    ----------
    on_stop : Callable[[], None]
        Wakes the main thread; called once a signal.

    Yields
    ------
    threading.Event
        Set when the process has been asked to end.
    """
    stop = threading.Event()
    reader, writer = socket.socketpair()
    reader.setblocking(True)
    writer.setblocking(False)

    def watch() -> None:
        while reader.recv(1) not in (b"", b"\0"):
            stop.set()
            on_stop()

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    previous_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_descriptor)
        writer.send(b"\0")
        watcher.join()
        reader.close()
        writer.close()


def _tell_stacks_after(limit_s: float, *, leave: bool) -> None:
    """Have all stacks written to stderr after so long unless the next call comes first; exit with 1 on `leave`."""
    if sys.stderr is not None:  # as in a process that was started without one
        faulthandler.dump_traceback_later(limit_s, exit=leave)


def run_node(factory: Callable[[], Node], arguments: Sequence[str] | None = None) -> int:
    """Run one node until it is asked to end.

    Parameters
    ----------
    factory : Callable[[], rclpy.node.Node]
        Makes the node. Two optional attributes are used: ``stop_requested()``, called once in the executor's thread
        when the process has been asked to end, and ``exit_code``, an integer or None: the executor spins until it is
        no longer None. A node without them ends at once.
    arguments : Sequence[str], optional
        Command line, default that of the process.

    Returns
    -------
    int
        The node's exit code (0 after a clean end), 1 when the node could not be made.

    Notes
    -----
    The process should end on the return: what is left of the time for the end runs on.
    """
    program = sys.argv[0].rsplit("/", 1)[-1]
    given = None if arguments is None else list(arguments)
    if removed := remove_half_made_ports():
        line = f"{program}: removed {', '.join(removed)}, which a killed process left half made in shared memory"
        print(line, file=sys.stderr)  # noqa: T201 - no node, no logger
    try:
        rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)
    except (rclpy_implementation.RCLError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)  # noqa: T201 - no node, no logger
        return 1
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    executor = SingleThreadedExecutor()
    with stop_on_signals(executor.wake) as stop:
        _tell_stacks_after(_START_LIMIT_S, leave=True)
        try:
            node = factory()
        except (NeuroRosError, ParameterException, rclpy_implementation.RCLError) as error:
            print(f"{program}: {error}", file=sys.stderr)  # noqa: T201 - no node, no logger
            rclpy.try_shutdown()
            return 1
        finally:
            faulthandler.cancel_dump_traceback_later()
        executor.add_node(node)
        garbage.own_process()
        code: int | None = None
        asked = False
        try:
            while code is None:
                if stop.is_set() and not asked:
                    asked = True
                    _tell_stacks_after(_STOP_TOLD_S, leave=False)
                    getattr(node, "stop_requested", lambda: None)()
                code = getattr(node, "exit_code", 0 if asked else None)
                if code is None:
                    executor.spin_once(timeout_sec=_SPIN_TIMEOUT_S)
        except ExternalShutdownException:
            pass
        finally:
            if code is not None:  # otherwise a fault ends the node, and what it does on the way down may take its time
                _tell_stacks_after(_END_LIMIT_S, leave=True)
            executor.remove_node(node)
            node.destroy_node()
            executor.shutdown()
            rclpy.try_shutdown()
    return code or 0
