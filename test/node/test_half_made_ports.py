# SPDX-License-Identifier: Apache-2.0
"""Empty ports of shared memory are removed, and nothing else; a node says so when it starts."""

import os
import time

from neuro_ros.nodes import run
from neuro_ros.nodes.half_made_ports import remove_half_made_ports


def made(path, content=b"", age_s=60.0):
    path.write_bytes(content)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_only_old_and_empty_ports_are_removed(tmp_path):
    empty = {made(tmp_path / name).name for name in ("fastrtps_port7000", "fastdds_port28161")}
    kept = {
        made(tmp_path / "fastrtps_port7002", b"in use"),
        made(tmp_path / "fastrtps_port7000_el"),  # the lock beside a port is always empty
        made(tmp_path / "fastrtps_0722eceb53ed83cb"),
        made(tmp_path / "fastrtps_port7004", age_s=0.0),  # may be being made
        made(tmp_path / "somebody_s_fastrtps_port7000"),
    }
    (tmp_path / "fastrtps_port7006").symlink_to(tmp_path / "nowhere")
    assert set(remove_half_made_ports(tmp_path)) == empty
    left = set(tmp_path.iterdir())
    assert left == kept | {tmp_path / "fastrtps_port7006"}
    assert remove_half_made_ports(tmp_path) == []


def test_without_shared_memory_there_is_nothing_to_remove(tmp_path):
    assert remove_half_made_ports(tmp_path / "missing") == []


def test_a_starting_node_tells_what_it_removed(monkeypatch, capfd):
    monkeypatch.setattr(run, "remove_half_made_ports", lambda: ["fastrtps_port7000"])
    assert run.run_node(lambda: None, ["--ros-args", "--remap", "nonsense"]) == 1
    assert "removed fastrtps_port7000, which a killed process left half made" in capfd.readouterr().err
