# SPDX-License-Identifier: Apache-2.0
"""The process supervisor, with real and very small child processes."""

import os
import select
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from neuro_ros.bringup.supervisor import ProcessSpec, Supervisor, SupervisorError, SupervisorLimits, forwarded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process groups and death signals as Linux has them")

QUICK = SupervisorLimits(first_delay_s=0.01, max_delay_s=0.05, healthy_s=60.0, give_up_after=3, stop_s=2.0)
WAIT = """
import os, signal
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
print("ready", flush=True)
signal.pause()
"""


def python(name, code, **options):
    # -S -E: an interpreter that starts in 20 ms
    return ProcessSpec(name, (sys.executable, "-S", "-E", "-c", textwrap.dedent(code)), **options)


def ended(pid, timeout_s=10.0):
    """Wait until a process that is not a child of this one has ended (it may stay a zombie)."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], timeout_s)[0])
    finally:
        os.close(watched)


class Watch:
    """Runs a supervisor and acts on what its children print."""

    def __init__(self, tmp_path, *specs, act=None, duration_s=20.0, limits=QUICK):
        self.lines, self.reports = [], []
        self._act = act
        self.supervisor = Supervisor(
            specs,
            tmp_path / "logs",
            on_line=self._on_line,
            report=self.reports.append,
            duration_s=duration_s,
            limits=limits,
        )

    def _on_line(self, name, line):
        self.lines.append((name, line))
        if self._act is not None:
            self._act(self, name, line)


def test_names_must_be_unique(tmp_path):
    with pytest.raises(SupervisorError, match="not unique"):
        Supervisor([python("a", ""), python("a", "")], tmp_path)


def test_missing_program_leaves_nothing_running(tmp_path):
    watch = Watch(tmp_path, python("good", WAIT), ProcessSpec("bad", ("/nonexistent/program",)))
    with pytest.raises(SupervisorError, match=r"bad: .*No such file"):
        watch.supervisor.run()
    assert watch.supervisor.pids == {}


def test_unwritable_log_directory_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SupervisorError, match="cannot hold the logs"):
        Supervisor([python("a", WAIT)], tmp_path / "file" / "logs").run()


def test_a_process_that_ends_the_graph_with_success(tmp_path):
    watch = Watch(tmp_path, python("worker", WAIT), python("recorder", "print('done')", ends_graph=True))
    assert watch.supervisor.run() == 0
    assert ("recorder", "done") in watch.lines
    assert watch.supervisor.pids == {}
    assert (tmp_path / "logs" / "recorder.log").read_text() == "done\n"


def test_a_process_that_ends_the_graph_with_failure_names_its_last_line(tmp_path):
    watch = Watch(tmp_path, python("recorder", "print('no space left'); raise SystemExit(3)", ends_graph=True))
    assert watch.supervisor.run() == 1
    assert any("exited with code 3" in line and "no space left" in line for line in watch.reports)


def test_duration_ends_with_success(tmp_path):
    watch = Watch(tmp_path, python("worker", WAIT), duration_s=0.3)
    assert watch.supervisor.run() == 0


def test_killed_process_is_started_again(tmp_path):
    def act(watch, name, line):
        if line == "ready":
            if watch.supervisor.restarts["worker"] == 2:
                watch.supervisor.stop()
            else:
                os.kill(watch.supervisor.pids["worker"], signal.SIGKILL)

    watch = Watch(tmp_path, python("worker", WAIT), act=act)
    assert watch.supervisor.run() == 0
    assert watch.supervisor.restarts == {"worker": 2}
    assert sum("SIGKILL" in line for line in watch.reports) == 2


def test_a_process_that_never_works_ends_the_graph(tmp_path):
    watch = Watch(tmp_path, python("good", WAIT), python("broken", "raise ImportError('no module named nonsense')"))
    assert watch.supervisor.run() == 1
    assert watch.supervisor.restarts["broken"] == QUICK.give_up_after - 1
    assert any("giving up" in line and "no module named nonsense" in line for line in watch.reports)


def test_a_process_without_respawn_is_reported_and_the_rest_goes_on(tmp_path):
    watch = Watch(tmp_path, python("once", "raise SystemExit(4)", respawn=False), python("good", WAIT), duration_s=0.5)
    assert watch.supervisor.run() == 0
    assert any("once: exited with code 4" in line for line in watch.reports)
    assert watch.supervisor.restarts["once"] == 0


def test_stop_order_is_kept(tmp_path):
    note = tmp_path / "order"
    code = f"""
    import signal
    def end(*_):
        with open({str(note)!r}, "a") as out:
            out.write(NAME + "\\n")
        raise SystemExit(0)
    signal.signal(signal.SIGINT, end)
    print("ready", flush=True)
    signal.pause()
    """

    def act(watch, name, line):
        if sum(text == "ready" for _, text in watch.lines) == 3:
            watch.supervisor.stop()

    watch = Watch(
        tmp_path,
        python("recorder", f"NAME = 'recorder'\n{textwrap.dedent(code)}", stop_order=2),
        python("node", f"NAME = 'node'\n{textwrap.dedent(code)}", stop_order=1),
        python("manager", f"NAME = 'manager'\n{textwrap.dedent(code)}", stop_order=0),
        act=act,
    )
    assert watch.supervisor.run() == 0
    assert note.read_text().split() == ["manager", "node", "recorder"]


def test_a_process_that_ends_badly_when_it_is_stopped_is_told_of(tmp_path):
    code = """
    import signal
    def end(*_):
        raise SystemExit(CODE)
    signal.signal(signal.SIGINT, end)
    print("ready", flush=True)
    while True:
        signal.pause()
    """

    def act(watch, name, line):
        if sum(text == "ready" for _, text in watch.lines) == 2:
            watch.supervisor.stop()

    specs = (python(name, f"CODE = {number}\n{textwrap.dedent(code)}") for name, number in (("good", 0), ("bad", 1)))
    watch = Watch(tmp_path, *specs, act=act)
    assert watch.supervisor.run() == 0
    (told,) = watch.reports
    assert told.startswith("WARN bad: exited with code 1 when it was stopped; last line: ready")


def test_a_process_that_ignores_every_request_is_killed(tmp_path):
    code = """
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        signal.pause()
    """
    limits = SupervisorLimits(stop_s=0.3)
    watch = Watch(tmp_path, python("stubborn", code), act=lambda watch, *_: watch.supervisor.stop(), limits=limits)
    assert watch.supervisor.run() == 1
    assert any("is killed" in line for line in watch.reports)


def test_a_second_request_kills_at_once(tmp_path):
    code = """
    import signal
    signal.signal(signal.SIGINT, lambda *_: print("not yet", flush=True))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        signal.pause()
    """
    limits = SupervisorLimits(stop_s=60.0, repeat_s=0.0)
    watch = Watch(tmp_path, python("slow", code), act=lambda watch, *_: watch.supervisor.stop(), limits=limits)
    began_s = time.monotonic()
    assert watch.supervisor.run() == 1
    assert time.monotonic() - began_s < 20.0


def test_children_of_children_go_with_their_group(tmp_path):
    code = """
    import subprocess, sys, signal
    child = subprocess.Popen([sys.executable, "-S", "-E", "-c", "import signal; signal.pause()"])
    print(child.pid, flush=True)
    signal.pause()
    """

    def act(watch, name, line):
        if line.isdigit():
            os.kill(watch.supervisor.pids["parent"], signal.SIGKILL)

    watch = Watch(tmp_path, python("parent", code, ends_graph=True), act=act)
    assert watch.supervisor.run() == 1
    grandchild = int(next(line for _, line in watch.lines if line.isdigit()))
    # The group was killed before run() returned; whoever collects orphans may not have got to this one yet.
    assert ended(grandchild)


def test_children_die_with_a_killed_supervisor(tmp_path):
    script = f"""
    import sys
    from neuro_ros.bringup.supervisor import ProcessSpec, Supervisor
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    spec = ProcessSpec("child", (sys.executable, "-S", "-E", "-c", code))
    Supervisor([spec], {str(tmp_path)!r}, on_line=lambda _, line: print(line, flush=True)).run()
    """
    supervisor = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    with supervisor:
        child = int(supervisor.stdout.readline())
        supervisor.kill()
    assert ended(child), "the child outlived its supervisor"


def test_ctrl_c_stops_everything_with_code_0(tmp_path):
    script = f"""
    import sys
    from neuro_ros.bringup.supervisor import ProcessSpec, Supervisor
    spec = ProcessSpec("child", (sys.executable, "-S", "-E", "-c", {WAIT!r}))
    sys.exit(Supervisor([spec], {str(tmp_path)!r}, on_line=lambda _, line: print(line, flush=True)).run())
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout.readline() == "ready\n"
        supervisor.send_signal(signal.SIGINT)
        _, errors = supervisor.communicate(timeout=20.0)
    assert supervisor.returncode == 0, errors
    assert errors == ""


def test_environment_and_partial_last_line(tmp_path):
    lines = []
    supervisor = Supervisor(
        [python("a", "import os, sys; sys.stdout.write(os.environ['COLOUR'])", ends_graph=True)],
        tmp_path,
        environment={**os.environ, "COLOUR": "green"},
        on_line=lambda name, line: lines.append(line),
    )
    assert supervisor.run() == 0
    assert lines == ["green"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[INFO] [1700000000.5] [event_camera]: hello", None),
        ("[WARN] [1700000000.5] [event_camera]: rate low", "WARN event_camera: rate low"),
        ("[ERROR] [1700000000.123456789] [ns.snn_inference]: no model", "ERROR ns.snn_inference: no model"),
        ("WARNING neuro_ros.snn: odd", "WARNING process: neuro_ros.snn: odd"),
        ("plain text with ERROR in it", None),
    ],
)
def test_forwarded_lines(line, expected):
    assert forwarded("process", line) == expected


def test_signal_handlers_are_given_back(tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    Watch(tmp_path, python("a", "", ends_graph=True)).supervisor.run()
    assert {number: signal.getsignal(number) for number in before} == before
