# SPDX-License-Identifier: Apache-2.0
"""Let ``python -m neuro_ros.cli`` do what the ``neuro_ros`` command does."""

import sys

from neuro_ros.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
