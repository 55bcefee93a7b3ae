# SPDX-License-Identifier: Apache-2.0
"""TMP102 and TMP112: the data sheet's arithmetic, and the chip on a FAKE bus (test/support/fake_smbus.py)."""

import errno
import sys

import pytest
from fake_smbus import FakeBus, FakeTmp102
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.thermal import SensorError, SensorNotReadyError, SensorOptions, ThermalError, open_sensor
from neuro_ros.thermal import tmp102 as module
from neuro_ros.thermal.tmp102 import I2cAddress, Tmp102, decode_temperature

MS = 1_000_000
#: TI SBOS397, "12-Bit Temperature Data Format" and "13-Bit Temperature Data Format".
TWELVE = {
    127.9375: 0x7FF, 100.0: 0x640, 80.0: 0x500, 75.0: 0x4B0, 50.0: 0x320, 25.0: 0x190, 0.25: 0x004, 0.0: 0x000,
    -0.25: 0xFFC, -25.0: 0xE70, -55.0: 0xC90,
}  # fmt: skip
THIRTEEN = {
    150.0: 0x0960, 128.0: 0x0800, 127.9375: 0x07FF, 100.0: 0x0640, 80.0: 0x0500, 75.0: 0x04B0, 50.0: 0x0320,
    25.0: 0x0190, 0.25: 0x0004, 0.0: 0x0000, -0.25: 0x1FFC, -25.0: 0x1E70, -55.0: 0x1C90,
}  # fmt: skip


# -- arithmetic --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("celsius", "count"), TWELVE.items())
def test_the_data_sheets_vectors_of_12_bits(celsius, count):
    assert decode_temperature(count >> 4, count << 4 & 0xF0) == celsius


@pytest.mark.parametrize(("celsius", "count"), THIRTEEN.items())
def test_the_data_sheets_vectors_of_13_bits(celsius, count):
    assert decode_temperature(count >> 5, (count << 3 | 1) & 0xFF) == celsius


@given(st.integers(-2048, 2047), st.integers(-4096, 4095))
def test_every_count_comes_back(twelve, thirteen):
    word = (twelve & 0xFFF) << 4
    assert decode_temperature(word >> 8, word & 0xFF) == twelve * 0.0625
    word = (thirteen & 0x1FFF) << 3 | 1
    assert decode_temperature(word >> 8, word & 0xFF) == thirteen * 0.0625


@pytest.mark.parametrize("word", [0xFFFF, 0x1902, 0x1908, 0x1907])
def test_bits_that_the_chip_never_sets_are_no_temperature(word):
    with pytest.raises(SensorError, match="is it another chip"):
        decode_temperature(word >> 8, word & 0xFF)


# -- the chip ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def chip():
    return FakeTmp102()


def sensor_on(chip, **place):
    buses = []

    def connect(number):
        assert number == place.get("bus", 1)
        buses.append(FakeBus(chip))
        return buses[-1]

    sensor = Tmp102(I2cAddress(**place), connect=connect)
    sensor.buses = buses
    return sensor


def read_at(sensor, chip, now_ms):
    chip.now_ns = now_ms * MS
    return sensor.read(chip.now_ns)


def ready(sensor, chip, now_ms=1000):
    with pytest.raises(SensorNotReadyError):
        read_at(sensor, chip, now_ms)
    return now_ms + 40


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("celsius", [-55.0, -25.0, -0.25, 0.0, 25.0, 100.0, 127.9375])
def test_the_chip_is_configured_and_then_read(chip, extended, celsius):
    chip.celsius = celsius
    sensor = sensor_on(chip, extended=extended)
    now_ms = ready(sensor, chip)
    assert read_at(sensor, chip, now_ms) == celsius
    assert chip.configuration == (0x60F0 if extended else 0x60E0)
    assert sensor.source == "tmp102/i2c-1/0x48"


def test_13_bits_reach_above_128_degrees_and_12_bits_end_there(chip):
    chip.celsius = 150.0
    for extended, seen in ((True, 150.0), (False, 127.9375)):
        sensor = sensor_on(chip, extended=extended)
        assert read_at(sensor, chip, ready(sensor, chip)) == seen


def test_other_bits_of_the_configuration_are_left_as_they_are(chip):
    chip.configuration = 0x7EA0  # fault queue, polarity and mode of the alert pin are somebody else's
    sensor = sensor_on(chip)
    read_at(sensor, chip, ready(sensor, chip))
    assert chip.configuration == 0x7EF0


def test_the_0_before_the_first_conversion_is_never_a_reading(chip):
    """The article's bug in another dress: power-up in the cold would program the network for 0 degrees."""
    sensor = sensor_on(chip)
    chip.now_ns = chip.powered_ns = 1000 * MS
    with pytest.raises(SensorNotReadyError):
        sensor.read(chip.now_ns)
    with pytest.raises(SensorNotReadyError, match="first conversion"):
        read_at(sensor, chip, 1020)
    assert read_at(sensor, chip, 1036) == 25.0


def test_unplugged_and_back_it_is_configured_again_before_it_is_believed(chip):
    sensor = sensor_on(chip)
    now_ms = ready(sensor, chip)
    assert read_at(sensor, chip, now_ms) == 25.0
    chip.unplug()
    with pytest.raises(SensorError, match=r"/dev/i2c-1 address 0x48: no chip answers"):
        read_at(sensor, chip, now_ms + 500)
    assert sensor.buses[-1].closed
    chip.now_ns = (now_ms + 1000) * MS
    chip.plug()
    now_ms = ready(sensor, chip, now_ms + 1000)
    assert read_at(sensor, chip, now_ms) == 25.0
    assert len(sensor.buses) == 2


def test_a_loss_of_power_between_two_readings_is_noticed(chip):
    sensor = sensor_on(chip)
    now_ms = ready(sensor, chip)
    assert read_at(sensor, chip, now_ms) == 25.0
    chip.now_ns = (now_ms + 490) * MS
    chip.plug()
    ready(sensor, chip, now_ms + 500)


@pytest.mark.parametrize(
    ("number", "text"), [(errno.EIO, "the bus failed"), (errno.EBUSY, "use the sensor hwmon"), (errno.ENXIO, "no chip")]
)
def test_one_failed_transfer_is_one_error_and_the_next_reading_is_right(chip, number, text):
    sensor = sensor_on(chip)
    now_ms = ready(sensor, chip)
    chip.fails = [number]
    with pytest.raises(SensorError, match=text) as caught:
        read_at(sensor, chip, now_ms)
    assert "\n" not in str(caught.value)
    assert read_at(sensor, chip, now_ms + 500) == 25.0


def test_another_chip_at_the_address_is_told(chip):
    chip.word = lambda register: 0xFFFF
    sensor = sensor_on(chip)
    ready(sensor, chip)
    with pytest.raises(SensorError, match=r"0xffff after 0x.* was written"):
        read_at(sensor, chip, 1500)


def test_a_clock_that_steps_back_does_not_make_it_wait(chip):
    sensor = sensor_on(chip)
    ready(sensor, chip, 100_000)
    chip.powered_ns = -1000 * MS
    assert read_at(sensor, chip, 500) == 25.0


@pytest.mark.parametrize("place", [{"address": 0x47}, {"address": 0x4C}, {"bus": -1}, {"bus": 256}])
def test_places_that_cannot_be_are_refused(place):
    with pytest.raises(ThermalError, match="i2c"):
        I2cAddress(**place)


# -- as a kind of sensor -----------------------------------------------------------------------------------------------
def test_it_is_opened_by_its_kind_although_it_has_nothing_to_say_yet(chip, monkeypatch):
    monkeypatch.setattr(module, "Tmp102", lambda place, name: Tmp102(place, name, lambda number: FakeBus(chip)))
    sensor = open_sensor("tmp112", SensorOptions(i2c={"bus": 3, "address": 0x48}))
    assert sensor.source == "tmp112/i2c-3/0x48"
    assert read_at(sensor, chip, 1000) == 25.0


def test_auto_probes_no_bus(tmp_path):
    with pytest.raises(ThermalError) as caught:
        open_sensor("auto", SensorOptions(sysfs_root=tmp_path))
    assert "i2c" not in str(caught.value)


def test_without_smbus2_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "smbus2", None)
    with pytest.raises(ThermalError, match=r"needs smbus2: .*; pip install smbus2"):
        open_sensor("tmp102")


def test_a_bus_that_is_not_there_is_one_line():
    pytest.importorskip("smbus2", reason="smbus2 is not installed")
    with pytest.raises(ThermalError, match=r"/dev/i2c-250 address 0x48: No such file") as caught:
        open_sensor("tmp102", SensorOptions(i2c={"bus": 250}))
    assert "\n" not in str(caught.value)
