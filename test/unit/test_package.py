# SPDX-License-Identifier: Apache-2.0
"""The package's own files agree with each other and with the code."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from neuro_ros import resources

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
VERSION = MANIFEST.findtext("version")
# rosdep's key for a Python module, where it is not the module's own name.
KEYS = {
    "apsw": "python3-rosbags-pip",  # what rosbags reads sqlite with, and always brings
    "llvmlite": "python3-numba",  # a part of numba, which always brings it
    "numba": "python3-numba",
    "numpy": "python3-numpy",
    "rosbags": "python3-rosbags-pip",
    "yaml": "python3-yaml",
    "matplotlib": "python3-matplotlib",
    "scipy": "python3-scipy",
    "psutil": "python3-psutil",
    "pytest": "python3-pytest",
    "smbus2": "python3-smbus2",
    "h5py": "python3-h5py",
}
# How requirements.txt calls a module, where it is not the module's own name.
DISTRIBUTIONS = {"backports": "backports.zstd", "lava": "lava-nc", "dv_processing": "dv-processing"}
SOURCES = sorted(
    path
    for folder in ("neuro_ros", "launch", "test", "scripts")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
)
PYTHON = [path for path in SOURCES if path.suffix == ".py"] + [ROOT / "setup.py"]


def third_party(folder: str) -> dict[str, Path]:
    """Map every module that a folder imports, ours and the standard library's left out, to a file that does."""
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                if top not in {*sys.stdlib_module_names, "compression", "neuro_ros"}:  # compression: 3.14
                    found[top] = path.relative_to(ROOT)
    return found


@pytest.mark.parametrize("folder", ["neuro_ros", "launch"])
def test_every_import_is_a_declared_dependency(folder):
    keys = {element.text for kind in ("depend", "exec_depend", "test_depend") for element in MANIFEST.findall(kind)}
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {match.group(1) for line in lines if (match := re.match(r"(?:# optional: )?([a-z][\w.-]*)", line))}
    for module, path in third_party(folder).items():
        declared = KEYS.get(module, module) in keys or DISTRIBUTIONS.get(module, module) in listed
        assert declared, f"{path} imports {module}: it needs a key in package.xml or a line in requirements.txt"


def test_manifest_is_of_format_3_and_names_the_licence():
    assert MANIFEST.get("format") == "3"
    assert [element.text for element in MANIFEST.findall("license")] == ["Apache-2.0"]
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert MANIFEST.findtext("member_of_group") == "rosidl_interface_packages"


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert resources.version() == VERSION
    for path in [*PYTHON, ROOT / "CMakeLists.txt", ROOT / "pyproject.toml"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""(__version__|^\s*version)\s*=\s*["']\d""", text, re.MULTILINE), path


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_file_names_its_licence(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines and lines[0].startswith("#!") else lines[0] if lines else ""
    assert first == "# SPDX-License-Identifier: Apache-2.0"


def test_modules_stay_below_500_lines():
    modules = [path for path in PYTHON if path.is_relative_to(ROOT / "neuro_ros")]
    too_long = [path for path in modules if len(path.read_text(encoding="utf-8").splitlines()) > 500]
    assert not too_long


def test_every_node_has_an_executable_that_cmake_installs():
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    installed = set(re.findall(r"scripts/([a-z_]+)", cmake))
    executables = {path.name for path in (ROOT / "scripts").iterdir() if is_node_executable(path)}
    assert installed == executables
    for name in executables:
        assert os.access(ROOT / "scripts" / name, os.X_OK)


def is_node_executable(path: Path) -> bool:
    """Tell the executables that run our Python from the shell scripts of the set-up."""
    return path.is_file() and path.read_text(encoding="utf-8").startswith("#!/usr/bin/env python3")


def test_message_definitions_are_found_in_the_source_tree():
    found = resources.message_definition_paths()
    on_disk = [*(ROOT / "msg").glob("*.msg"), *(ROOT / "srv").glob("*.srv")]
    assert len(found) == len(on_disk)
    assert found["neuro_ros/msg/SpikeTensor"].read_text(encoding="utf-8").count("uint8[] data") == 1
    assert resources.config_directory() == ROOT / "config"
    assert resources.models_directory() == ROOT / "models"


CHECK_INSTALLED = """
from pathlib import Path
import neuro_ros
from neuro_ros import resources
here = Path(neuro_ros.__file__).parent
assert resources.share_directory() == here / "_share", resources.share_directory()
print(resources.version(), len(resources.message_definition_paths()))
print(len(list(resources.config_directory().glob("*.yaml"))), len(list(resources.models_directory().iterdir())))
"""


def test_a_pip_install_carries_its_files_and_needs_no_ros(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    keep = ["neuro_ros", "msg", "srv", "config", "models", "package.xml", "pyproject.toml", "setup.py", "MANIFEST.in"]
    source.mkdir()
    for name in keep:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    # Without an index and without dependencies: this is about our own files.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    built = subprocess.run([*pip, "--target", str(target), str(source)], capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(target)}
    command = [sys.executable, "-c", CHECK_INSTALLED]
    checked = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert checked.returncode == 0, checked.stderr
    definitions = len([*(ROOT / "msg").glob("*.msg"), *(ROOT / "srv").glob("*.srv")])
    configurations, models = len([*(ROOT / "config").glob("*.yaml")]), len([*(ROOT / "models").iterdir()])
    assert checked.stdout.split() == [VERSION, str(definitions), str(configurations), str(models)]
    run = [str(target / "bin" / "neuro_ros"), "--version"]
    command_line = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert command_line.stdout == f"neuro_ros {VERSION}\n", command_line.stderr
