# SPDX-License-Identifier: Apache-2.0
"""What each process of the graph may say, hear, offer and ask for, as a policy for SROS2.

Topics are taken from the cores, so that a new one has its rule at once; what else a node makes stands in tables here,
and a test compares them with the nodes that really run. The policy covers what a node can do with any parameters, not
what one run does: the signed files of a robot outlive a change of its parameters. Keys, signatures and the check
itself are the business of ``ros2 security`` and of the middleware (docs/security.md).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from neuro_ros.bringup.graph import MANAGED, SERVING, Graph, core_class
from neuro_ros.cores.parameters.recorder import RecorderParameters
from neuro_ros.errors import UsageError

__all__ = ["DEFAULT_ENCLAVE", "OPERATOR", "Access", "access", "check_enclaves", "policy_text"]

#: Below it lies the enclave of each node.
DEFAULT_ENCLAVE = "/neuro_ros"
#: Enclave for people: what the ``ros2`` and ``neuro_ros`` commands need to look after the graph.
OPERATOR = "operator"

_ENCLAVE = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")
#: What SROS2 puts into an enclave's folder; without one of them the middleware cannot start.
_ENCLAVE_FILES = (
    "cert.pem",
    "governance.p7s",
    "identity_ca.cert.pem",
    "key.pem",
    "permissions.p7s",
    "permissions_ca.cert.pem",
)

# -- what every node has, by rclpy and by our shells -------------------------------------------------------------------
_EVERY_PUBLISHES = ("/diagnostics", "/parameter_events", "/rosout")
#: With use_sim_time.
_EVERY_SUBSCRIBES = ("/clock",)
_PARAMETER_SERVICES = (
    "describe_parameters",
    "get_parameter_types",
    "get_parameters",
    "list_parameters",
    "set_parameters",
    "set_parameters_atomically",
)
_EVERY_SERVES = (*(f"~/{name}" for name in _PARAMETER_SERVICES), "~/get_type_description")
_LIFECYCLE_PUBLISHES = ("~/heartbeat", "~/transition_event")
_LIFECYCLE_SERVICES = (
    "change_state",
    "get_available_states",
    "get_available_transitions",
    "get_state",
    "get_transition_graph",
)
# -- what single nodes have --------------------------------------------------------------------------------------------
_SERVES: Mapping[str, tuple[str, ...]] = {
    "lifecycle_manager": ("~/manage_graph",),
    "snn_inference": ("~/load_state", "~/save_state", "~/switch_model"),
}
_CALLS: Mapping[str, tuple[str, ...]] = {
    "canary": ("snn_inference/switch_model",),  # what the rules of a roll-out ask
    "lifecycle_manager": tuple(f"{name}/{service}" for name in MANAGED for service in ("change_state", "get_state")),
    "thermal_compensation": ("lifecycle_manager/manage_graph",),  # standby when it is too hot
}
#: Commands are nodes themselves, those of ``ros2`` with a number in their names.
_OPERATOR_SERVES = ("/_ros2cli_*/get_type_description", *(f"switch_client/{name[2:]}" for name in _EVERY_SERVES))
_SUBSCRIBES: Mapping[str, tuple[str, ...]] = {
    "lifecycle_manager": tuple(f"{name}/heartbeat" for name in MANAGED),
    "recorder": tuple(RecorderParameters().topic_types()),
    "snn_inference": ("temperature",),  # of an emulated chip
}


@dataclass(frozen=True, slots=True)
class Access:
    """Names that a node uses: relative, absolute (``/rosout``) or its own (``~/heartbeat``), each kind sorted."""

    publishes: tuple[str, ...] = ()
    subscribes: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


def _sorted(*names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name for group in names for name in group}))


def access(node: str) -> Access:
    """Return what a node of the graph, or the operator, may use.

    Parameters
    ----------
    node : str
        Name of a node, or `OPERATOR`.

    Raises
    ------
    KeyError
        When there is no such node.
    """
    if node == OPERATOR:
        return _operator_access()
    if node not in (*MANAGED, *SERVING):
        raise KeyError(node)
    managed = node in MANAGED
    core = core_class(node) if managed else None
    return Access(
        publishes=_sorted(_EVERY_PUBLISHES, getattr(core, "outputs", ()), _LIFECYCLE_PUBLISHES if managed else ()),
        subscribes=_sorted(_EVERY_SUBSCRIBES, getattr(core, "inputs", ()), _SUBSCRIBES.get(node, ())),
        serves=_sorted(
            _EVERY_SERVES,
            _SERVES.get(node, ()),
            [f"~/{name}" for name in _LIFECYCLE_SERVICES] if managed else (),
        ),
        calls=_sorted(_CALLS.get(node, ())),
    )


def _operator_access() -> Access:
    """See everything and ask everybody, but publish nothing that a node listens to."""
    nodes = {name: access(name) for name in (*MANAGED, *SERVING)}
    return Access(
        publishes=("/parameter_events", "/rosout"),
        subscribes=_sorted(*(_of(name, node.publishes) for name, node in nodes.items()), _EVERY_SUBSCRIBES, ["events"]),
        serves=_OPERATOR_SERVES,
        calls=_sorted(*(_of(name, node.serves) for name, node in nodes.items())),
    )


def _of(node: str, names: Iterable[str]) -> list[str]:
    """Write a node's own names as others call them."""
    return [f"{node}/{name[2:]}" if name.startswith("~/") else name for name in names]


def policy_text(namespace: str = "", enclave: str = DEFAULT_ENCLAVE) -> str:
    """Write the policy of the graph, in the form that ``ros2 security`` reads.

    Parameters
    ----------
    namespace : str
        Of the nodes, as in `GraphOptions`.
    enclave : str
        Below which each node has an enclave of its name.

    Raises
    ------
    UsageError
        When one of them is no such name.
    """
    namespace = "/" + namespace.strip("/")
    if namespace != "/" and not _ENCLAVE.fullmatch(namespace):
        raise UsageError(f"namespace {namespace!r} is not a ROS name: letters, digits and _, with / between")
    _check_enclave(enclave)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        "<!-- Written by neuro_ros policy; what it is for and how it is used: docs/security.md -->",
        '<policy version="0.2.0">',
        "  <enclaves>",
    ]
    for node in (*MANAGED, *SERVING, OPERATOR):
        lines += [
            f"    <enclave path={quoteattr(f'{enclave}/{node}')}>",
            "      <profiles>",
            f"        <profile ns={quoteattr(namespace)} node={quoteattr(node)}>",
            *_rules(access(node)),
            "        </profile>",
            "      </profiles>",
            "    </enclave>",
        ]
    return "\n".join([*lines, "  </enclaves>", "</policy>"]) + "\n"


def _rules(found: Access) -> list[str]:
    lines = []
    for group, item, verb, names in (
        ("topics", "topic", "publish", found.publishes),
        ("topics", "topic", "subscribe", found.subscribes),
        ("services", "service", "reply", found.serves),
        ("services", "service", "request", found.calls),
    ):
        if names:
            lines.append(f'          <{group} {verb}="ALLOW">')
            lines += [f"            <{item}>{escape(name)}</{item}>" for name in names]
            lines.append(f"          </{group}>")
    return lines


def _check_enclave(enclave: str) -> None:
    """Raise `UsageError` when a text is no path of enclaves."""
    if not _ENCLAVE.fullmatch(enclave):
        raise UsageError(f"enclave {enclave!r} is not a path such as {DEFAULT_ENCLAVE}: / before each name")


def check_enclaves(graph: Graph, environment: Mapping[str, str] | None = None) -> None:
    """Say at once what is missing for a secured graph, instead of once for every node.

    Parameters
    ----------
    graph : Graph
        What is about to be started.
    environment : mapping, optional
        Of the nodes; this process's when not given.

    Raises
    ------
    UsageError
        Security is switched on and enforced, and the keystore or an enclave in it is missing.
    """
    environment = os.environ if environment is None else environment
    if environment.get("ROS_SECURITY_ENABLE") != "true" or environment.get("ROS_SECURITY_STRATEGY") != "Enforce":
        return
    keystore = environment.get("ROS_SECURITY_KEYSTORE", "")
    if not keystore or not (Path(keystore) / "enclaves").is_dir():
        raise UsageError(
            f"ROS_SECURITY_ENABLE is true, but ROS_SECURITY_KEYSTORE {keystore!r} is no keystore; see docs/security.md"
        )
    for node in graph.nodes:
        enclave = environment.get("ROS_SECURITY_ENCLAVE_OVERRIDE") or graph.enclave_of(node.name) or "/"
        folder = Path(keystore) / "enclaves" / enclave.lstrip("/")
        missing = [name for name in _ENCLAVE_FILES if not (folder / name).is_file()]
        if missing:
            raise UsageError(
                f"enclave {enclave} of {node.name} lacks {missing[0]} in {folder}; see docs/security.md"
                + ("" if graph.enclave else ", and give enclave, such as " + DEFAULT_ENCLAVE)
            )
