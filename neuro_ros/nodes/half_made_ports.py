# SPDX-License-Identifier: Apache-2.0
"""Removes what a killed process can leave of Fast DDS's shared memory: the file of a port, made and not yet filled.

Whoever opens such a file waits for somebody to fill it, for minutes, before a node is there at all; ports are numbered
by domain and process, so that one file can hold up every ROS process of a computer in turn. A process that makes a port
fills it within microseconds.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from pathlib import Path

__all__ = ["remove_half_made_ports"]

#: Where Linux has it, and Fast DDS its ports.
_SHARED_MEMORY = Path("/dev/shm")
# The lock of a port beside it, which ends in _el, is empty all its life.
_PORT = re.compile(r"fast(rtps|dds)_port\d+")
#: An empty file that is younger may be being filled [s].
_AGE_S = 10.0


def remove_half_made_ports(folder: Path = _SHARED_MEMORY) -> list[str]:
    """Remove empty ports of this user that are too old to be being made.

    Parameters
    ----------
    folder : pathlib.Path
        Where they are.

    Returns
    -------
    list of str
        Names of those that were removed.
    """
    removed = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _PORT.fullmatch(entry.name):
                continue
            with contextlib.suppress(OSError):  # somebody else may remove it, too
                found = entry.stat(follow_symlinks=False)
                mine = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
                if mine and found.st_size == 0 and time.time() - found.st_mtime > _AGE_S:
                    Path(entry.path).unlink()
                    removed.append(entry.name)
    return sorted(removed)
