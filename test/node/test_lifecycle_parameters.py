# SPDX-License-Identifier: Apache-2.0
"""Parameters of the lifecycle shell: refusals with a reason, changes that reach the core."""

import math

import pytest
from lifecycle_probe import (
    SUCCESS,
    Probe,
    ProbeParameters,
    bring_up,
)
from rcl_interfaces.srv import DescribeParameters, SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter

from neuro_ros.cores.parameters import ParameterError
from neuro_ros.nodes.lifecycle import LifecycleShell


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"rtae": 1.0}, "unknown parameter rtae"),
        ({"group.gian": 1.0}, "unknown parameter group.gian"),
        ({"rate": 11.0}, r"rate: 11.0 is outside \[0, 10\] Hz"),
        ({"rate": math.nan}, "rate: nan is outside"),
        ({"rate": "1"}, "rate: '1' is a str"),
        ({"count": 2.0}, "count: 2.0 is a float"),
        ({"count": 6}, "count: 6 is outside"),
        ({"mode": "c"}, "mode: 'c' is not one of a, b"),
        ({"rate": 5.0, "limit": 4.0}, "rate 5 is above limit 4"),
        ({"group.gain": -1.0}, "group.gain: -1.0 is outside"),
    ],
)
def test_a_bad_override_ends_the_start_and_is_named(bed, overrides, text):
    with pytest.raises(ParameterError, match=text):
        bed.make(LifecycleShell, "probe", Probe, ProbeParameters, parameters=overrides)


def test_overrides_reach_the_core(make_probe):
    node = make_probe({"rate": 2, "count": 4, "names": ["x", "y"], "group.gain": 0.25})  # 2 stands for 2.0
    assert node.trigger_configure() == SUCCESS
    found = node.core.parameters
    assert (found.rate, found.count, tuple(found.names), found.group.gain) == (2.0, 4, ("x", "y"), 0.25)
    assert node.get_parameter("rate").value == 2.0


def set_parameters(bed, atomically=False, **values):
    parameters = [Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in values.items()]
    if atomically:
        request = SetParametersAtomically.Request(parameters=parameters)
        return [bed.call(SetParametersAtomically, "probe/set_parameters_atomically", request).result]
    return bed.call(SetParameters, "probe/set_parameters", SetParameters.Request(parameters=parameters)).results


@pytest.mark.parametrize("threaded", [False, True])
def test_dynamic_parameters_reach_the_core(bed, make_probe, threaded):
    node = make_probe(threaded=threaded)
    bring_up(node)
    (result,) = set_parameters(bed, rate=3.0)
    assert result.successful
    (result,) = set_parameters(bed, group__gain=0.75)
    assert result.successful
    bed.until(lambda: node.core.names().count("reconfigure") == 2)
    assert (node.core.parameters.rate, node.core.parameters.group.gain) == (3.0, 0.75)
    assert node.parameters == node.core.parameters
    set_parameters(bed, rate=3.0)  # no change, no call
    assert node.core.names().count("reconfigure") == 2


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"rate": 11.0}, "rate"),
        ({"rate": math.nan}, "nan"),
        ({"rate": "fast"}, "type"),
        ({"mode": "c"}, "not one of a, b"),
        ({"limit": 0.5}, "rate 1 is above limit 0.5"),
        ({"count": 4}, "only while the node is unconfigured"),
        ({"names": ["z"]}, "only while the node is unconfigured"),
        ({"nonsense": 1}, "undeclared"),
    ],
)
def test_a_refused_change_says_why_and_changes_nothing(bed, make_probe, values, reason):
    node = make_probe()
    bring_up(node)
    before = node.parameters
    (result,) = set_parameters(bed, **values)
    assert not result.successful
    assert reason in result.reason
    assert node.parameters == before
    assert "reconfigure" not in node.core.names()
    for name in values:
        if node.has_parameter(name):
            assert node.get_parameter(name).value == getattr(before, name) or name == "names"


def test_changes_together_are_judged_together(bed, make_probe):
    node = make_probe()
    bring_up(node)
    (result,) = set_parameters(bed, atomically=True, rate=2.0, limit=1.0)
    assert not result.successful
    (result,) = set_parameters(bed, atomically=True, limit=2.0, rate=2.0)
    assert result.successful
    assert node.core.names().count("reconfigure") == 1


def test_what_is_not_dynamic_changes_while_unconfigured(bed, make_probe):
    node = make_probe()
    (result,) = set_parameters(bed, count=5)
    assert result.successful
    assert node.trigger_configure() == SUCCESS
    assert node.core.parameters.count == 5
    assert not set_parameters(bed, count=4)[0].successful
    assert node.trigger_cleanup() == SUCCESS
    assert set_parameters(bed, count=4)[0].successful


def test_descriptors_tell_ranges_choices_and_units(bed, make_probe):
    make_probe()
    request = DescribeParameters.Request(names=["rate", "count", "mode", "limit"])
    rate, count, mode, limit = bed.call(DescribeParameters, "probe/describe_parameters", request).descriptors
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (0.0, 10.0)
    assert "[Hz]" in rate.description
    assert "dynamic" in rate.additional_constraints
    assert (count.integer_range[0].from_value, count.integer_range[0].to_value) == (1, 5)
    assert "unconfigured" in count.additional_constraints
    assert "one of: a, b" in mode.additional_constraints
    assert limit.floating_point_range[0].to_value > 1e308
