# SPDX-License-Identifier: Apache-2.0
"""A FAKE I2C bus with a TMP102 on it, at the outermost edge: what `smbus2.SMBus` would be asked, and nothing else.

The chip follows its data sheet: it wakes up with 12 bits and 4 conversions a second, reads 0 until its first conversion
has ended, sends its bytes most significant first, and knows only the bits that it has.
"""

import errno

CONVERSION_NS = 26_000_000
RESET = 0x60A0
_WRITABLE = 0x9FF0 & ~0x0020  # not the resolution (read-only) and not the alert bit


def swapped(word):
    return (word & 0xFF) << 8 | word >> 8


class FakeTmp102:
    """The chip: set `celsius` and `now_ns`; `unplug` and `plug` it."""

    def __init__(self, celsius=25.0, address=0x48):
        self.celsius, self.address = celsius, address
        self.now_ns = 0
        self.present = True
        self.fails = []  # errno of the next transfers
        self.configuration = RESET
        self.powered_ns = 0

    def unplug(self):
        self.present = False

    def plug(self):
        self.present, self.configuration, self.powered_ns = True, RESET, self.now_ns

    def word(self, register):
        if register == 1:
            return self.configuration
        if self.now_ns - self.powered_ns < CONVERSION_NS:
            return 0x0001 if self.configuration & 0x10 else 0x0000
        count = round(self.celsius / 0.0625)
        if self.configuration & 0x10:
            return (count & 0x1FFF) << 3 | 1
        return (max(min(count, 0x7FF), -0x800) & 0xFFF) << 4


class FakeBus:
    """Stands in for `smbus2.SMBus`."""

    def __init__(self, chip):
        self.chip = chip
        self.closed = False

    def _chip(self, address):
        assert not self.closed, "a closed bus was used"
        if self.chip.fails:
            number = self.chip.fails.pop(0)
            raise OSError(number, "the bus failed")
        if not self.chip.present or address != self.chip.address:
            raise OSError(errno.EREMOTEIO, "Remote I/O error")
        return self.chip

    def read_word_data(self, i2c_addr, register):
        return swapped(self._chip(i2c_addr).word(register))

    def write_word_data(self, i2c_addr, register, value):
        chip = self._chip(i2c_addr)
        assert register == 1, "nothing but the configuration is ever written"
        chip.configuration = chip.configuration & ~_WRITABLE | swapped(value) & _WRITABLE

    def close(self):
        self.closed = True
