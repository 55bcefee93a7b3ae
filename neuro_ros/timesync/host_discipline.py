# SPDX-License-Identifier: Apache-2.0
"""Reads what chrony's and linuxptp's own tools say of this host's clock.

``chronyc -c tracking`` answers with one line of comma-separated values, ``pmc`` with names and values. What is not
understood is no state, never an exception. Nothing is run here.

References
----------
chronyc(1), command ``tracking``: order and unit of the values; pmc(8), management id TIME_STATUS_NP.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["HostDiscipline", "parse_chronyc_tracking", "parse_pmc_time_status"]

#: Values of a line of ``chronyc -c tracking``.
_CHRONY_VALUES = 14
_LEAP_UNSYNCHRONISED = "Not synchronised"


@dataclass(frozen=True, slots=True)
class HostDiscipline:
    """What disciplines this host's clock, and how well.

    Parameters
    ----------
    program : str
        ``chrony`` or ``linuxptp``.
    synchronised : bool
        True while it has a source that it believes.
    distance_s : float
        How far the system clock is from the source [s]; the two tools differ in its sign, so there is none.
    values : mapping of str to object
        More figures, units in the keys.
    """

    program: str
    synchronised: bool
    distance_s: float
    values: Mapping[str, object]


def parse_chronyc_tracking(text: str) -> HostDiscipline | None:
    """Read the output of ``chronyc -c tracking``; None when it is not that."""
    lines = [line for line in text.splitlines() if line.count(",") == _CHRONY_VALUES - 1]
    if not lines:
        return None
    cells = lines[0].split(",")
    try:
        numbers = [float(cell) for cell in (cells[2], *cells[4:13])]
    except ValueError:
        return None
    if not all(math.isfinite(number) for number in numbers):
        return None
    stratum, system_s, _last, rms_s, frequency_ppm, _residual, skew_ppm, delay_s, dispersion_s, _interval = numbers
    return HostDiscipline(
        program="chrony",
        synchronised=cells[13].strip() != _LEAP_UNSYNCHRONISED and cells[0] not in ("00000000", "7F7F0101"),
        distance_s=abs(system_s),
        values={
            "source": cells[1],
            "stratum": int(stratum),
            "rms_offset_us": rms_s * 1e6,
            "frequency_ppm": frequency_ppm,
            "skew_ppm": skew_ppm,
            "root_delay_us": delay_s * 1e6,
            "root_dispersion_us": dispersion_s * 1e6,
            "leap": cells[13].strip(),
        },
    )


def parse_pmc_time_status(text: str) -> HostDiscipline | None:
    """Read the output of ``pmc ... 'GET TIME_STATUS_NP'``; None when it is not that."""
    values = dict(words for words in (line.split() for line in text.splitlines()) if len(words) == 2)
    try:
        offset_ns = float(values["master_offset"])
        present = values["gmPresent"] == "true"
    except (KeyError, ValueError):
        return None
    if not math.isfinite(offset_ns):
        return None
    return HostDiscipline(
        program="linuxptp",
        synchronised=present,
        distance_s=abs(offset_ns) * 1e-9,
        values={"grandmaster": values.get("gmIdentity", ""), "grandmaster_present": present},
    )
