# SPDX-License-Identifier: Apache-2.0
"""Takes a ROS domain that nobody else on this machine uses, for a run that shall meet no other nodes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from neuro_ros.errors import NeuroRosError

__all__ = ["DomainError", "private_domain", "private_environment"]

#: From 102 on, the discovery ports of a domain meet Linux's ephemeral ports.
_DOMAINS = range(1, 102)
_FIRST_PORT = 7400
_PORTS_PER_DOMAIN = 250


class DomainError(NeuroRosError):
    """Every ROS domain of this machine is in use."""


@contextmanager
def private_domain() -> Iterator[int]:
    """Reserve a ROS domain as long as the context lasts.

    Yields
    ------
    int
        Its number.

    Raises
    ------
    DomainError
        All are taken.

    Notes
    -----
    An abstract socket is the lock: it belongs to the network namespace, as domains do, and the kernel frees it when
    the process dies. A domain whose discovery port is bound belongs to a program that knows nothing of the lock.
    """
    with ExitStack() as stack:
        for step in range(len(_DOMAINS)):
            domain = _DOMAINS[(os.getpid() + step) % len(_DOMAINS)]
            lock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            try:
                lock.bind(f"\0neuro_ros.domain.{domain}")
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.bind(("", _FIRST_PORT + _PORTS_PER_DOMAIN * domain))
            except OSError:
                lock.close()
                continue
            yield domain
            return
    raise DomainError(f"all ROS domains from {_DOMAINS.start} to {_DOMAINS.stop - 1} are in use on this machine")


def private_environment(domain: int, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which nodes talk in `domain`, on this machine only."""
    return {
        **(os.environ if environment is None else environment),
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
