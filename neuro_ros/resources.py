# SPDX-License-Identifier: Apache-2.0
"""Finds what travels with the package: message definitions, models, configuration, version.

The files lie in one of three places, and this module is the only one that knows:

* a source tree: beside the ``neuro_ros`` folder;
* a pip install: in ``neuro_ros/_share``, put there by ``setup.py``;
* a colcon or Debian install: in ``share/neuro_ros`` of the prefix that holds the module.

Nothing here needs ROS.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from neuro_ros.errors import NeuroRosError

__all__ = [
    "ResourceError",
    "config_directory",
    "message_definition_paths",
    "models_directory",
    "share_directory",
    "version",
]

_PACKAGE = "neuro_ros"


class ResourceError(NeuroRosError):
    """A file that belongs to this package is missing from the installation."""


def _candidates(module: Path) -> Iterator[Path]:
    """List the folders that may hold ``package.xml``, the likeliest first."""
    yield module / "_share"
    yield module.parent
    for prefix in module.parents:
        yield prefix / "share" / _PACKAGE


def _manifest_version(manifest: Path) -> str | None:
    """Read the version out of a manifest; None when it is absent or another package's."""
    if not manifest.is_file():
        return None
    try:
        root = ElementTree.parse(manifest).getroot()
    except ElementTree.ParseError:
        return None
    name, version_text = root.findtext("name"), root.findtext("version")
    if name is None or name.strip() != _PACKAGE or version_text is None:
        return None
    return version_text.strip()


@functools.cache
def share_directory() -> Path:
    """Find the folder with ``package.xml``, ``msg``, ``srv``, ``config`` and ``models``.

    Returns
    -------
    pathlib.Path
        Absolute.

    Raises
    ------
    ResourceError
        When the module was copied somewhere without them.
    """
    module = Path(__file__).absolute().parent
    for candidate in _candidates(module):
        if _manifest_version(candidate / "package.xml") is not None:
            return candidate
    raise ResourceError(f"{module} has no package.xml of {_PACKAGE} near it; install the package with pip or colcon")


def version() -> str:
    """Read the version of this package from its ``package.xml``, the one place where it stands.

    Raises
    ------
    ResourceError
        As `share_directory`.
    """
    found = _manifest_version(share_directory() / "package.xml")
    if found is None:
        raise ResourceError(f"{share_directory() / 'package.xml'} is gone or has no version; install the package again")
    return found


def _subdirectory(name: str) -> Path:
    """Find one folder of the share directory."""
    directory = share_directory() / name
    if not directory.is_dir():
        raise ResourceError(f"{directory} is missing; install the package again with pip or colcon")
    return directory


def models_directory() -> Path:
    """Find the folder of the shipped models.

    Raises
    ------
    ResourceError
        When it is missing.
    """
    return _subdirectory("models")


def config_directory() -> Path:
    """Find the folder with one YAML file a node, every parameter at its default.

    Raises
    ------
    ResourceError
        When it is missing.
    """
    return _subdirectory("config")


def message_definition_paths() -> dict[str, Path]:
    """Find the definition of every message and service.

    Returns
    -------
    dict of str to pathlib.Path
        By full name, ``neuro_ros/msg/SpikeTensor`` or ``neuro_ros/srv/SaveState``,
        sorted.

    Raises
    ------
    ResourceError
        When the folders are missing or empty.
    """
    # A colcon install keeps the derived .idl and .json files in the same folders.
    found = {
        f"{_PACKAGE}/{kind}/{path.stem}": path
        for kind in ("msg", "srv")
        for path in sorted(_subdirectory(kind).glob(f"*.{kind}"))
    }
    if not found:
        raise ResourceError(f"{share_directory()} holds no message definitions; install the package again")
    return found
