# SPDX-License-Identifier: Apache-2.0
"""Install the library and the ``neuro_ros`` command with pip, without ROS; colcon builds through CMakeLists.txt."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
# Copied into the package, where neuro_ros/resources.py finds them.
SHARED = ("package.xml", "msg/*.msg", "srv/*.srv", "config/*.yaml", "config/security/*", "models/*")
LAVA = ["asteval", "cloudpickle", "lava-nc==0.10.0", "networkx", "scikit-learn", "scipy"]


class BuildWithShared(build_py):
    """Put message definitions, configuration and models beside the modules."""

    def _shared(self) -> list[tuple[Path, Path]]:
        target = Path(self.build_lib) / "neuro_ros" / "_share"
        sources = sorted(path for pattern in SHARED for path in ROOT.glob(pattern) if path.is_file())
        return [(path, target / path.relative_to(ROOT)) for path in sources]

    def run(self) -> None:
        """Build, then copy; an editable install finds the files in the source tree."""
        super().run()
        if not self.editable_mode:
            for source, target in self._shared():
                target.parent.mkdir(parents=True, exist_ok=True)
                self.copy_file(str(source), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Name the copies too, so that uninstalling removes them."""
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else outputs + [str(target) for _, target in self._shared()]


setup(
    name="neuro_ros",
    version=MANIFEST.findtext("version"),
    description=MANIFEST.findtext("description"),
    license="Apache-2.0",
    packages=find_packages(include=["neuro_ros", "neuro_ros.*"]),
    cmdclass={"build_py": BuildWithShared},
    python_requires=">=3.10",
    install_requires=[
        'backports.zstd>=1.0; python_version < "3.14"',
        "apsw",
        "llvmlite",
        "lz4>=4.0",
        "numba>=0.59",
        "numpy>=1.26",
        "rosbags>=0.10",
        "safetensors>=0.4",
    ],
    extras_require={
        "train": ["torch>=2.4"],
        "report": ["matplotlib>=3.6"],
        "hdf5": ["h5py>=3.8"],
        "inivation": ["dv-processing>=2.0"],
        "crypto": ["cryptography>=3.4"],
        "i2c": ["smbus2>=0.4"],
        # lava-nc declares Python below 3.11; beyond that it needs pip's --ignore-requires-python.
        "lava": LAVA,
        "test": [
            "atheris>=2.3; python_version >= '3.11' and platform_machine == 'x86_64'",
            "cryptography>=3.4",
            "hypothesis>=6.100",
            "pytest>=8.0",
            "pytest-timeout>=2.1",
            "pyyaml>=6.0",
            "smbus2>=0.4",
        ],
    },
    entry_points={"console_scripts": ["neuro_ros = neuro_ros.cli.command:main"]},
)
