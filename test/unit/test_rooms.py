# SPDX-License-Identifier: Apache-2.0
"""Each folder imports only what it may, and without what only another folder needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "neuro_ros"
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())
LIBRARIES = {"canary", "events", "gestures", "hdf5", "snn", "thermal", "timesync", "training"}
# What a folder may import of the others; `documents`, `errors` and `resources` are everybody's.
MAY_IMPORT = {
    "events": {"hdf5"},
    "gestures": {"events"},
    "hdf5": set(),
    "snn": {"events", "hdf5"},
    "training": {"events", "gestures", "snn"},
    "timesync": set(),
    "thermal": {"snn"},
    "canary": set(),
    "cores": LIBRARIES - {"training"},
    "bringup": {"cores", "events", "snn"},  # the graph looks at the recording and the model before it starts
    "nodes": {*LIBRARIES, "bringup", "cores", "msg", "srv"} - {"training"},
    "cli": {*LIBRARIES, "bringup", "cores"},  # torch inside the verbs that train
}
# Libraries that few folders may touch.
ONLY_IN = {
    "rclpy": {"nodes"},
    "torch": {"training", "cli"},
    "lava": {"snn"},
    "dv_processing": {"events", "cores"},
    "h5py": {"hdf5"},
    "launch": {"bringup"},
}

IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys

blocked = set(sys.argv[1].split(","))

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked for this test", name=name)
        return None

sys.meta_path.insert(0, Refuse())
for room in sys.argv[2:]:
    package = importlib.import_module("neuro_ros." + room)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    print(room, "is fine")
"""


def imports(path: Path) -> set[str]:
    """List the absolute names that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.update({node.module} | {f"{node.module}.{alias.name}" for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            parts = path.relative_to(ROOT).parts[: -node.level]
            found.add(".".join([*parts, *(node.module or "").split(".")]).rstrip("."))
    return found


def import_all(blocked: str, rooms: list[str]) -> None:
    """Import every module of some folders in a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, blocked, *rooms],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"{room} is fine" for room in rooms]


def test_every_folder_is_known():
    assert set(ROOMS) <= set(MAY_IMPORT), "a new folder needs a line here and in the design"


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_imports_only_what_it_may(room):
    allowed = {*MAY_IMPORT[room], room, "documents", "errors", "resources"}
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for name in imports(path):
            top, _, rest = name.partition(".")
            if top == "neuro_ros" and rest:
                assert rest.split(".")[0] in allowed, f"{path.relative_to(ROOT)} imports {name}"
            assert room in ONLY_IN.get(top, {room}), f"{path.relative_to(ROOT)} imports {name}"


def test_all_but_the_nodes_work_without_ros():
    without_torch = [room for room in ROOMS if room not in ("nodes", "training")]
    import_all("rclpy,rcl_interfaces,lifecycle_msgs,std_msgs", without_torch)


def test_all_but_training_work_without_what_is_optional():
    pytest.importorskip("rclpy", reason="the nodes need rclpy: use make test, or . ./env.sh in this shell")
    import_all("torch,lava,dv_processing,h5py,hdf5plugin", [room for room in ROOMS if room != "training"])


def test_training_works_without_ros():
    pytest.importorskip("torch", reason="torch is not installed")
    import_all("rclpy,rcl_interfaces,lifecycle_msgs,std_msgs", ["training"])
