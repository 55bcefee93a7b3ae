# SPDX-License-Identifier: Apache-2.0
"""What is normal: fitted given the input rate and the class, written, read back, and refused when it is none."""

import dataclasses
import json
import math

import numpy as np
import pytest
from canary_reports import build_baseline, report
from hypothesis import given
from hypothesis import strategies as st

from neuro_ros.canary import (
    BaselineBuilder,
    BaselineError,
    Relation,
    SelfTestAnswer,
    Spread,
    find_baselines,
    load_baseline,
)
from neuro_ros.canary.relation import deviation
from neuro_ros.resources import models_directory


def fitted(n=400, noise=0.0, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.01, 0.1, n)
    scene = np.arange(n) // 10
    off = np.exp(noise * rng.standard_normal(scene.max() + 1))[scene]
    return Relation.fit(scene, x, 0.5 * x * off)


def test_a_relation_is_found_and_knows_its_range():
    relation = fitted()
    for x in (0.02, 0.05, 0.08):
        assert relation.expected(x) == pytest.approx(0.5 * x, rel=0.08)
    assert relation.scene_spread < 0.03
    assert math.isnan(relation.expected(0.2))
    assert math.isnan(relation.expected(0.001))
    assert math.isnan(relation.expected(math.nan))


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_the_spread_is_that_between_scenes(noise):
    assert fitted(4000, noise).scene_spread == pytest.approx(noise, rel=0.25)


def test_the_leading_class_counts(baseline):
    out = baseline.layer("out").rate
    assert out.by_class[3] / out.by_class[0] == pytest.approx(4.0, rel=0.1)
    assert out.by_class[7] == 1.0  # never led
    assert out.scene_spread < 0.15  # without the classes it would be 0.5
    assert baseline.margin.expected[1] == pytest.approx(0.4, abs=0.02)
    assert math.isnan(baseline.margin.expected[9])
    assert baseline.accuracy.mean == pytest.approx(0.9, abs=0.05)
    assert baseline.layer("nobody") is None


def test_too_little_is_no_baseline():
    with pytest.raises(BaselineError, match="too few"):
        Relation.fit([0] * 100, [0.1] * 100, [0.1] * 100)
    builder = BaselineBuilder(("conv", "out"), (1000, 11), 11)
    with pytest.raises(BaselineError, match="does not fit"):
        builder.add_report(dataclasses.replace(report(0), layer=("other",)))
    for scene in range(20):
        builder.begin_scene()
        for second in range(10):
            builder.add_report(report(second, moving_share=0.5))  # half still
        builder.add_margin(scene % 3, 0.5)
    with pytest.raises(BaselineError, match="too few"):
        builder.build("m", "m")


@given(st.floats(allow_nan=True), st.floats(allow_nan=True))
def test_deviations_are_bounded(seen, expected):
    value = deviation(seen, expected)
    assert math.isnan(value) or -3.0 <= value <= 3.0


def test_a_file_comes_back_as_it_went(tmp_path, baseline):
    path = tmp_path / "m.baseline.json"
    baseline.save(path)
    again = load_baseline(path)
    assert again.as_dict() == baseline.as_dict()
    again.save(path)
    assert load_baseline(path).as_dict() == baseline.as_dict()
    for x in (0.03, 0.06):
        assert again.layer("conv").rate.expected(x, 1) == pytest.approx(
            baseline.layer("conv").rate.expected(x, 1), rel=1e-4
        )
    assert list(tmp_path.iterdir()) == [path]


def test_what_came_later_comes_back_and_may_be_missing(tmp_path, baseline):
    path = tmp_path / "m.baseline.json"
    assert (baseline.self_test, baseline.isolated_on) == (None, None)
    more = dataclasses.replace(
        baseline, self_test=SelfTestAnswer(1, (5, 0), (1 << 31, 7)), isolated_on=Spread(0.6, 0.1, 0.5, 0.9)
    )
    more.save(path)
    again = load_baseline(path)
    assert (again.self_test, again.isolated_on) == (more.self_test, more.isolated_on)
    values = more.as_dict()
    del values["self_test"], values["isolated_on"]
    path.write_text(json.dumps(values))
    assert load_baseline(path).as_dict() == baseline.as_dict()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("self_test", {"probe": 1, "spikes": [1], "checksums": [1]}),  # of two layers
        ("self_test", {"probe": 1, "spikes": [1, 2], "checksums": [1, -2]}),
        ("self_test", {"probe": 1, "spikes": [1, 2]}),
        ("self_test", None),
        ("self_test", [1]),
        ("self_test", {"probe": "x", "spikes": [1, 2], "checksums": [1, 2]}),
        ("isolated_on", {"mean": 0.5, "spread": 0.1, "low": 0.7, "high": 0.6}),
        ("isolated_on", {"mean": 0.5, "spread": 0.1}),
        ("isolated_on", 0.5),
    ],
)
def test_what_came_later_is_checked_too(tmp_path, baseline, key, value):
    path = tmp_path / "m.baseline.json"
    path.write_text(json.dumps({**baseline.as_dict(), key: value}))
    with pytest.raises(BaselineError, match=str(path)):
        load_baseline(path)


def test_the_builder_takes_the_answer_and_the_isolated_cells_of_each_scene():
    builder = BaselineBuilder(("conv", "out"), (1000, 11), 11)
    answer = SelfTestAnswer(1, (5, 6), (7, 8))
    for scene in range(10):
        builder.begin_scene()
        for second in range(5):
            isolated = {"isolated": 100, "isolated_on": 60 + scene} if second else {}
            builder.add_report(
                report(
                    second,
                    input_rate=0.02 + 0.01 * second,
                    moving_share=1.0,
                    self_test=answer if scene == 1 else None,
                    **isolated,
                )
            )
        builder.add_margin(scene % 3, 0.5)
    found = builder.build("m", "m")
    assert found.self_test == answer
    assert (found.isolated_on.low, found.isolated_on.high) == pytest.approx((0.6, 0.69))
    assert found.isolated_on.mean == pytest.approx(0.645)


def test_an_unwritable_path_is_one_line(tmp_path, baseline):
    with pytest.raises(BaselineError, match="cannot be written"):
        baseline.save(tmp_path / "nowhere" / "m.baseline.json")


def broken(values, change):
    change(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda v: v.update(format="x"), "is not a neuro_ros.baseline"),
        (lambda v: v.update(version=2), "version 2"),
        (lambda v: v.pop("layers"), "layers"),
        (lambda v: v.update(layers=[]), "layers"),
        (lambda v: v["layers"].append(v["layers"][0]), "equal names"),
        (lambda v: v["layers"][0]["rate"].update(mean=[1.0]), "bins"),
        (lambda v: v["layers"][0]["rate"].update(input_rate=[0.0] * 8), "ascending"),
        (lambda v: v["layers"][0]["rate"].update(scene_spread=-1.0), "spread"),
        (lambda v: v["accuracy"].update(mean="many"), "many"),
        (lambda v: v.update(model_id=7), "no name"),
        (lambda v: v["margin"].update(expected=[3.0]), "shares"),
        (lambda v: v["margin"].update(spread=math.inf), "finite"),
        (lambda v: v.update(latency=[1]), "not a usable"),
    ],
)
def test_what_is_no_baseline_is_refused_in_a_line(tmp_path, baseline, change, named):
    path = tmp_path / "m.baseline.json"
    path.write_text(broken(json.loads(json.dumps(baseline.as_dict())), change))
    with pytest.raises(BaselineError, match=named) as caught:
        load_baseline(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


names = st.sampled_from(["format", "layers", "margin", "version"])
documents = st.recursive(
    st.none() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
)


@given(st.binary(max_size=200) | documents.map(lambda document: json.dumps(document).encode()))
def test_no_bytes_break_the_reader(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "x.baseline.json"
    path.write_bytes(data)
    with pytest.raises(BaselineError):
        load_baseline(path)


def test_a_huge_or_deep_file_is_refused(tmp_path):
    path = tmp_path / "x.baseline.json"
    path.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(BaselineError, match="longer"):
        load_baseline(path)
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(BaselineError, match=r"is not a neuro_ros\.baseline"):
        load_baseline(path)
    with pytest.raises(BaselineError, match="cannot be read"):
        load_baseline(tmp_path)


def test_baselines_are_found_by_model_and_a_bad_one_is_named(tmp_path, baseline):
    baseline.save(tmp_path / "m.baseline.json")
    build_baseline("n-0123456789ab", 10).save(tmp_path / "other.baseline.json")
    (tmp_path / "bad.baseline.json").write_text("{}")
    found, refused = find_baselines([tmp_path, tmp_path / "missing"])
    assert sorted(found) == ["m-0123456789ab", "n-0123456789ab"]
    assert len(refused) == 1
    assert "bad.baseline.json" in refused[0]


def test_every_shipped_model_has_its_baseline():
    from neuro_ros.snn import load_model

    found, refused = find_baselines([models_directory()])
    assert refused == []
    for path in models_directory().glob("*.safetensors"):
        model = load_model(path)
        baseline = found[model.model_id]
        assert baseline.model_digest == model.digest
        names = [
            (layer.name, math.prod(shape))
            for layer, shape in zip(model.network.layers, model.network.shapes, strict=True)
        ]
        assert [(layer.name, layer.neurons) for layer in baseline.layers] == names
        assert baseline.measured["recordings"] >= 50
        assert baseline.self_test is not None
        assert baseline.isolated_on is not None
        assert len(baseline.margin.expected) == len(model.labels)
