# SPDX-License-Identifier: Apache-2.0
"""The installed package holds the generated messages and our modules under one name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CHECK = """
import neuro_ros.events, neuro_ros.msg, neuro_ros.srv
from neuro_ros import resources
from neuro_ros.msg import SpikeTensor
from neuro_ros.srv import ManageGraph
print(neuro_ros.events.__file__)
print(neuro_ros.msg.__file__)
print(neuro_ros.__doc__.splitlines()[0])
print(resources.share_directory())
print(len(resources.message_definition_paths()))
"""


def run(command: list[str], cwd: Path) -> str:
    """Run a command away from the source tree, so that only the installed package can answer."""
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_messages_and_modules_come_from_one_place(tmp_path):
    events, messages, title, share, definitions = run([sys.executable, "-c", CHECK], tmp_path).splitlines()
    assert Path(events).parents[1] == Path(messages).parents[1]
    assert Path(events).parents[1] != ROOT / "neuro_ros"
    assert title.startswith("Event cameras"), "the generator's empty __init__.py was installed instead of ours"
    assert (Path(share) / "package.xml").is_file()
    assert int(definitions) == len([*(ROOT / "msg").glob("*.msg"), *(ROOT / "srv").glob("*.srv")])


def test_the_source_tree_finds_the_generated_messages():
    import neuro_ros.events
    import neuro_ros.msg

    assert Path(neuro_ros.events.__file__).is_relative_to(ROOT / "neuro_ros")
    assert not Path(neuro_ros.msg.__file__).is_relative_to(ROOT / "neuro_ros")


def test_the_command_is_on_the_path(tmp_path):
    assert run(["neuro_ros", "--version"], tmp_path).startswith("neuro_ros ")


def test_the_executables_lie_where_ros2_run_looks(tmp_path):
    from ament_index_python.packages import get_package_prefix

    folder = Path(get_package_prefix("neuro_ros")) / "lib" / "neuro_ros"
    nodes = {path.name for path in folder.iterdir() if os.access(path, os.X_OK) and path.is_file()}
    scripts = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix}
    assert nodes == {"canary", "clock_sync", "event_camera", "lifecycle_manager", "recorder", "snn_inference",
                     "thermal_compensation"}  # fmt: skip
    assert nodes <= scripts


def test_the_stand_in_packet_has_the_public_fields_in_order():
    messages = pytest.importorskip("event_camera_msgs.msg", reason="the test workspace is not built: use make test")
    assert list(messages.EventPacket.get_fields_and_field_types().items()) == [
        ("header", "std_msgs/Header"),
        ("height", "uint32"),
        ("width", "uint32"),
        ("seq", "uint64"),
        ("time_base", "uint64"),
        ("encoding", "string"),
        ("is_bigendian", "boolean"),
        ("events", "sequence<uint8>"),
    ]
