# SPDX-License-Identifier: Apache-2.0
"""Convert between a sensor's clock and the host's, exactly at the reference point.

With ``d = sensor - reference_sensor``:

    host = reference_host + d + d * skew_ppb * 1e-9

Only the correction ``d * skew`` is floating point. It is small (50 ppm over an hour is 1.8e8 ns, far inside the 53 bits
of a double), so no float ever holds an epoch time. This module refuses to know where the numbers come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PPB", "ClockMap"]

#: One part per billion.
PPB = 1e-9


@dataclass(frozen=True, slots=True)
class ClockMap:
    """A straight line from sensor time to host time.

    Parameters
    ----------
    reference_sensor_ns, reference_host_ns : int
        A point on the line, in sensor and in host time [ns].
    skew_ppb : float
        Slope minus one [parts per billion]; positive = the sensor's clock is slow. Must be above -1e9.

    Examples
    --------
    >>> clock = ClockMap(1_000, 1_700_000_000_000_000_000, 50_000.0)  # 50 ppm slow
    >>> clock.to_host_ns(1_000 + 1_000_000_000) - clock.reference_host_ns
    1000050000
    >>> clock.to_sensor_ns(1_700_000_001_000_050_000)
    1000001000
    """

    reference_sensor_ns: int
    reference_host_ns: int
    skew_ppb: float = 0.0

    def to_host_ns(self, sensor_ns: int) -> int:
        """Return the host time [ns] of the sensor time `sensor_ns` [ns]."""
        d = sensor_ns - self.reference_sensor_ns
        return self.reference_host_ns + d + round(d * self.skew_ppb * PPB)

    def to_host_array_ns(self, sensor_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return host times, (n,) int64 [ns], of the sensor times `sensor_ns`, (n,) int64 [ns]."""
        d = np.asarray(sensor_ns, dtype=np.int64) - np.int64(self.reference_sensor_ns)
        correction: Any = np.rint(d * (self.skew_ppb * PPB))
        return np.int64(self.reference_host_ns) + d + correction.astype(np.int64)

    def to_sensor_ns(self, host_ns: int) -> int:
        """Return the sensor time [ns] of the host time `host_ns` [ns]; inverse of `to_host_ns` to within 1 ns."""
        d = host_ns - self.reference_host_ns
        skew = self.skew_ppb * PPB
        # d / (1 + skew) = d - d * skew / (1 + skew): again only the small part is floating point.
        return self.reference_sensor_ns + d - round(d * (skew / (1.0 + skew)))
