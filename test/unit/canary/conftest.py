# SPDX-License-Identifier: Apache-2.0
"""A small baseline that the tests of the canary share."""

import pytest
from canary_reports import build_baseline


@pytest.fixture(scope="session")
def baseline():
    return build_baseline()
