# SPDX-License-Identifier: Apache-2.0
"""The root of every exception that this package raises on purpose.

Each library derives its own narrow exceptions from `NeuroRosError` and keeps
them in its own folder; this module refuses to know them. The command line turns
any of them into one line on stderr and exit code 2, so the text has to stand on
its own: the value, the limit it broke, and the remedy.
"""

__all__ = ["NeuroRosError", "UsageError"]


class NeuroRosError(Exception):
    """Something outside this package is not as it must be, and the text says what."""


class UsageError(NeuroRosError):
    """The caller asked for something that cannot be, such as two options that exclude each other."""
