# SPDX-License-Identifier: Apache-2.0
"""What all tests share: a ROS domain of their own, counts, child processes that are always reaped, deadlines.

Fixtures
--------
counts
    ``n = counts("random networks", reduced=20, full=2000)``: how often to do a thing, printed at the end.
eventually
    ``eventually(lambda: node.count == 3, timeout_s=5, executor=executor)``: wait for a condition without sleeping.
spawn
    ``child = spawn(["neuro_ros", "up"])``: a process in a group of its own, killed with all its children at the end.
ros_domain
    The ROS domain of this test process, for whoever needs its number: it is already in the environment.
launch_packages
    Skips where ``launch`` and ``launch_ros`` are not installed (they are not on the Python package index).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from neuro_ros.bringup.domain import private_domain

ROOT = Path(__file__).resolve().parent.parent
_POLL_S = 0.01
_reservation = contextlib.ExitStack()  # of the ROS domain, for the life of this process
_counts_used: dict[str, tuple[int, int]] = {}
_child_numbers = itertools.count()


# --- the environment of the tests, before anything imports rclpy ------------------------------------------------------
def _prepend(variable: str, folder: Path) -> None:
    """Put a folder first in a path variable of this process and its children."""
    parts = [part for part in os.environ.get(variable, "").split(os.pathsep) if part and part != str(folder)]
    os.environ[variable] = os.pathsep.join([str(folder), *parts])


def _add_test_workspace() -> None:
    """Make the interfaces of test/workspace importable here and in child processes."""
    space = ROOT / ".work" / os.environ.get("ROS_DISTRO", "jazzy") / "test_install"
    packages = next(iter(sorted(space.glob("**/event_camera_msgs/__init__.py"))), None)
    if packages is None:
        return
    _prepend("PYTHONPATH", packages.parent.parent)
    _prepend("AMENT_PREFIX_PATH", space)
    _prepend("LD_LIBRARY_PATH", space / "lib")
    sys.path.append(str(packages.parent.parent))
    # The loader read LD_LIBRARY_PATH when this process started; a library that is already loaded is found by name.
    for part in ("generator_c", "typesupport_fastrtps_c", "typesupport_introspection_c", "typesupport_c"):
        with contextlib.suppress(OSError):  # no such kind in this distribution, or no ROS at all
            ctypes.CDLL(str(space / "lib" / f"libevent_camera_msgs__rosidl_{part}.so"), mode=ctypes.RTLD_GLOBAL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare ``--long``."""
    parser.addoption("--long", action="store_true", help="full counts, and the tests marked long")


def pytest_configure(config: pytest.Config) -> None:
    """Give this process its domain and hypothesis its counts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in every job that a shell starts in the background; children would inherit it and be deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["ROS_DOMAIN_ID"] = str(_reservation.enter_context(private_domain()))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    # Tests kill processes, which can leave a port of Fast DDS's shared memory half made; the next node that opens it
    # waits for minutes with the interpreter locked. The loopback is as real. =DEFAULT tests with shared memory.
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    _add_test_workspace()
    # Derandomised: the same examples each time, so that a failure is there for the next run as well.
    common: dict[str, Any] = {
        "deadline": None,
        "derandomize": True,
        "print_blob": True,
        "suppress_health_check": [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
    }
    hypothesis.settings.register_profile("reduced", max_examples=25, **common)
    hypothesis.settings.register_profile("full", max_examples=1000, **common)
    hypothesis.settings.load_profile("full" if config.getoption("--long") else "reduced")


def pytest_unconfigure() -> None:
    """Give the domain back."""
    _reservation.close()


def pytest_report_header(config: pytest.Config) -> str:
    """Say how much is tested, and where."""
    size = "full" if config.getoption("--long") else "reduced (make test-long runs them in full)"
    return f"neuro_ros: {size} counts, ROS domain {os.environ['ROS_DOMAIN_ID']}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts that were used."""
    if _counts_used:
        terminalreporter.section("counts")
        for name, (used, full) in sorted(_counts_used.items()):
            terminalreporter.write_line(f"{name}: {used}" + ("" if used == full else f" of {full}"))


# --- which tests run --------------------------------------------------------------------------------------------------
def _why_no_ros() -> str | None:
    """Say why tests that need ROS cannot run; None when they can."""
    for module in ("rclpy", "neuro_ros.msg"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not importable: use make test, or . ./env.sh in this shell"
    return None


class _UnavailableModule(pytest.Module):
    """A test module that is not imported, because what it imports is not there."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        pytest.skip(_why_no_ros() or "", allow_module_level=True)


def _room(path: Path) -> str:
    """Name the folder below test/ that a file lies in."""
    try:
        return path.relative_to(ROOT / "test").parts[0]
    except ValueError:
        return ""


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Skip the modules of test/node and test/launch, with the reason, where there is no ROS."""
    if _room(module_path) in ("node", "launch") and _why_no_ros() is not None:
        return _UnavailableModule.from_parent(parent, path=module_path)
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by their folder, and leave the long ones for ``--long``."""
    for item in items:
        room = _room(item.path)
        if room in ("node", "launch"):
            item.add_marker(pytest.mark.ros)
        if room == "launch":
            item.add_marker(pytest.mark.launch)
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="long; make test-long runs it"))


@pytest.fixture(scope="session")
def ros_domain() -> int:
    """Return the ROS domain that belongs to this test process and its children."""
    return int(os.environ["ROS_DOMAIN_ID"])


@pytest.fixture(scope="session")
def launch_packages() -> None:
    """Skip where a launch file cannot be loaded."""
    if importlib.util.find_spec("launch_ros") is None:
        pytest.skip("launch_ros is not installed: it comes with a full ROS 2 install, not from the package index")


@pytest.fixture(scope="session")
def counts(request: pytest.FixtureRequest) -> Callable[..., int]:
    """Return a function that tells how often to do a thing: ``counts(name, reduced=20, full=2000)``."""
    full_counts = bool(request.config.getoption("--long"))

    def count(name: str, *, reduced: int, full: int) -> int:
        used = full if full_counts else reduced
        _counts_used[name] = (used, full)
        return used

    return count


# --- waiting ----------------------------------------------------------------------------------------------------------
def wait_until(condition: Callable[[], Any], timeout_s: float = 10.0, executor: Any = None, what: str = "") -> Any:
    """Wait until `condition` returns something true, and return that.

    Parameters
    ----------
    condition : callable
        Asked again and again.
    timeout_s : float
        Deadline [s]; `AssertionError` beyond it.
    executor : rclpy executor, optional
        Spun while waiting; without it the thread blocks between two questions.
    what : str
        Named in the error.
    """
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (result := condition()):
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0.0:
            raise AssertionError(f"{what or 'the condition'} did not come true within {timeout_s} s")
        if executor is None:
            pause.wait(min(_POLL_S, remaining_s))
        else:
            executor.spin_once(timeout_sec=min(_POLL_S, remaining_s))
    return result


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """Return `wait_until`."""
    return wait_until


# --- child processes --------------------------------------------------------------------------------------------------
class Child:
    """A child process in a session of its own, with its output (stdout and stderr together) read all the time."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str], cwd: Path | None) -> None:
        self.command = [str(part) for part in command]
        # Inherited by all descendants, also by those that leave the process group.
        self._mark = f"NEURO_ROS_TEST_CHILD={os.getpid()}.{next(_child_numbers)}"
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment, **dict([self._mark.split("=")])},
            cwd=cwd,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {self.command[0]}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        stream = self.process.stdout
        if stream is None:
            raise RuntimeError("the child was started without a pipe")
        for line in stream:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def pid(self) -> int:
        """The process id, which is also the group's."""
        return self.process.pid

    @property
    def output(self) -> str:
        """Everything printed so far."""
        with self._news:
            return "\n".join(self.lines)

    def wait_for(self, pattern: str, timeout_s: float = 30.0) -> re.Match[str]:
        """Wait for a line that matches, among those already printed too; `AssertionError` at end or deadline."""
        deadline = time.monotonic() + timeout_s
        seen = 0
        with self._news:
            while True:
                for line in self.lines[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self.lines)
                remaining_s = deadline - time.monotonic()
                if self._ended or remaining_s <= 0.0:
                    why = "the child ended" if self._ended else f"{timeout_s} s went by"
                    raise AssertionError(f"{why} without a line matching {pattern!r}; it printed:\n{self.output}")
                self._news.wait(remaining_s)

    def send_signal(self, number: int) -> None:
        """Send a signal to the child alone, not to its group."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the end and return the exit status; `AssertionError` at the deadline."""
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} still runs after {timeout_s} s; it printed:\n{self.output}") from None
        self._reader.join(timeout_s)
        return status

    def stop(self, number: int = signal.SIGINT, timeout_s: float = 15.0) -> int:
        """Ask the child to end with a signal, and return its exit status."""
        if self.process.poll() is None:
            self.send_signal(number)
        return self.wait(timeout_s)

    def descendants(self) -> list[int]:
        """List the processes that still run of the child and all that it started, wherever they went."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:  # ended meanwhile, or another user's
                continue
            if self._mark.encode() in environment.split(b"\0"):
                found.append(int(folder.name))
        return found

    def reap(self) -> None:
        """End the child and everything it started, whatever it takes."""
        while left := self.descendants():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself meanwhile
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
        self.process.wait()
        self._reader.join(5.0)
        if self.process.stdout is not None and not self._reader.is_alive():
            self.process.stdout.close()


@pytest.fixture
def spawn() -> Iterator[Callable[..., Child]]:
    """Return ``spawn(command, env={}, cwd=None) -> Child``; whatever still runs after the test is killed."""
    children: list[Child] = []

    def start(command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Child:
        program = shutil.which(str(command[0]))
        if program is None:
            raise FileNotFoundError(f"{command[0]} is not on the path: use make test, or . ./env.sh in this shell")
        child = Child([program, *command[1:]], env or {}, cwd)
        children.append(child)
        return child

    yield start
    for child in reversed(children):
        child.reap()
