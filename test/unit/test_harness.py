# SPDX-License-Identifier: Apache-2.0
"""The fixtures of test/conftest.py keep their promises: nothing is left behind, nothing waits for ever."""

import os
import signal
import sys
from pathlib import Path

import pytest

ORPHAN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"],
                         start_new_session=True)
print("started", child.pid, flush=True)
time.sleep(600)
"""


def test_child_processes_die_with_all_they_started(spawn):
    child = spawn([sys.executable, "-c", ORPHAN])
    orphan = int(child.wait_for(r"started (\d+)").group(1))
    assert orphan in child.descendants()
    child.reap()
    assert child.descendants() == []
    assert child.process.returncode == -signal.SIGKILL


def test_a_line_that_never_comes_is_an_error_with_the_output(spawn):
    child = spawn([sys.executable, "-c", "print('only this')"])
    with pytest.raises(AssertionError, match="only this"):
        child.wait_for("something else")
    assert child.wait() == 0


def test_a_condition_that_never_comes_true_is_an_error(eventually):
    with pytest.raises(AssertionError, match=r"the tide did not come true within 0\.05 s"):
        eventually(lambda: False, timeout_s=0.05, what="the tide")


def test_each_test_process_has_its_own_domain(spawn, ros_domain):
    assert 1 <= ros_domain <= 101
    assert os.environ["ROS_DOMAIN_ID"] == str(ros_domain)
    root = Path(__file__).resolve().parents[2]
    other = spawn([sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", __file__], cwd=root)
    assert other.wait_for(r"ROS domain (\d+)").group(1) != str(ros_domain)
    assert other.wait() == 0


def test_counts_are_reduced_unless_asked_for(counts, request):
    full = request.config.getoption("--long")
    assert counts("harness example", reduced=2, full=5) == (5 if full else 2)
