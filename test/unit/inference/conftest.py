# SPDX-License-Identifier: Apache-2.0
"""The counting network as a file, and active cores that run it."""

import pytest
from counting_network import Driver, counting_model

from neuro_ros.snn import (
    save_model,
)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "counting.safetensors"
    save_model(counting_model(), path)
    return str(path)


@pytest.fixture
def drive(model_file):
    drivers = []

    def make(clocks=None, **parameters):
        drivers.append(Driver(model_file, clocks, **parameters))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.core.close()
        driver.core.close()
