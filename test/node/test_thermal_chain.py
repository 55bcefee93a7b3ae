# SPDX-License-Identifier: Apache-2.0
"""thermal_compensation and snn_inference as nodes: temperature out, registers in, and the network's answer back."""

from sensor_msgs.msg import Temperature

from neuro_ros.msg import SnnTelemetry, ThermalCompensation
from neuro_ros.nodes import qos
from neuro_ros.nodes.snn_inference import SnnInferenceNode
from neuro_ros.nodes.thermal_compensation import ThermalCompensationNode
from neuro_ros.snn.quantisation import tau_from_dv

THERMAL = {
    "sensor": "simulated",
    "simulated.profile": "step",
    "simulated.end_celsius": 60.0,
    "simulated.duration_s": 0.5,
    "read_period_s": 0.05,
    "watch.filter_tau_s": 0.0,
    "plausibility.max_rate_celsius_per_s": 1e6,
    "compensation.min_period_s": 0.0,
    "silicon.profile": "linear",
}


def up(node):
    node.trigger_configure()
    node.trigger_activate()
    return node


def test_a_hot_chip_is_compensated_and_the_network_acknowledges_it(bed):
    network = up(bed.make(SnnInferenceNode, parameters={"emulated_silicon.profile": "linear"}))
    said = bed.collect(ThermalCompensation, "thermal/compensation", qos.subscription_qos("thermal/compensation"))
    telemetry = bed.collect(SnnTelemetry, "snn/telemetry")
    readings = bed.collect(Temperature, "temperature")
    up(bed.make(ThermalCompensationNode, parameters=THERMAL))

    def settled():
        last = said[-1] if said else None
        return last and last.compensation_id_applied == last.compensation_id > 10 and last.remaining_error[0] < 0.004

    bed.until(settled, 30.0, "compensation that the network runs with")
    last = said[-1]
    assert last.state == ThermalCompensation.COMPENSATING
    assert last.model_id == network.core.model.model_id == telemetry[-1].model_id
    assert telemetry[-1].compensation_id_applied <= last.compensation_id
    assert readings[-1].temperature == last.temperature_celsius == 60.0
    assert not any(last.clipped)
    for layer, dv, requested_s in zip(
        network.core.model.network.layers, last.dv, last.tau_mem_requested_s, strict=True
    ):
        nominal_s = tau_from_dv(layer.neuron.dv, 0.005)
        assert abs(requested_s * (1 - 0.003 * 35.0) / nominal_s - 1.0) < 1e-9, "the inverse of the drift"
        assert dv < layer.neuron.dv, "a hot chip forgets faster, so it is told to forget more slowly"
