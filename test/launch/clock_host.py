# SPDX-License-Identifier: Apache-2.0
"""A host of the two-way test: a clock_sync node whose clock is off by a known amount, which it knows nothing of.

Usage: clock_host.py NAME OFFSET_S SKEW_PPM [ROS arguments]. Every model is printed as a line of JSON, with the truth:
``error_ns`` is the published offset minus the injected one.
"""

import json
import sys
import time

from neuro_ros.cores.messages import ClockModel
from neuro_ros.nodes.clock_sync import ClockSyncNode
from neuro_ros.nodes.run import run_node

S = 1_000_000_000
#: Where the injected skew counts from [ns]; all hosts here share one kernel, so the truth is one clock.
EPOCH_NS = time.time_ns() // S * S


class SkewedNode(ClockSyncNode):
    """clock_sync on a host whose clock differs from the kernel's."""

    def __init__(self, name, offset_s, skew_ppm):
        self._name, self._offset_ns, self._skew = name, round(offset_s * S), skew_ppm * 1e-6
        super().__init__()
        self.trigger_configure()
        self.trigger_activate()

    def _local_ns(self, kernel_ns):
        return kernel_ns + self._offset_ns + round((kernel_ns - EPOCH_NS) * self._skew)

    def now_ns(self):
        """Time of this host's clock."""
        return self._local_ns(super().now_ns())

    def _arrival_ns(self, info):
        return self._local_ns(int(info["received_timestamp"]))

    def publish(self, outputs):
        """Publish, and print models beside the truth."""
        super().publish(outputs)
        for output in outputs:
            if isinstance(output.message, ClockModel):
                self._report(output.message)

    def _report(self, model):
        since_ns = (model.header.stamp - EPOCH_NS - self._offset_ns) / (1 + self._skew)
        truth_ns = self._offset_ns + since_ns * self._skew
        row = {
            "host": self._name,
            "clock": model.clock_id,
            "state": model.state,
            "stamp_ns": model.header.stamp,
            "reference_ns": model.reference_sensor_ns,
            "skew_ppm": model.skew_ppb / 1e3,
            "sigma_ns": model.sigma_ns,
            "delay_ns": model.mean_path_delay_ns,
            "error_ns": model.offset_ns - truth_ns,
        }
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    name, offset_s, skew_ppm = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    sys.exit(run_node(lambda: SkewedNode(name, offset_s, skew_ppm)))
