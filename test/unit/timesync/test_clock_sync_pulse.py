# SPDX-License-Identifier: Apache-2.0
"""A pulse on a camera's trigger line tells clock_sync the latency that arrivals alone cannot tell."""

import numpy as np
import pytest

from neuro_ros.cores.clock_sync import ClockSyncCore
from neuro_ros.cores.messages import ClockModel, ClockSample, ExternalTrigger, Header
from neuro_ros.cores.parameters import build
from neuro_ros.cores.parameters.clock_sync import ClockSyncParameters

S = 1_000_000_000
HOST_NS = 1_700_000_000 * S
LATENCY_NS = 600_000
SKEW = 50e-6


def sensor_ns(host_ns):
    """Return what the sensor's clock shows at a host time: it began at zero, and is fast."""
    return round((host_ns - HOST_NS) * (1 + SKEW))


def run(edges, **values):
    """Follow a camera for 20 s; return the core, the worst error of its last models, and its diagnostics."""
    core = ClockSyncCore(build(ClockSyncParameters, {name.replace("__", "."): value for name, value in values.items()}))
    core.activate(HOST_NS)
    rng = np.random.default_rng(4)
    errors = []
    for number in range(200):
        true_ns = HOST_NS + number * S // 10
        if number % 10 == 0:
            for edge in edges(true_ns):
                core.receive("events/trigger", edge, true_ns)
        arrival_ns = true_ns + LATENCY_NS + round(rng.exponential(200_000))
        sample = ClockSample(Header(arrival_ns, "eye"), "eye", sensor_ns(true_ns), arrival_ns, number)
        for output in core.receive("clock/sample", sample, arrival_ns):
            model = output.message
            if number > 100 and model.state != ClockModel.UNLOCKED:
                elapsed_ns = sensor_ns(true_ns) - model.reference_sensor_ns
                errors.append(model.reference_host_ns + elapsed_ns * (1 + model.skew_ppb * 1e-9) - true_ns)
    (health,) = [item for item in core.diagnose(HOST_NS + 20 * S) if item.name == "clock eye"]
    return core, max(map(abs, errors)), health.values


def pulse(true_ns, **changes):
    values = {"header": Header(0, "eye"), "id": 2, "edge": 1, "sensor_time_ns": sensor_ns(true_ns), **changes}
    return ExternalTrigger(**values)


def test_without_a_pulse_the_latency_stays_in_the_stamps():
    core, worst_ns, values = run(lambda true_ns: [pulse(true_ns)])
    assert "events/trigger" not in core.inputs
    assert worst_ns > LATENCY_NS / 2
    assert values["edges_taken"] == 0


def test_a_pulse_per_second_takes_it_out():
    core, worst_ns, values = run(lambda true_ns: [pulse(true_ns)], pulse__period_s=1.0, pulse__trigger_id=2)
    assert core.inputs["events/trigger"] is ExternalTrigger
    assert worst_ns < 100_000
    assert values["edges_taken"] >= 15
    assert values["latency_us"] == pytest.approx(LATENCY_NS / 1000, abs=100)


@pytest.mark.parametrize(
    "changes", [{"id": 3}, {"edge": 0}, {"header": Header(0, "another")}], ids=["line", "falling", "camera"]
)
def test_edges_of_another_line_or_camera_are_left_alone(changes):
    _, _, values = run(lambda true_ns: [pulse(true_ns, **changes)], pulse__period_s=1.0, pulse__trigger_id=2)
    assert (values["edges_taken"], values["edges_refused"]) == (0, 0)
