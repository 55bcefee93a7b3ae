# SPDX-License-Identifier: Apache-2.0
"""TMP102 and TMP112 on an I2C bus: registers, arithmetic, and when a reading is one.

Both chips have the same registers and formats. They measure the board next to the processor, not the die, which is why
the source says ``tmp102``; where the kernel has bound its own driver to the chip, hwmon is the way.

Notes
-----
The temperature register holds a signed number of sixteenths of a degree, left-aligned, most significant byte first: 12
bits, or 13 bits (above 128 degrees) with bit 0 set as a flag. It reads 0 until the first conversion after power-up has
ended, at most 35 ms. So a chip is configured to 8 conversions a second, which is not what it wakes up with: whenever
that setting is gone the chip has lost its power meanwhile, is configured again, and is not believed for 35 ms.

SMBus transfers a word with its lower byte first, the chip sends the higher one first: words are swapped here.

References
----------
TI SBOS397, "TMP102 Low-Power Digital Temperature Sensor", tables of the temperature data format and of the
configuration register; TI SBOS473 for TMP112. Linux kernel documentation, "Kernel driver tmp102".
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from neuro_ros.thermal._smbus_shim import SmBus, open_bus
from neuro_ros.thermal.sensors import (
    SensorError,
    SensorNotReadyError,
    SensorOptions,
    TemperatureSensor,
    ThermalError,
    register_sensor,
)

__all__ = ["I2cAddress", "Tmp102", "decode_temperature"]

_TEMPERATURE, _CONFIGURATION = 0, 1  # pointer register
_CELSIUS = 0.0625  # of the least significant bit
_SHUTDOWN = 0x0100
_RATE, _RATE_8_HZ = 0x00C0, 0x00C0  # of conversions; the chip wakes up with 0x0080, 4 Hz
_EXTENDED = 0x0010  # 13 bits
_ONE_SHOT = 0x8000  # starts a conversion of a chip that is shut down; reads as 1 otherwise
_CONVERSION_NS = 35_000_000  # longest; typical are 26 ms
#: What people meet first, in words.
_REASONS = {
    errno.ENXIO: "no chip answers at this address",
    errno.EREMOTEIO: "no chip answers at this address",
    errno.EBUSY: "the kernel's driver holds the chip; use the sensor hwmon with sensor_name tmp102",
}


@dataclass(frozen=True)
class I2cAddress:
    """Where the chip is and how it shall measure.

    Parameters
    ----------
    bus : int
        Number of ``/dev/i2c-*``.
    address : int
        0x48 to 0x4b, by the wiring of its pin ADD0.
    extended : bool
        13 bits, to 150 degrees; otherwise 12 bits, to 128 degrees.

    Raises
    ------
    ThermalError
        No such address.
    """

    bus: int = 1
    address: int = 0x48
    extended: bool = True

    def __post_init__(self) -> None:
        if not 0x48 <= self.address <= 0x4B:
            raise ThermalError(f"i2c address {self.address:#x}: these chips are at 0x48 to 0x4b")
        if not 0 <= self.bus <= 255:
            raise ThermalError(f"i2c bus {self.bus}: give the number of a /dev/i2c-*, 0 to 255")


def _swap(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8 & 0xFF


def decode_temperature(high: int, low: int) -> float:
    """Return the temperature [degree Celsius] that the two bytes of the register hold, in order of transfer.

    Raises
    ------
    SensorError
        Bits are set that the chip never sets.

    Examples
    --------
    >>> decode_temperature(0xE7, 0x00), decode_temperature(0xF3, 0x81), decode_temperature(0x4B, 0x01)
    (-25.0, -25.0, 150.0)
    """
    word = high << 8 | low
    unused = 0x6 if low & 1 else 0xE
    if word & unused:
        raise SensorError(f"the register reads {word:#06x}, which no TMP102 or TMP112 says; is it another chip?")
    count, sign = (word >> 3, 1 << 12) if low & 1 else (word >> 4, 1 << 11)
    return ((count ^ sign) - sign) * _CELSIUS


class Tmp102:
    """One chip.

    Parameters
    ----------
    place : I2cAddress
        Where it is.
    chip : str
        What to call it: ``tmp102`` or ``tmp112``.
    connect : Callable[[int], SmBus]
        Opens a bus by its number.
    """

    def __init__(self, place: I2cAddress, chip: str = "tmp102", connect: Callable[[int], SmBus] = open_bus) -> None:
        self.source = f"{chip}/i2c-{place.bus}/{place.address:#04x}"
        self._place = place
        self._connect = connect
        self._bus: SmBus | None = None
        self._written_ns: int | None = None  # when it was configured; its first conversion begins then at the latest
        self._kept = False  # whether the configuration was seen to be in force since

    def read(self, now_ns: int) -> float:
        """Return the temperature [degree Celsius] of the last conversion.

        Raises
        ------
        SensorNotReadyError
            The chip answers, but has not measured yet since it was configured or lost its power.
        SensorError
            The bus is not there, the chip does not answer, or what it says is not of such a chip.
        """
        try:
            if self._bus is None:
                self._bus = self._connect(self._place.bus)
            return self._measured(self._bus, now_ns)
        except OSError as error:
            self.close()  # an adapter that was unplugged needs another descriptor when it is back
            reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
            raise SensorError(f"/dev/i2c-{self._place.bus} address {self._place.address:#04x}: {reason}") from error

    def _measured(self, bus: SmBus, now_ns: int) -> float:
        configuration = _swap(bus.read_word_data(self._place.address, _CONFIGURATION))
        wanted = configuration & ~(_ONE_SHOT | _SHUTDOWN | _RATE | _EXTENDED) | _RATE_8_HZ
        wanted |= _EXTENDED if self._place.extended else 0
        if (configuration ^ wanted) & ~_ONE_SHOT:
            refused = self._written_ns is not None and not self._kept
            bus.write_word_data(self._place.address, _CONFIGURATION, _swap(wanted))
            self._written_ns, self._kept = now_ns, False
            if refused:
                raise SensorError(
                    f"the configuration reads {configuration:#06x} after {wanted:#06x} was written; is it another chip?"
                )
            raise SensorNotReadyError("the chip has just been configured and measures now")
        self._kept = True
        if self._written_ns is not None and 0 <= now_ns - self._written_ns < _CONVERSION_NS:
            raise SensorNotReadyError("the first conversion has not ended yet")
        word = _swap(bus.read_word_data(self._place.address, _TEMPERATURE))
        return decode_temperature(word >> 8, word & 0xFF)

    def close(self) -> None:
        """Release the bus; it is opened again by the next reading."""
        bus, self._bus = self._bus, None
        self._written_ns = None
        if bus is not None:
            bus.close()


def _finder(chip: str) -> Callable[[SensorOptions], list[TemperatureSensor]]:
    def find(options: SensorOptions) -> list[TemperatureSensor]:
        return [Tmp102(I2cAddress(**options.i2c), chip)]  # type: ignore[arg-type]

    return find


for _chip in ("tmp102", "tmp112"):
    register_sensor(_chip, _finder(_chip), f"a {_chip.upper()} on /dev/i2c-*", automatic=False)
