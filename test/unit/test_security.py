# SPDX-License-Identifier: Apache-2.0
"""The SROS2 policy: what it allows, that the shipped file is it, and how a secured graph is started."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from neuro_ros.bringup.graph import MANAGED, SERVING, GraphOptions, core_class, describe_graph
from neuro_ros.bringup.processes import process_specs
from neuro_ros.bringup.security import OPERATOR, access, check_enclaves, policy_text
from neuro_ros.cli.command import main
from neuro_ros.cores.parameters import ParameterError
from neuro_ros.cores.parameters.recorder import RecorderParameters
from neuro_ros.errors import UsageError
from neuro_ros.resources import config_directory

MODEL = str(Path(__file__).resolve().parents[1] / "data" / "replay" / "small.safetensors")
NODES = (*MANAGED, *SERVING)
FILES = ("cert.pem", "key.pem", "governance.p7s", "permissions.p7s", "identity_ca.cert.pem", "permissions_ca.cert.pem")


def rules(text):
    """Return {enclave: {(element, verb): names}} of a policy."""
    found = {}
    for enclave in ElementTree.fromstring(text).iter("enclave"):
        (profile,) = enclave.iter("profile")
        assert enclave.get("path").endswith(f"/{profile.get('node')}")
        found[enclave.get("path")] = {
            (group.tag, verb): [item.text for item in group] for group in profile for verb in group.attrib
        }
        assert all(set(group.attrib.values()) == {"ALLOW"} for group in profile)
    return found


def test_the_shipped_file_is_what_the_command_writes(capsys):
    assert main(["policy"]) == 0
    shipped = (config_directory() / "security" / "policy.xml").read_text(encoding="utf-8")
    assert shipped == capsys.readouterr().out, "run: neuro_ros policy > config/security/policy.xml"


def test_every_node_has_an_enclave_of_its_own():
    found = rules(policy_text())
    assert list(found) == [f"/neuro_ros/{node}" for node in (*NODES, OPERATOR)]


@pytest.mark.parametrize("node", MANAGED)
def test_each_topic_of_a_core_has_its_rule(node):
    allowed = rules(policy_text())[f"/neuro_ros/{node}"]
    assert set(core_class(node).outputs) <= set(allowed["topics", "publish"])
    assert set(core_class(node).inputs) <= set(allowed["topics", "subscribe"])


def test_the_recorder_hears_what_it_records_and_says_nothing_of_it():
    found = access("recorder")
    assert set(RecorderParameters().topic_types()) <= set(found.subscribes)
    assert set(found.publishes) == {"/diagnostics", "/parameter_events", "/rosout"}
    assert found.calls == ()


def test_nobody_but_the_camera_says_spikes_and_nobody_but_the_network_says_gesture():
    found = {node: access(node) for node in (*NODES, OPERATOR)}
    sayers = {topic: {node for node in found if topic in found[node].publishes} for topic in ("spikes", "gesture")}
    assert sayers == {"spikes": {"event_camera"}, "gesture": {"snn_inference"}}
    assert not [node for node in found if "events" in found[node].publishes], "packets are a driver's"
    callers = {node for node in found if any("load_state" in name for name in found[node].calls)}
    assert callers == {OPERATOR}


def test_no_rule_for_nodes_has_a_wildcard():
    for node in NODES:
        found = access(node)
        assert not [name for names in (found.publishes, found.subscribes, found.serves, found.calls) for name in names
                    if set(name) & set("*?[")]  # fmt: skip


def test_names_of_another_namespace_and_enclave():
    text = policy_text("drone/left", "/fleet/one")
    assert next(iter(rules(text))) == "/fleet/one/clock_sync"
    assert {profile.get("ns") for profile in ElementTree.fromstring(text).iter("profile")} == {"/drone/left"}


@pytest.mark.parametrize("arguments", [["--namespace", "a b"], ["--enclave", "neuro_ros"], ["--enclave", '/a"/>']])
def test_a_wrong_name_is_one_line(arguments, capsys):
    assert main(["policy", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_unknown_nodes_have_no_access():
    with pytest.raises(KeyError):
        access("nobody")


# --- starting a secured graph -----------------------------------------------------------------------------------------
@pytest.fixture
def graph():
    return describe_graph(GraphOptions(model=MODEL, enclave="/neuro_ros"))


def test_each_process_is_told_its_enclave(graph, tmp_path):
    for spec in process_specs(graph, tmp_path):
        assert spec.command[spec.command.index("--enclave") + 1] == f"/neuro_ros/{spec.name}"
    for spec in process_specs(describe_graph(GraphOptions(model=MODEL)), tmp_path):
        assert "--enclave" not in spec.command


@pytest.mark.parametrize("enclave", ["neuro_ros", "/neuro_ros/", "/", "/a//b", "/a b"])
def test_a_wrong_enclave_is_refused(enclave):
    with pytest.raises(ParameterError, match="enclave"):
        GraphOptions(enclave=enclave)


@pytest.fixture
def keystore(tmp_path):
    for node in NODES:
        folder = tmp_path / "enclaves" / "neuro_ros" / node
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).touch()
    return tmp_path


@pytest.fixture
def secured(keystore):
    return {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(keystore),
    }


def test_what_is_missing_is_said_before_anything_starts(graph, keystore, secured):
    check_enclaves(graph, secured)
    check_enclaves(graph, {})
    with pytest.raises(UsageError, match="ROS_SECURITY_KEYSTORE"):
        check_enclaves(graph, {**secured, "ROS_SECURITY_KEYSTORE": str(keystore / "nowhere")})
    with pytest.raises(UsageError, match="give enclave"):
        check_enclaves(describe_graph(GraphOptions(model=MODEL)), secured)
    (keystore / "enclaves" / "neuro_ros" / "canary" / "permissions.p7s").unlink()
    with pytest.raises(UsageError, match=r"/neuro_ros/canary of canary lacks permissions\.p7s"):
        check_enclaves(graph, secured)
    check_enclaves(graph, {**secured, "ROS_SECURITY_STRATEGY": "Permissive"})
    check_enclaves(graph, {**secured, "ROS_SECURITY_ENCLAVE_OVERRIDE": "/neuro_ros/recorder"})
