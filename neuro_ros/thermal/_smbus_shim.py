# SPDX-License-Identifier: Apache-2.0
"""smbus2, which is only needed where a sensor hangs on a bus: imported when a bus is opened, and not before."""

from __future__ import annotations

from typing import Protocol

from neuro_ros.thermal.sensors import SensorError

__all__ = ["SmBus", "open_bus"]


class SmBus(Protocol):
    """The calls of `smbus2.SMBus` that are used here; each raises OSError when the chip or the bus does not answer."""

    def read_word_data(self, i2c_addr: int, register: int) -> int:
        """Read two bytes; the first one on the wire is the lower one of the result."""

    def write_word_data(self, i2c_addr: int, register: int, value: int) -> None:
        """Write two bytes, the lower one first."""

    def close(self) -> None:
        """Release the bus."""


def open_bus(number: int) -> SmBus:
    """Open ``/dev/i2c-NUMBER``.

    Raises
    ------
    SensorError
        smbus2 is not installed.
    OSError
        There is no such bus, or it may not be used.
    """
    try:
        from smbus2 import SMBus
    except ImportError as error:
        raise SensorError(f"a sensor on an I2C bus needs smbus2: {error}; pip install smbus2") from error
    bus: SmBus = SMBus(number)
    return bus
