# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node without logic, as a process of its own for the tests of the manager."""

import sys
from dataclasses import dataclass

from neuro_ros.cores.core import Core
from neuro_ros.cores.parameters import parameter
from neuro_ros.nodes.lifecycle import LifecycleShell
from neuro_ros.nodes.run import run_node


@dataclass(frozen=True)
class ProbeParameters:
    """None that matter."""

    unused: int = parameter(0, "nothing")


class Probe(Core):
    """Does nothing."""

    def __init__(self, parameters, clocks):
        pass


if __name__ == "__main__":
    sys.exit(run_node(lambda: LifecycleShell("probe", Probe, ProbeParameters)))
