# SPDX-License-Identifier: Apache-2.0
"""config/NODE.yaml holds every parameter of NODE at its default, and nothing else; docs/parameters.md tells them."""

import dataclasses

import pytest
import yaml

from neuro_ros.cores import parameters
from neuro_ros.cores.parameters import build, config_yaml, flatten, markdown_page, node_names, parameter_class
from neuro_ros.resources import config_directory, share_directory

NODES = node_names()
FILES = sorted(path.stem for path in config_directory().glob("*.yaml"))


PAGE = share_directory() / "docs" / "parameters.md"
REMEDY = "run: python -m neuro_ros.cores.parameters"


@pytest.mark.parametrize("node", FILES)
def test_the_file_is_what_the_dataclass_makes(node):
    assert (config_directory() / f"{node}.yaml").read_text(encoding="utf-8") == config_yaml(node), REMEDY


@pytest.mark.skipif(not PAGE.is_file(), reason="docs/ stands in the source tree only")
def test_the_page_is_what_the_dataclasses_make():
    assert PAGE.read_text(encoding="utf-8") == markdown_page(), REMEDY


def flat(tree, prefix=""):
    values = {}
    for name, value in tree.items():
        values.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return values


def test_every_node_has_its_file_and_every_file_its_node():
    assert FILES == NODES
    assert NODES


@pytest.mark.parametrize("node", FILES)
def test_the_file_has_every_parameter_at_its_default(node):
    cls = parameter_class(node)
    document = yaml.safe_load((config_directory() / f"{node}.yaml").read_text())
    ((name, body),) = document.items()
    assert name in (node, f"/**/{node}", "/**")
    assert list(body) == ["ros__parameters"]
    values = flat(body["ros__parameters"] or {})
    assert values == flatten(build(cls))
    # A default written as 1 instead of 1.0 would be refused by the typed ROS parameter.
    assert {key: type(value) for key, value in values.items()} == {
        key: type(value) for key, value in flatten(build(cls)).items()
    }


@pytest.mark.parametrize("node", NODES)
def test_parameters_are_frozen_and_described(node):
    cls = parameter_class(node)
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    for info in parameters.parameter_infos(cls).values():
        assert info.description, f"{node}: {info.name} has no description"
