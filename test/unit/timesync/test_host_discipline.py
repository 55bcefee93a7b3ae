# SPDX-License-Identifier: Apache-2.0
"""What chrony and linuxptp say of the host's clock; the texts are what chronyc 4.3 and pmc 3.1.1 printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.timesync.host_discipline import parse_chronyc_tracking, parse_pmc_time_status

LOCAL = (
    "7F7F0101,,10,1795622023.943588351,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,"
    "0.000000000,0.000000000,0.0,Normal\n"
)
#: The same line with figures of a synchronised host.
SYNCHRONISED = (
    "C0A80001,192.168.0.1,3,1795622023.943588351,-0.000012345,0.000003000,0.000040000,-7.125,0.010,0.250,"
    "0.000800000,0.000200000,64.2,Normal\n"
)
PMC = """sending: GET TIME_STATUS_NP
\teaf3b0.fffe.61f2c0-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP
\t\tmaster_offset              0
\t\tingress_time               0
\t\tcumulativeScaledRateOffset +0.000000000
\t\tscaledLastGmPhaseChange    0
\t\tgmTimeBaseIndicator        0
\t\tlastGmPhaseChange          0x0000'0000000000000000.0000
\t\tgmPresent                  false
\t\tgmIdentity                 eaf3b0.fffe.61f2c0
"""


def test_chrony():
    found = parse_chronyc_tracking(SYNCHRONISED)
    assert (found.program, found.synchronised) == ("chrony", True)
    assert found.distance_s == pytest.approx(12.345e-6)
    assert found.values["source"] == "192.168.0.1"
    assert found.values["stratum"] == 3
    assert found.values["frequency_ppm"] == -7.125
    assert found.values["rms_offset_us"] == pytest.approx(40.0)
    assert found.values["root_delay_us"] == pytest.approx(800.0)
    assert not parse_chronyc_tracking(LOCAL).synchronised  # its own clock is no source
    assert not parse_chronyc_tracking(SYNCHRONISED.replace("Normal", "Not synchronised")).synchronised
    assert parse_chronyc_tracking("506 Cannot talk to daemon\n") is None
    assert parse_chronyc_tracking(SYNCHRONISED.replace("-7.125", "nan")) is None


def test_linuxptp():
    assert not parse_pmc_time_status(PMC).synchronised
    found = parse_pmc_time_status(PMC.replace("gmPresent                  false", "gmPresent true").replace(
        "master_offset              0", "master_offset -1250"
    ))  # fmt: skip
    assert (found.program, found.synchronised) == ("linuxptp", True)
    assert found.distance_s == pytest.approx(1.25e-6)
    assert found.values["grandmaster"] == "eaf3b0.fffe.61f2c0"
    assert parse_pmc_time_status("sending: GET TIME_STATUS_NP\n") is None


@given(
    st.one_of(st.text(), st.lists(st.text(",.0123456789naif\n", max_size=8), min_size=14, max_size=14).map(",".join))
)
def test_whatever_they_print_nothing_is_raised(text):
    for found in (parse_chronyc_tracking(text), parse_pmc_time_status(text)):
        assert found is None or found.distance_s >= 0
