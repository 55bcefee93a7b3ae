# SPDX-License-Identifier: Apache-2.0
"""The Lava back end beside the fixed engine: state, registers, refusals, and the life of the worker process."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from extreme_network import extreme_model

from neuro_ros.snn import (
    BackendUnavailableError,
    Conv2d,
    Dense,
    EngineError,
    Layer,
    Lif,
    Model,
    Network,
    NetworkError,
    Projection,
    SumPool2d,
    UnsupportedLayerError,
    create_engine,
)
from neuro_ros.snn.lava_shim import INSTALL_HINT, has_lava
from neuro_ros.snn.lava_support import refused_layers
from neuro_ros.snn.reference import ReferenceEngine

pytestmark = [pytest.mark.lava, pytest.mark.skipif(not has_lava(), reason=f"Lava is not installed: {INSTALL_HINT}")]


def assert_same(lava, fixed, lava_result, fixed_result):
    for step, (ours, theirs) in enumerate(zip(fixed_result.steps, lava_result.steps, strict=True)):
        for layer, (own, other) in enumerate(zip(ours, theirs, strict=True)):
            np.testing.assert_array_equal(other, own, err_msg=f"spikes of layer {layer} at step {step}")
    for name in ("spike_counts", "layer_spikes", "layer_synaptic_ops"):
        np.testing.assert_array_equal(getattr(lava_result, name), getattr(fixed_result, name), err_msg=name)
    for index, (ours, theirs) in enumerate(zip(fixed.state().layers, lava.state().layers, strict=True)):
        for name in ("u", "v", "a_buff"):
            where = f"{name} of layer {index}"
            np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name), err_msg=where)


def hold_both(lava, fixed, indices, bins):
    assert_same(lava, fixed, lava.run_window(indices, bins, record=True), fixed.run_window(indices, bins, record=True))


def rebuilt(engine, model):
    """Let the worker of `engine` run another model; saves the seconds of a new worker for each random network."""
    engine.load(model)
    return engine


@pytest.fixture(scope="module")
def engine():
    network = Network([Layer("only", Dense(np.array([[64]], np.int16)), Lif(0, 0, 10))], (1, 1, 1))
    lava = create_engine(Model(network, ["one"]), "lava")
    yield lava
    lava.close()


def test_wrap_and_saturation_agree(engine, reference):
    model = extreme_model()
    lava, fixed, simulator = rebuilt(engine, model), create_engine(model), reference(model)
    rng = np.random.default_rng(5)
    for density in (1.0, 1.0, 0.5, 1.0, 0.0):
        indices = np.flatnonzero(rng.random(8 * 25) < density).astype(np.uint32)
        simulator.run(indices, 8)
        hold_both(lava, fixed, indices, 8)
    assert simulator.wraps > 0
    assert simulator.saturations > 0


def test_state_carries_over_windows_and_between_back_ends(engine):
    model = extreme_model()
    rng = np.random.default_rng(6)
    windows = [np.flatnonzero(rng.random(20 * 25) < 0.4).astype(np.uint32) for _ in range(4)]  # longer than one chunk
    straight = create_engine(model)
    expected = [straight.run_window(indices, 20, record=True) for indices in windows]
    lava, fixed = rebuilt(engine, model), create_engine(model)
    first = fixed.run_window(windows[0], 20, record=True)
    lava.set_state(fixed.state())
    second = lava.run_window(windows[1], 20, record=True)
    third = lava.run_window(windows[2], 20, record=True)
    again = create_engine(model)
    again.set_state(lava.state())
    fourth = again.run_window(windows[3], 20, record=True)
    for result, wanted in zip((first, second, third, fourth), expected, strict=True):
        for own, other in zip(result.steps, wanted.steps, strict=True):
            for spikes, wanted_spikes in zip(own, other, strict=True):
                np.testing.assert_array_equal(spikes, wanted_spikes)


def winding_model():
    """Return a network with a skip, recurrence, delays, pooling and payloads, in which much is in flight."""
    rng = np.random.default_rng(8)

    def drawn(*shape):
        return (rng.integers(-30, 50, shape) * 2).astype(np.int16)

    pooled = Projection(SumPool2d(64, 2, weight_exp=-1), delays=rng.integers(0, 4, (2, 6, 6)))
    skipped = Projection(Conv2d(drawn(2, 1, 4, 4), 1, 0, groups=2), "input", 2)
    own = Projection(Dense(drawn(3, 3), -2), "out", np.array([0, 5, 1]).reshape(3, 1, 1))
    network = Network(
        [
            Layer("pool", pooled, Lif(300, 200, 30)),
            Layer("conv", [Projection(Conv2d(drawn(2, 2, 1, 1))), skipped], Lif(300, 200, 90)),
            Layer("out", [Projection(Dense(drawn(3, 18))), own], Lif(300, 200, 60, [1, 2, 3], 3)),
        ],
        (2, 6, 6),
        input_bits=3,
    )
    return Model(network, list("abc"))


def test_all_that_is_in_flight_moves_between_back_ends(engine):
    model = winding_model()
    lava, own = rebuilt(engine, model), ReferenceEngine(model)
    rng = np.random.default_rng(9)
    before = lava.costs()

    def window():
        indices = np.flatnonzero(rng.random(7 * model.cells) < 0.1).astype(np.uint32)
        return indices, 7, True, rng.integers(1, 8, indices.size).astype(np.uint8)

    own.run_window(*window())
    for number, rebuilds in enumerate((1, 1, 2, 2)):  # before any step, and for other registers; else it is written
        state = own.state()
        assert all(np.any(layer.a_buff) for layer in state.layers), "or there is nothing to move"
        lava.set_state(state)
        assert lava.costs()["rebuilds"] == before["rebuilds"] + rebuilds
        given = window()
        assert_same(lava, own, lava.run_window(*given), own.run_window(*given))
        given = window()
        back = ReferenceEngine(model)
        back.set_state(lava.state())
        assert_same(lava, back, lava.run_window(*given), back.run_window(*given))
        if number == 1:
            own.set_registers("conv", du=700)


def test_reset_and_registers(engine, caplog):
    model = extreme_model()
    lava, fixed = rebuilt(engine, model), create_engine(model)
    before = lava.costs()
    indices = np.arange(0, 100, 3, dtype=np.uint32)
    hold_both(lava, fixed, indices, 4)
    with caplog.at_level(logging.INFO, "neuro_ros.snn.lava_engine"):
        for each in (lava, fixed):
            each.set_registers("conv", du=900, vth=5)
            each.set_registers("dense", dv=7)
            each.set_registers("dense", dv=7)  # in force already
        assert lava.state().registers == fixed.state().registers
        assert lava.costs() == before, "nothing is built before it is needed"
        hold_both(lava, fixed, indices, 4)
    after = lava.costs()
    assert after["rebuilds"] == before["rebuilds"] + 1, "once for both layers"
    assert after["rebuild_total_s"] == pytest.approx(before["rebuild_total_s"] + after["rebuild_s"])
    assert f"built anew for other registers in {after['rebuild_s']:.2f} s" in caplog.text
    for each in (lava, fixed):
        state = each.state()
        each.set_registers("dense", dv=4000)
        each.set_state(state)  # which takes the change back before it was built
    hold_both(lava, fixed, indices, 4)
    for each in (lava, fixed):
        each.reset()
    hold_both(lava, fixed, indices, 4)
    assert lava.costs() == after, "a small state is written, not built"
    for own, other in zip(fixed.neuron_spikes(), lava.neuron_spikes(), strict=True):
        assert own.shape == other.shape
    with pytest.raises(EngineError, match="unknown register"):
        lava.set_registers("conv", tau=1)
    with pytest.raises(NetworkError, match="du is 4096"):
        lava.set_registers("conv", du=4096)
    hold_both(lava, fixed, indices, 4)
    assert lava.costs() == after


def test_worker_that_dies_of_a_register_change_costs_no_window(engine, caplog):
    model = extreme_model()
    lava, fixed = rebuilt(engine, model), create_engine(model)
    before, pid = lava.costs(), lava.worker_pid
    indices = np.arange(0, 100, 3, dtype=np.uint32)
    hold_both(lava, fixed, indices, 4)
    for each in (lava, fixed):
        each.set_registers("conv", du=900)
    os.kill(pid, signal.SIGKILL)
    hold_both(lava, fixed, indices, 4)
    after = lava.costs()
    assert after["rescues"] == before["rescues"] + 1
    assert after["starts"] == before["starts"] + 1
    assert after["start_s"] > 0
    assert after["rebuild_s"] > after["start_s"], "it is part of the cost"
    assert "going on from that state in another worker" in caplog.text
    assert lava.worker_pid != pid


def process_group(pid):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[2]) == pid and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def shared_memory(pid):
    """Return the segments that a process group has mapped; others on this machine may run Lava too."""
    found = set()
    for member in process_group(pid):
        try:
            maps = (Path("/proc") / str(member) / "maps").read_text()
        except OSError:  # ended meanwhile
            continue
        found |= {Path(line.split()[5]) for line in maps.splitlines() if "/dev/shm/psm_" in line}
    return found


def started(pid):
    """Return when a process was started [clock ticks since boot]; process ids wrap around, so they do not tell."""
    fields = (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[19])  # field 22 of proc(5), counted from the state


def test_killed_worker_is_a_clear_error_and_restarts(eventually):
    model = extreme_model()
    lava, fixed = create_engine(model, "lava"), create_engine(model)
    indices = np.arange(0, 100, 3, dtype=np.uint32)
    hold_both(lava, fixed, indices, 4)
    saved, pid = fixed.state(), lava.worker_pid
    segments = shared_memory(pid)
    assert len(process_group(pid)) > 5
    assert len(segments) > 5
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="the Lava worker died"):
        lava.run_window(indices, 4)
    with pytest.raises(EngineError, match="restart"):
        lava.run_window(indices, 4)
    assert process_group(pid) == []
    assert not any(path.exists() for path in segments)
    lava.restart(saved)
    hold_both(lava, fixed, indices, 4)
    # one of Lava's own processes: the others would wait for it for ever
    os.kill(max(process_group(lava.worker_pid), key=started), signal.SIGKILL)
    with pytest.raises(EngineError, match="Lava worker"):
        lava.run_window(indices, 4)
    lava.restart()
    pid = lava.worker_pid
    lava.run_window(indices, 4)
    segments = shared_memory(pid)
    lava.close()
    lava.close()
    eventually(lambda: not process_group(pid), 10, what="the end of Lava's processes")
    assert not any(path.exists() for path in segments)
    with pytest.raises(EngineError, match="closed"):
        lava.run_window(indices, 4)


def test_start_up_that_fails_is_a_clear_error(monkeypatch, tmp_path):
    model = extreme_model()
    with pytest.raises(EngineError, match=r"no answer to starting Lava within 0\.01 s"):
        create_engine(model, "lava", start_timeout_s=0.01)
    broken = tmp_path / "lava" / "magma"
    broken.mkdir(parents=True)
    (broken.parent / "__init__.py").touch()
    (broken / "__init__.py").write_text("raise ImportError('half an installation')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(BackendUnavailableError, match="'lava' needs Lava: ImportError: half an installation"):
        create_engine(model, "lava")


def test_window_time_out():
    model = extreme_model()
    lava = create_engine(model, "lava", window_timeout_s=60.0)
    os.kill(lava.worker_pid, signal.SIGSTOP)
    lava._window_timeout_s = 0.2
    with pytest.raises(EngineError, match=r"no answer to 'run' within 0\.2 s"):
        lava.run_window(np.zeros(0, np.uint32), 1)
    lava.close()


def test_worker_ends_with_its_parent(eventually, tmp_path):
    script = tmp_path / "robot.py"  # a program of its own without a __main__ guard
    script.write_text(
        textwrap.dedent("""
        import os, signal, sys
        import numpy as np
        from neuro_ros.snn import Dense, Layer, Lif, Model, Network, create_engine
        network = Network([Layer("only", Dense(np.array([[64]], np.int16)), Lif(0, 0, 10))], (1, 1, 1))
        engine = create_engine(Model(network, ["one"]), "lava")
        engine.run_window(np.array([0], np.uint32), 2)
        print(engine.worker_pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    pid = int(done.stdout)
    eventually(lambda: not process_group(pid), 10, what="the end of the orphaned worker")


def test_refuses_what_lava_cannot_represent():
    resting = Layer("resting", Dense(np.full((4, 4), 2, np.int16)), Lif(0, 0, 1, refractory=3))
    model = Model(Network([resting, resting_after("late")], (1, 2, 2)), ["one"])
    for backend in ("lava", "loihi"):
        with pytest.raises(UnsupportedLayerError, match=r"layer 'resting' exactly: .* \(3 steps\).*floating") as caught:
            create_engine(model, backend)
        assert caught.value.layer == "resting"
        assert [error.layer for error in caught.value.further] == ["late"]


def resting_after(name):
    return Layer(name, Dense(np.full((1, 4), 2, np.int16)), Lif(0, 0, 1, refractory=1))


def test_refuses_what_would_take_too_much_memory():
    conv = Conv2d(np.full((1, 1, 5, 5), 2, np.int16), 1, 2, weight_exp=-1)
    assert (
        "expanded into"
        in refused_layers(Network([Layer("large", conv, Lif(0, 0, 1))], (1, 512, 512)), "lava")[0].reason
    )
    assert refused_layers(Network([Layer("fits", conv, Lif(0, 0, 1))], (1, 128, 128)), "lava") == []


def test_loihi_names_what_is_missing():
    network = Network([Layer("only", Dense(np.array([[64]], np.int16)), Lif(0, 0, 10))], (1, 1, 1))
    with pytest.raises(BackendUnavailableError, match="Intel's extension of Lava for Loihi hardware"):
        create_engine(Model(network, ["one"]), "loihi")
