# SPDX-License-Identifier: Apache-2.0
"""thermal_compensation and snn_inference on one bus, over an emulated chip that drifts: the way there, the restarts."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from neuro_ros.canary import Command
from neuro_ros.cores.bus import Bus
from neuro_ros.cores.core import HealthLevel
from neuro_ros.cores.messages import Header, SnnTelemetry, SpikeTensor, Temperature, ThermalCompensation
from neuro_ros.cores.parameters import ParameterError, build
from neuro_ros.cores.parameters.snn_inference import SnnInferenceParameters
from neuro_ros.cores.parameters.thermal_compensation import ThermalCompensationParameters
from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.cores.thermal_compensation import ThermalCompensationCore
from neuro_ros.events import encode_tensor
from neuro_ros.resources import models_directory
from neuro_ros.snn import Network, load_model, save_model
from neuro_ros.thermal import ThermalError, save_table
from neuro_ros.thermal.calibration import CalibrationTable, Curve

S = 1_000_000_000
MS = 1_000_000
NOW = 1_700_000_000 * S


@pytest.fixture(scope="module")
def model():
    return load_model(models_directory() / "gesture.safetensors")


def window(model, sequence, rng):
    cells = model.bins * model.cells
    dense = rng.random(cells) < 0.01
    encoding, data = encode_tensor(np.packbits(dense), cells)
    channels, height, width = model.network.input_shape
    start_ns = sequence * model.window_length_ns
    return SpikeTensor(
        header=Header(NOW + start_ns + model.window_length_ns, "cam"),
        sequence=sequence,
        epoch=1,
        sensor_start_ns=start_ns,
        sensor_end_ns=start_ns + model.window_length_ns,
        bins=model.bins,
        channels=channels,
        height=height,
        width=width,
        encoding=encoding,
        active=int(dense.sum()),
        complete=True,
        data=data,
    )


class Flight:
    """The two cores, on a bus, twenty windows a second of the same noise, and what they say."""

    def __init__(self, model, silicon="linear", emulated=None, thermal=None, inference=None):
        self.model = model
        self.settings = {"sensor": "topic", "silicon.profile": silicon, **(thermal or {})}
        emulated = silicon if emulated is None else emulated
        self.inference_settings = {"emulated_silicon.profile": emulated, **(inference or {})}
        self.rng = np.random.default_rng(1)
        self.sequence = 0
        self.said = []
        self.thermal, self.inference = self.new_thermal(), self.new_inference()
        self.now_ns = NOW
        self.start()

    def new_thermal(self):
        return ThermalCompensationCore(build(ThermalCompensationParameters, self.settings))

    def new_inference(self):
        return SnnInferenceCore(build(SnnInferenceParameters, self.inference_settings))

    def start(self):
        self.bus = Bus({"thermal_compensation": self.thermal, "snn_inference": self.inference})
        self.bus.activate(self.now_ns)

    def run(self, *celsius, windows=True):
        """Give one reading each half a second, and ten windows in between."""
        for value in celsius:
            self.bus.publish("temperature", Temperature(Header(self.now_ns, "die"), value), self.now_ns)
            for k in range(10):
                at_ns = self.now_ns + k * 50 * MS
                if windows:
                    self.bus.publish("spikes", window(self.model, self.sequence, self.rng), at_ns)
                    self.sequence += 1
                else:
                    self.bus.advance(at_ns)
            self.now_ns += S // 2
            self.said += [item.message for item in self.bus.take()]
        return self

    def last(self, kind):
        return next(message for message in reversed(self.said) if isinstance(message, kind))

    def all(self, kind):
        return [message for message in self.said if isinstance(message, kind)]

    def health(self):
        return {health.name: health for health in self.thermal.diagnose(self.now_ns)}


def registers_in_force(flight):
    return flight.inference._network.engine._programmed


# -- the way there -----------------------------------------------------------------------------------------------------
def test_a_flight_into_cold_and_heat_is_compensated_and_acknowledged(model):
    flight = Flight(model)
    profile = [25.0] * 12 + list(np.linspace(25.0, -20.0, 40)) + [-20.0] * 30 + list(np.linspace(-20.0, 60.0, 80))
    flight.run(*profile, *[60.0] * 40)
    states = [message.state for message in flight.all(ThermalCompensation)]
    changes = [state for k, state in enumerate(states) if k == 0 or state != states[k - 1]]
    stale, nominal, compensating = (
        ThermalCompensation.STALE,
        ThermalCompensation.NOMINAL,
        ThermalCompensation.COMPENSATING,
    )
    assert changes[:3] == [stale, nominal, compensating]
    assert changes[-1] == compensating
    last = flight.last(ThermalCompensation)
    assert last.compensation_id > 50
    assert last.compensation_id_applied == last.compensation_id == flight.last(SnnTelemetry).compensation_id_applied
    assert (last.model_id, last.silicon_profile, last.source) == (model.model_id, "linear", "die")
    assert abs(last.compensated_celsius - 60.0) <= 0.5
    assert max(last.remaining_error) < 0.006
    assert not any(last.clipped)
    settled = [m for m in flight.all(ThermalCompensation) if m.layer and abs(m.temperature_celsius + 20.0) < 0.05]
    assert max(settled[-1].remaining_error) < 0.006
    # What the chip is programmed with is what was said, and what it then does is what the model was trained with.
    programmed = [(r["du"], r["dv"]) for r in registers_in_force(flight)]
    assert programmed == list(zip(last.du, last.dv, strict=True))
    for shown, layer in zip(flight.inference._network.engine.effective_registers(), model.network.layers, strict=True):
        assert shown == (pytest.approx(layer.neuron.du, abs=12), pytest.approx(layer.neuron.dv, abs=4))
    assert flight.health()["compensation"].level == HealthLevel.OK
    # Nothing of the stream was lost by it.
    counters = flight.inference.counters
    assert (counters.received, counters.processed, counters.lost) == (flight.sequence, flight.sequence, 0)


def test_every_step_is_small_and_each_change_of_a_register_has_its_own_id(model):
    flight = Flight(model).run(*[25.0] * 6, *[70.0] * 60, windows=False)
    said = [message for message in flight.all(ThermalCompensation) if message.layer]
    for before, after in pairwise(said):
        changed = (tuple(before.du), tuple(before.dv)) != (tuple(after.du), tuple(after.dv))
        assert after.compensation_id - before.compensation_id == changed
        for name in ("tau_syn_requested_s", "tau_mem_requested_s"):
            ratio = np.divide(getattr(after, name), getattr(before, name))
            assert np.abs(ratio - 1.0).max() <= 0.005 + 1e-12


def test_a_slow_creep_over_the_whole_range_stays_within_one_per_cent(model):
    """The worst for a dead band: too slow to be followed, and never still."""
    flight = Flight(model)
    flight.run(*[-40.0] * 200, windows=False)
    worst = 0.0
    for celsius in np.arange(-40.0, 85.0, 0.05):
        flight.run(celsius, windows=False)
        worst = max(worst, *flight.last(ThermalCompensation).remaining_error)
    assert 0.005 < worst < 0.01, "the dead band of 2 degrees, and half a step of a register"


def test_the_dead_band_leaves_registers_alone(model):
    flight = Flight(model).run(*[25.0] * 20, windows=False)
    flight.run(*([26.0, 24.0, 26.9, 23.1] * 10), windows=False)
    assert flight.last(ThermalCompensation).compensation_id == 0
    assert flight.last(ThermalCompensation).state == ThermalCompensation.NOMINAL


def test_one_glitch_changes_no_register(model):
    flight = Flight(model).run(*[25.0] * 20, windows=False)
    flight.run(85.0, 25.0, -128.0, 25.0, float("nan"), 25.0, 0.0, 25.0, windows=False)
    assert flight.last(ThermalCompensation).compensation_id == 0
    assert flight.health()["temperature"].values["out_of_range"] == 2


def test_digital_silicon_gives_the_same_spikes_at_any_temperature(model):
    """The same windows, once at 25 degrees and once through the whole range: every gesture is the same."""
    gestures = []
    for profile in ([25.0] * 60, np.linspace(-40.0, 85.0, 60)):
        flight = Flight(model, "digital").run(*profile)
        assert flight.last(ThermalCompensation).compensation_id == 0
        gestures.append([m.spike_counts for m in flight.said if type(m).__name__ == "Gesture"])
        states = [layer.v.sum() for layer in flight.inference.snapshot().layers]
        gestures[-1].append(states)
    assert gestures[0] == gestures[1]


# -- failsafe ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("policy", ["hold", "nominal"])
def test_what_failsafe_does_is_a_policy_and_it_ends_by_itself(model, policy):
    flight = Flight(model, thermal={"watch.failsafe_policy": policy}).run(*[25.0] * 6, *[60.0] * 60)
    hot = flight.last(ThermalCompensation)
    for _ in range(200):  # nobody publishes the temperature
        flight.now_ns += S // 2
        flight.bus.advance(flight.now_ns)
    flight.said += [item.message for item in flight.bus.take()]
    last = flight.last(ThermalCompensation)
    assert last.state == ThermalCompensation.FAILSAFE
    own = tuple(layer.neuron.dv for layer in model.network.layers)
    assert tuple(last.dv) == (tuple(hot.dv) if policy == "hold" else own)
    for before, after in pairwise([m for m in flight.all(ThermalCompensation) if m.layer]):
        assert np.abs(np.divide(after.tau_mem_requested_s, before.tau_mem_requested_s) - 1.0).max() < 0.006
    flight.run(*[60.0] * 60, windows=False)
    again = flight.last(ThermalCompensation)
    assert again.state == ThermalCompensation.COMPENSATING
    assert tuple(again.dv) == tuple(hot.dv)


# -- restarts ----------------------------------------------------------------------------------------------------------
def voltage_decays(flight):
    return [registers["dv"] for registers in registers_in_force(flight)]


def test_a_network_that_starts_anew_gets_the_latched_values(model):
    flight = Flight(model).run(*[25.0] * 6, *[60.0] * 60)
    latched, dv = flight.last(ThermalCompensation), voltage_decays(flight)
    state = flight.inference.snapshot()
    fresh = flight.new_inference()
    fresh.activate(flight.now_ns)
    fresh.receive("temperature", Temperature(Header(0, "die"), 60.0), flight.now_ns)
    fresh.restore(state)
    fresh.receive("thermal/compensation", latched, flight.now_ns)
    assert [registers["dv"] for registers in fresh._network.engine._programmed] == dv
    assert fresh.tick("telemetry", flight.now_ns)[0].message.compensation_id_applied == latched.compensation_id


@pytest.mark.parametrize("kept", [True, False], ids=["with a file", "by the telemetry"])
def test_a_restart_of_the_compensation_never_throws_the_network_back(model, tmp_path, kept):
    memory = {"compensation.memory": str(tmp_path / "state" / "thermal.json")} if kept else {}
    flight = Flight(model, thermal=memory).run(*[25.0] * 6, *[60.0] * 60)
    before, number = voltage_decays(flight), flight.last(ThermalCompensation).compensation_id
    flight.thermal.close()  # as after kill -9: no last words
    flight.said.clear()
    flight.thermal = flight.new_thermal()
    flight.start()
    if kept:
        (first,) = [item.message for item in flight.bus.take()]
        assert (first.compensation_id, list(first.dv)) == (number, before), "said at once"
    for _ in range(30):
        flight.run(60.5)
        assert np.abs(np.subtract(voltage_decays(flight), before)).max() <= 2
    last = flight.last(ThermalCompensation)
    assert last.state == ThermalCompensation.COMPENSATING
    assert last.compensation_id >= number
    assert last.compensation_id_applied == last.compensation_id


def test_memories_that_are_old_foreign_or_damaged_are_not_taken_up(model, tmp_path):
    path = tmp_path / "thermal.json"
    flight = Flight(model, thermal={"compensation.memory": str(path)}).run(*[25.0] * 6, *[60.0] * 60, windows=False)
    number = flight.last(ThermalCompensation).compensation_id
    content = json.loads(path.read_text())

    def first_words(**changes):
        path.write_text(json.dumps({**content, **changes}))
        core = flight.new_thermal()
        (output,) = core.activate(flight.now_ns)
        return output.message

    assert first_words().layer
    for changes in ({"saved_ns": content["saved_ns"] - 61 * S}, {"model_id": "other"}, {"celsius": float("nan")}):
        message = first_words(**changes)
        assert (list(message.layer), message.compensation_id) == ([], number), "but ids go on growing"
    for changes in ({"version": 2}, {"requested_s": [[1.0, 1.0]]}, {"requested_s": "x"}, {"celsius": None}):
        assert list(first_words(**changes).layer) == []
    path.write_bytes(b"\x00garbage")
    core = flight.new_thermal()
    core.activate(flight.now_ns)
    assert "is not a neuro_ros.thermal_memory" in core._chip._memory_error


def test_a_memory_that_cannot_be_written_is_told_and_nothing_stops(model, tmp_path):
    (tmp_path / "file").write_text("")
    memory = {"compensation.memory": str(tmp_path / "file" / "thermal.json")}
    flight = Flight(model, thermal=memory).run(*[25.0] * 6, *[60.0] * 20, windows=False)
    health = flight.health()["compensation"]
    assert health.level == HealthLevel.WARN
    assert "cannot be written" in health.message
    assert flight.last(ThermalCompensation).state == ThermalCompensation.COMPENSATING


# -- the network's side ------------------------------------------------------------------------------------------------
def test_values_for_another_model_are_refused_and_told_on_both_sides(model):
    flight = Flight(model).run(*[25.0] * 6)
    message = ThermalCompensation(
        silicon_profile="linear", model_id="other-123", compensation_id=9, layer=["out"], du=[1], dv=[1]
    )
    flight.inference.receive("thermal/compensation", message, flight.now_ns)
    (health,) = [h for h in flight.inference.diagnose(flight.now_ns) if h.name == "compensation"]
    assert health.level == HealthLevel.ERROR
    assert "for model other-123" in health.message
    flight.run(*[60.0] * 4)
    flight.thermal.receive("snn/telemetry", SnnTelemetry(model_id="other-123", arm="live"), flight.now_ns)
    assert flight.health()["compensation"].level == HealthLevel.ERROR
    assert "the network runs other-123" in flight.health()["compensation"].message
    flight.thermal.receive("snn/telemetry", SnnTelemetry(model_id="x", arm="shadow"), flight.now_ns)
    flight.run(*[60.0] * 4)
    assert flight.health()["compensation"].level == HealthLevel.OK
    flight.inference.receive = lambda *arguments: ()  # deaf, but its telemetry goes on
    flight.run(*[60.0] * 20, windows=False)
    health = flight.health()["compensation"]
    assert health.level == HealthLevel.WARN
    assert "the network runs with compensation" in health.message


def test_a_chip_that_turns_out_digital_gets_its_own_values_back(model):
    flight = Flight(model).run(*[25.0] * 6, *[60.0] * 40)
    assert voltage_decays(flight) != [layer.neuron.dv for layer in model.network.layers]
    message = ThermalCompensation(silicon_profile="digital", compensation_id=0)
    flight.inference.receive("thermal/compensation", message, flight.now_ns)
    assert voltage_decays(flight) == [layer.neuron.dv for layer in model.network.layers]


def test_a_calibration_table_says_when_it_is_left(model, tmp_path):
    curve = Curve((0.0, 25.0, 50.0), (0.0215, 0.02, 0.0185))
    save_table(CalibrationTable({"*": {"membrane": curve, "synapse": curve}}, chip="A7"), tmp_path / "a7.json")
    settings = {"silicon.table": str(tmp_path / "a7.json"), "silicon.chip": "A7"}
    emulated = {f"emulated_{name}": value for name, value in settings.items()}
    flight = Flight(model, "table", thermal=settings, inference=emulated).run(*[25.0] * 6, *[45.0] * 60, windows=False)
    assert flight.health()["compensation"].level == HealthLevel.OK
    assert max(flight.last(ThermalCompensation).remaining_error) < 0.006
    flight.run(*[60.0] * 30, windows=False)
    health = flight.health()["compensation"]
    assert health.level == HealthLevel.WARN
    assert "outside the calibration table" in health.message
    with pytest.raises(ThermalError, match="not on 'B1'"):
        Flight(model, "table", thermal={**settings, "silicon.chip": "B1"}, inference=emulated)


def test_nonsense_on_the_topic_does_not_heat_the_emulated_chip(model):
    flight = Flight(model).run(*[25.0] * 4)
    for value in (float("nan"), float("inf"), -1e30):
        flight.inference.receive("temperature", Temperature(Header(0, "die"), value), flight.now_ns)
    assert flight.inference._die.celsius == 25.0


def test_emulation_needs_the_fixed_back_end():
    with pytest.raises(ParameterError, match=r"emulated_silicon\.profile: linear needs the back end fixed"):
        build(SnnInferenceParameters, {"emulated_silicon.profile": "linear", "backend": "lava"})
    with pytest.raises(ParameterError, match=r"emulated_silicon\.table"):
        build(SnnInferenceParameters, {"emulated_silicon.profile": "table"})


def test_an_update_of_every_register_is_taken_between_two_windows(model):
    """The shipped network on `fixed`, sixty times; docs/thermal.md has what one costs."""
    core = SnnInferenceCore(build(SnnInferenceParameters, {}))
    core.activate(NOW)
    layers = model.network.layers
    for k in range(60):
        message = ThermalCompensation(
            silicon_profile="linear",
            model_id=model.model_id,
            compensation_id=k + 1,
            layer=[layer.name for layer in layers],
            du=[layer.neuron.du + k % 7 + 1 for layer in layers],
            dv=[layer.neuron.dv + k % 7 + 1 for layer in layers],
        )
        core.receive("thermal/compensation", message, NOW)
    assert core.tick("telemetry", NOW)[0].message.compensation_id_applied == 60
    in_force = core._network.engine.state().registers
    assert [(r["du"], r["dv"]) for r in in_force] == list(zip(message.du, message.dv, strict=True))
    core.close()


# -- two models of a roll-out ------------------------------------------------------------------------------------------
def test_each_model_of_a_roll_out_is_compensated_by_its_own_time_constants(model, tmp_path):
    slower = [replace(layer.neuron, du=layer.neuron.du // 2, dv=layer.neuron.dv // 2) for layer in model.network.layers]
    layers = [replace(layer, neuron=neuron) for layer, neuron in zip(model.network.layers, slower, strict=True)]
    candidate = replace(model, network=Network(tuple(layers), model.network.input_shape), name="slower")
    save_model(candidate, tmp_path / "slower.safetensors")
    flight = Flight(model, inference={"model_folders": [str(tmp_path)]})
    flight.run(*[60.0] * 60, windows=False)

    def switch(command, **options):
        flight.bus.run("snn_inference", flight.inference.switch(command, flight.now_ns, **options))

    def shown(arm):
        return [found for pair in arm.network.engine.effective_registers() for found in pair]

    def nominal(of):
        return [value for layer in of.network.layers for value in (layer.neuron.du, layer.neuron.dv)]

    def check(live, other):
        arms = flight.inference.arms
        assert (arms.live.model.model_id, arms.other.model.model_id) == (live.model_id, other.model_id)
        for arm, of in ((arms.live, live), (arms.other, other)):
            assert arm.network.registers.applied_id > 0
            assert shown(arm) == pytest.approx(nominal(of), rel=0.008, abs=2)
            assert [r["du"] for r in arm.network.engine._programmed] != [x.neuron.du for x in of.network.layers]

    switch(Command.SHADOW, path=str(tmp_path / "slower.safetensors"))
    flight.run(60.0, windows=False)
    check(model, candidate)
    last_two = flight.all(ThermalCompensation)[-2:]
    assert [message.model_id for message in last_two] == [candidate.model_id, model.model_id], "the live one latches"
    switch(Command.PROMOTE)
    flight.run(60.0, windows=False)
    check(candidate, model)
    assert flight.all(ThermalCompensation)[-1].model_id == candidate.model_id
    flight.run(*np.linspace(60.0, 20.0, 40), *[20.0] * 40, windows=False)
    assert flight.health()["compensation"].level == HealthLevel.OK
    assert flight.health()["compensation"].values["model_id"] == candidate.model_id
    for arm, of in ((flight.inference.arms.live, candidate), (flight.inference.arms.other, model)):
        assert shown(arm) == pytest.approx(nominal(of), rel=0.008, abs=2)
    # The thermal node starts again: it knows the configured model alone, until it hears what runs.
    flight.thermal = flight.new_thermal()
    flight.start()
    flight.run(*[20.0] * 20, windows=False)
    check_ids = {message.model_id for message in flight.all(ThermalCompensation)[-2:]}
    assert check_ids == {candidate.model_id, model.model_id}
    assert shown(flight.inference.arms.live) == pytest.approx(nominal(candidate), rel=0.008, abs=2)
    switch(Command.ROLLBACK)
    flight.run(20.0, windows=False)
    assert flight.all(ThermalCompensation)[-1].model_id == model.model_id
    assert flight.health()["compensation"].level == HealthLevel.OK
    assert flight.inference.diagnose(flight.now_ns)[3].level == HealthLevel.OK


@pytest.mark.parametrize(
    "changes",
    [{"live_du": [1]}, {"live_dv": [5000]}, {"other_layer": ["x"]}, {"step_s": float("nan")}, {"live_id": ""}],
    ids=str,
)
def test_a_status_that_contradicts_itself_changes_nothing(model, changes):
    flight = Flight(model).run(25.0, windows=False)
    status = flight.inference.arms.status(flight.now_ns)
    assert flight.thermal.receive("rollout", replace(status, **changes), flight.now_ns) == ()
    flight.run(25.0, windows=False)
    assert flight.last(ThermalCompensation).model_id == model.model_id
