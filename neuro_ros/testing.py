# SPDX-License-Identifier: Apache-2.0
"""Replay a bag and write a small one in the tests of users: ``pytest_plugins = ["neuro_ros.testing"]``.

Example
-------
A flight that was recorded with ``neuro_ros up --record my_flight`` (or ``ros2 bag record``) must go on giving the same
result, whatever is changed in the code::

    pytest_plugins = ["neuro_ros.testing"]

    def test_my_flight(replay_bag):
        replay_bag("my_flight", expect="my_flight.json")

    def test_what_it_says(replay_bag):
        result = replay_bag("my_flight", settings={"snn_inference": {"confidence_threshold": 0.8}})
        assert "hand_clap" in result.labels
        assert result.messages("gesture")[-1].class_index == 0

``neuro_ros replay my_flight --expect my_flight.json --update`` writes the expectation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from neuro_ros.bringup.replay import ReplayResult

__all__ = ["replay_bag", "write_bag"]


@pytest.fixture
def replay_bag() -> Callable[..., ReplayResult]:
    """Return ``replay_bag(path, expect=None, **options) -> ReplayResult``.

    The options are those of `neuro_ros.bringup.replay.replay`. With `expect`, a file that ``neuro_ros replay --update``
    wrote, the test fails with the first difference.
    """
    from neuro_ros.bringup.replay import compare, read_expectation, replay

    def run(path: str | Path, expect: str | Path | None = None, **options: Any) -> ReplayResult:
        result = replay(path, **options)
        if expect is not None:
            difference = compare(read_expectation(expect), result)
            if difference is not None:
                pytest.fail(f"{path} replays differently than {expect}: {difference}", pytrace=False)
        return result

    return run


def write_bag(path: str | Path, messages: Iterable[tuple[str, int, Any]]) -> Path:
    """Write messages to a new bag (rosbag2, mcap) with the definitions of this package.

    Parameters
    ----------
    path : str or Path
        Folder to make.
    messages : iterable of (str, int, object)
        Topic, time [ns since the Unix epoch], and a dataclass of `neuro_ros.cores.messages`.

    Returns
    -------
    Path
        The folder.
    """
    import numpy as np
    from rosbags.rosbag2 import StoragePlugin, Writer

    from neuro_ros.bringup.bag import graph_typestore
    from neuro_ros.cores.fields import definition_of, to_ros
    from neuro_ros.cores.messages import ROS_TYPES

    store = graph_typestore()
    connections: dict[tuple[str, str], Any] = {}
    with Writer(Path(path), version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, time_ns, message in messages:
            kind = ROS_TYPES[type(message)]
            if (topic, kind) not in connections:
                connections[topic, kind] = writer.add_connection(topic, kind, typestore=store)
            ros = to_ros(message, store.types.__getitem__, lambda values, code: np.array(list(values), np.dtype(code)))
            for field in definition_of(type(message)).fields:
                if field.array and field.type == "bool":  # a list for rclpy, an array for rosbags
                    setattr(ros, field.name, np.array(getattr(message, field.name), bool))
            writer.write(connections[topic, kind], time_ns, store.serialize_cdr(ros, kind))
    return Path(path)
