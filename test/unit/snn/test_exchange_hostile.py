# SPDX-License-Identifier: Apache-2.0
"""Files that are damaged or mean harm: one line each, in bounded time and memory."""

import json
import os
import pickle
import resource
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from neuro_ros.hdf5 import _guard
from neuro_ros.snn import ModelError
from neuro_ros.snn.exchange import ImportOptions, export_model, import_model
from neuro_ros.snn.exchange.fields import write_tree

h5py = pytest.importorskip("h5py", reason="h5py is not installed")

DATA = Path(__file__).resolve().parents[2] / "data" / "exchange"
STEP = ImportOptions(step_s=1.0)


def refused(path, *formats):
    """Check that a file is refused in one line, whatever it is said to be, and return the lines."""
    lines = []
    for name in formats or ("netx", "nir"):
        with pytest.raises(ModelError) as refusal:
            import_model(path, name, STEP)
        lines.append(str(refusal.value))
        assert "\n" not in lines[-1]
        assert len(lines[-1]) < 2000
    return lines


def outcome(path, form):
    """Return what an import says, nothing where it makes a network."""
    try:
        import_model(path, form, STEP)
    except ModelError as error:
        return str(error)
    return ""


@pytest.fixture
def trusted(monkeypatch):
    """Leave out the process that looks at the structure first, for files whose structure is sound."""
    monkeypatch.setattr(_guard, "_try_out", lambda path: None)


def test_what_is_no_file_of_that_kind(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("# not HDF5\n")
    with (tmp_path / "pickle").open("wb") as stream:
        pickle.dump({"layer": {}}, stream)
    for name in ("missing", "empty", "text", "pickle", "."):
        refused(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["events"] = np.zeros(3)
    netx, nir = refused(tmp_path / "other.h5")
    assert "no netx network; there are events" in netx
    assert "no NIR graph; there are events" in nir


def test_each_format_refuses_the_other():
    assert "no NIR graph" in refused(DATA / "slayer_1.net", "nir")[0]
    assert "no netx network" in refused(DATA / "sinabs.nir", "netx")[0]


@pytest.mark.parametrize(("name", "form"), [("sinabs.nir", "nir"), ("slayer_2.net", "netx")])
def test_cut_and_garbled_files_end_in_one_line_or_a_network(name, form, tmp_path, counts):
    whole = (DATA / name).read_bytes()
    rng = np.random.default_rng(7)
    path = tmp_path / "damaged"
    for number in range(counts(f"damaged {form}", reduced=5, full=300)):
        data = bytearray(whole)
        if number % 3 == 0:
            data = data[: int(rng.integers(1, len(data)))]
        else:
            for place in rng.integers(0, len(data), int(rng.integers(1, 20))):
                data[place] = int(rng.integers(0, 256))
        path.write_bytes(data)
        assert "\n" not in outcome(path, form)


def nir_file(path, nodes, edges=(("in", "n"), ("n", "out")), **more):
    ends = {"in": {"type": "Input", "shape": np.array([4])}, "out": {"type": "Output", "shape": np.array([4])}}
    top = {"type": "NIRGraph", "nodes": {**ends, **nodes}, "edges": np.array(edges, dtype=object), **more}
    write_tree({"version": "1", "node": top}, path)


LIF = {"type": "LIF", **{name: np.ones(4) * 2.0 for name in ("tau", "r", "v_threshold")}, "v_leak": np.zeros(4)}


def test_groups_in_a_circle(tmp_path):
    path = tmp_path / "circle.nir"
    nir_file(path, {"n": LIF})
    with h5py.File(path, "r+") as file:
        file["node/nodes/again"] = file["node"]  # a hard link to a group above
    (line,) = refused(path, "nir")
    assert "nested deeper than 12, or in a circle" in line


def test_links_to_elsewhere(tmp_path):
    for link in (h5py.SoftLink("/node"), h5py.ExternalLink("/etc/passwd", "/")):
        path = tmp_path / "link.nir"
        nir_file(path, {"n": LIF})
        with h5py.File(path, "r+") as file:
            file["node/nodes/away"] = link
        (line,) = refused(path, "nir")
        assert "/node/nodes/away is a link to elsewhere" in line


def test_what_is_neither_numbers_nor_text(tmp_path, trusted):
    path = tmp_path / "odd.nir"
    for value, dtype in (
        (np.frombuffer(pickle.dumps(os.getcwd), np.uint8), h5py.opaque_dtype(np.dtype("V1"))),
        (np.zeros(4, [("a", "f8"), ("b", "i4")]), None),
        (np.zeros(4, complex), None),
    ):
        nir_file(path, {"n": LIF})
        with h5py.File(path, "r+") as file:
            del file["node/nodes/n/r"]
            data = value.view("V1") if dtype is not None else value
            file["node/nodes/n"].create_dataset("r", data=data)
        (line,) = refused(path, "nir")
        assert "neither numbers nor text" in line


def test_sizes_that_are_not_there(tmp_path):
    path = tmp_path / "huge.net"
    for shape, chunks in (((1 << 20, 1 << 20), (64, 64)), ((1 << 13, 1 << 12), (64, 64)), ((1 << 12, 1 << 12), None)):
        with h5py.File(path, "w") as file:
            layer = file.create_group("layer/0")
            layer["type"] = np.array([b"dense"], "S10")
            layer.create_dataset("weight", shape, "f4", chunks=chunks)
        (line,) = refused(path, "netx")
        assert "/layer/0/weight" in line


def test_a_deflated_bomb(tmp_path):
    path = tmp_path / "bomb.net"
    with h5py.File(path, "w") as file:
        layer = file.create_group("layer/0")
        layer["type"] = np.array([b"dense"], "S10")
        # a chunk that says 4 KiB and unpacks to 64 MiB
        item = layer.create_dataset("weight", (32, 32), "f4", chunks=(32, 32), compression="gzip")
        item.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 26), 9)[:4000])
    (line,) = refused(path, "netx")
    assert "not readable as HDF5" in line


def test_numbers_beyond_reason(tmp_path, trusted):
    path = tmp_path / "beyond.nir"
    conv = {
        "type": "Conv2d",
        "weight": np.ones((1, 1, 2, 2)),
        "stride": np.array([1, 1]),
        "padding": np.array([0, 0]),
        "dilation": np.array([1, 1]),
        "groups": 1,
        "bias": np.zeros(1),
    }
    edges = (("in", "c"), ("c", "n"), ("n", "out"))
    for change in (
        {"padding": np.array([1 << 40, 0])},
        {"padding": np.array([1000, 1000])},
        {"stride": np.array([0, 1])},
        {"dilation": np.array([1 << 30, 1])},
        {"groups": 0},
        {"groups": -3},
        {"padding": "sideways"},
        {"weight": np.ones((1, 1, 0, 2))},
        {"weight": np.full((1, 1, 2, 2), np.inf)},
    ):
        nir_file(path, {"c": conv | change, "n": LIF}, edges)
        refused(path, "nir")
    for changes in (
        {"tau": np.full(4, 1e-300)},
        {"tau": np.zeros(4)},
        {"tau": np.full(4, -5.0)},
        {"r": np.full(4, 1e308)},
        {"r": np.full(4, 1e-308)},
        {"v_threshold": np.full(4, 1e308)},
        {"v_leak": np.full(4, 1e300)},
    ):
        nir_file(path, {"n": LIF | changes})
        assert "\n" not in outcome(path, "nir")
    for sizes in ([1 << 40], [-4], [0], [1] * 9 + [4, 4, 4, 4], [1 << 12, 1 << 12]):
        nir_file(path, {"n": LIF})
        with h5py.File(path, "r+") as file:
            del file["node/nodes/in/shape"]
            file["node/nodes/in/shape"] = np.array(sizes)
        refused(path, "nir")


def test_ways_that_multiply(tmp_path, trusted):
    # each stage doubles the ways from the input: 2^20 of them
    nodes, edges = {}, []
    before = "in"
    for stage in range(20):
        for side in "ab":
            nodes[f"{side}{stage}"] = {"type": "Linear", "weight": np.eye(4)}
            edges.append((before, f"{side}{stage}"))
        nodes[f"s{stage}"] = {"type": "Scale", "scale": np.ones(4)}
        edges += [(f"a{stage}", f"s{stage}"), (f"b{stage}", f"s{stage}")]
        before = f"s{stage}"
    nodes["n"] = LIF
    nir_file(tmp_path / "ways.nir", nodes, [*edges, (before, "n"), ("n", "out")])
    (line,) = refused(tmp_path / "ways.nir", "nir")
    assert "64 are understood" in line


def test_little_files_that_become_large(tmp_path, trusted):
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    path = tmp_path / "large.nir"
    # a column after a row is a matrix
    nodes, edges, before = {}, [], "in"
    for stage in range(8):
        for name, shape in ((f"row{stage}", (1, 4 if stage == 0 else 2000)), (f"column{stage}", (2000, 1))):
            nodes[name] = {"type": "Linear", "weight": np.ones(shape)}
            edges.append((before, name))
            before = name
    nodes["n"] = {key: np.resize(value, 2000) if key != "type" else value for key, value in LIF.items()}
    nir_file(path, nodes, [*edges, (before, "n"), ("n", "out")])
    assert import_model(path, "nir", STEP).model.network.classes == 2000  # four columns all along
    conv = {"type": "Conv2d", "groups": 1, "bias": np.zeros(1), "stride": np.array([1, 1])}
    thin = {"padding": np.array([1023, 1023]), "dilation": np.array([1023, 1023]), "weight": np.ones((64, 1, 3, 3))}
    wide = {"padding": np.array([1024, 1024]), "dilation": np.array([1, 1]), "weight": np.ones((1, 1, 1024, 1024))}
    for changes in (thin, wide, thin | {"stride": np.array([1024, 1024])}):
        kernels = changes | {"bias": np.zeros(len(changes["weight"]))}
        back = {
            "padding": np.array([1, 1]),
            "dilation": np.array([1, 1]),
            "weight": np.ones((4, len(changes["weight"]), 3, 3)),
        }
        nodes = {"c": conv | kernels, "d": conv | back | {"bias": np.zeros(4)}, "n": LIF}
        write = {"in": {"type": "Input", "shape": np.array([changes["weight"].shape[1], 2, 2])}}
        nir_file(path, nodes | write, (("in", "c"), ("c", "d"), ("d", "n"), ("n", "out")))
        assert "\n" not in outcome(path, "nir")
    inner = {
        f"{kind}{index}": {"type": kind, "shape": np.array([4])} for kind in ("Input", "Output") for index in range(9)
    }
    graph = {"type": "NIRGraph", "nodes": inner, "edges": np.array([("Input0", "Output0")], dtype=object)}
    nir_file(path, {"g": graph, "h": graph, "n": LIF}, [("in", "g"), *[("g", "h")] * 99, ("h", "n"), ("n", "out")])
    (line,) = refused(path, "nir")
    assert "one input and one output" in line
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 3 << 20


def test_remarks_of_our_own_that_are_not(tmp_path, trusted):
    path = tmp_path / "remarks.nir"
    wild = [
        "not JSON",
        "[" * 100_000,
        "[]",
        json.dumps({"scale": -1.0, "weight_exps": [0], "grids": [[8, "mixed"]], "bias_exp": 0, "bias_ndim": 0}),
        json.dumps({"scale": 1e300, "weight_exps": [99], "grids": [[99, "up"]], "bias_exp": -9, "bias_ndim": 7}),
        json.dumps({"scale": "x", "weight_exps": None, "grids": 3, "bias_exp": [], "bias_ndim": {}}),
    ]
    for text in wild:
        nir_file(path, {"n": LIF | {"metadata": {"neuro_ros": text}}}, metadata={"neuro_ros": text})
        assert import_model(path, "nir", STEP).model.network.classes == 4
    broken = {"step_s": 1.0, "labels": [1, 2, 3, 4], "bins": -3, "name": "../../x", "record": {}, "input_bits": 99}
    nir_file(path, {"n": LIF}, metadata={"neuro_ros": json.dumps(broken)})
    refused(path, "nir")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    model = import_model(DATA / "sinabs.nir", "nir", STEP).model
    with pytest.raises(ModelError, match="cannot write"):
        export_model(model, tmp_path / "missing" / "x.nir", "nir")
    with pytest.raises(ModelError, match="unknown format 'onnx'; known are netx, nir"):
        export_model(model, tmp_path / "x.onnx", "onnx")


def test_memory_stays_bounded(tmp_path):
    path = tmp_path / "bound.nir"
    nir_file(path, {"w": {"type": "Linear", "weight": np.zeros((4, 4))}, "n": LIF})
    with h5py.File(path, "r+") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w"].create_dataset("weight", (1 << 16, 1 << 16), "f8", chunks=(128, 128), compression="gzip")
        file["node/nodes/w/weight"][:128, :128] = 1.0
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from neuro_ros.cli.command import main; import sys; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["import", str(path), "--format", "nir", "--step", "1", "--out", str(tmp_path / "out.safetensors")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "has 34359738368 bytes" in done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1 << 21
