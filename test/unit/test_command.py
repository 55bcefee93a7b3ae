# SPDX-License-Identifier: Apache-2.0
"""The neuro_ros command finds verbs lazily and turns errors into exit codes and one line."""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuro_ros.cli import _verbs, arguments, command, verbs
from neuro_ros.errors import NeuroRosError, UsageError

ROOT = Path(__file__).resolve().parents[2]
VERB = """
SUMMARY = "does {name}"

def add_arguments(parser):
    parser.add_argument("--number", type=int, default=0)

def main(args):
    {body}
"""


@pytest.fixture
def add_verb(tmp_path, monkeypatch):
    """Return a function that adds a verb module in a folder of its own."""
    monkeypatch.setattr(verbs, "__path__", [*verbs.__path__, str(tmp_path)])

    def add(name, body="return args.number"):
        (tmp_path / f"{name}.py").write_text(VERB.format(name=name, body=body), encoding="utf-8")
        monkeypatch.delitem(sys.modules, f"{verbs.__name__}.{name}", raising=False)

    return add


def test_a_file_in_the_folder_is_a_verb(add_verb):
    add_verb("make_tea_")
    add_verb("_helper")
    assert "make-tea" in _verbs.names()
    assert not [name for name in _verbs.names() if "helper" in name]
    assert _verbs.summary("make-tea") == "does make_tea_"
    assert command.main(["make-tea", "--number", "1"]) == 1
    assert command.main(["make-tea"]) == 0


def test_every_shipped_verb_says_what_it_does():
    for name in _verbs.names():
        summary = _verbs.summary(name)
        assert summary, f"{name} has no SUMMARY literal"
        assert "\n" not in summary
        verb = _verbs.load(name)
        verb.add_arguments(argparse.ArgumentParser(prog=name))


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("from neuro_ros.errors import UsageError; raise UsageError('one\\n  line')", 2, "neuro_ros: one line\n"),
        ("open('/nowhere/at/all')", 2, "neuro_ros: /nowhere/at/all: No such file or directory\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_errors_become_one_line_and_an_exit_code(add_verb, capsys, body, code, line):
    add_verb("fails_so", body)
    assert command.main(["fails-so"]) == code
    assert capsys.readouterr().err == line


def test_a_fault_of_ours_shows_its_traceback_and_is_not_good(add_verb, caplog):
    add_verb("has_a_fault", "raise ZeroDivisionError('here')")
    assert command.main(["has-a-fault"]) == 1
    assert "ZeroDivisionError: here" in caplog.text


@pytest.mark.parametrize("argv", [[], ["no-such-verb"], ["--no-such-option"]])
def test_wrong_usage_is_2(argv, capsys):
    assert command.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("neuro_ros: ")
    assert error.count("\n") == 1


def test_help_lists_the_verbs(add_verb, capsys):
    add_verb("sings")
    assert command.main(["--help"]) == 0
    assert "does sings" in capsys.readouterr().out


def test_json_is_one_line_of_strict_json(capsys):
    args = argparse.Namespace(json=True)
    result = {"count": np.int64(3), "rates": np.array([1.5, np.nan]), "path": Path("a"), "worst": math.inf}
    arguments.emit(args, result)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"count": 3, "rates": [1.5, None], "path": "a", "worst": None}


def test_text_is_for_people(capsys):
    arguments.emit(argparse.Namespace(json=False), {"events": 3, "t_last_ns": None})
    assert capsys.readouterr().out == "events     3\nt_last_ns  unknown\n"


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", ""])
def test_positive_int_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.positive_int(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x"])
def test_positive_float_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.positive_float(text)


def test_usage_errors_are_library_errors():
    assert issubclass(UsageError, NeuroRosError)


def test_no_heavy_library_is_imported_before_a_verb_is_chosen():
    code = "import sys, neuro_ros.cli.command as c; c.main(['--version']); print(sorted(sys.modules))"
    listed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
    for heavy in ("numpy", "numba", "torch", "lava", "rclpy", "rosbags"):
        assert f"'{heavy}'" not in listed


WRITER = """
import sys, types
from neuro_ros.cli import command
verb = types.SimpleNamespace(SUMMARY="", add_arguments=lambda parser: None, main=lambda args: print("line\\n" * 100000))
command._verbs.names = lambda: ["write"]
command._verbs.load = lambda name: verb
sys.exit(command.main(["write"]))
"""


def test_a_reader_that_leaves_ends_the_command_quietly():
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141
