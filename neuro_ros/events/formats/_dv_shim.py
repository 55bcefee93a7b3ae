# SPDX-License-Identifier: Apache-2.0
"""The only door to iniVation's ``dv_processing``."""

from __future__ import annotations

from typing import Any

from neuro_ros.events.types import RecordingError

__all__ = ["AVAILABLE", "require"]

try:
    import dv_processing as _dv
except ImportError as _error:
    _dv = None
    _REASON: ImportError | None = _error
else:
    _REASON = None

AVAILABLE = _dv is not None


def require() -> Any:
    """Return the module.

    Raises
    ------
    RecordingError
        Naming the pip extra, when it cannot be imported.
    """
    if _dv is None:
        raise RecordingError(
            f"AEDAT4 and iniVation cameras need dv-processing ({_REASON}); pip install 'neuro_ros[inivation]'"
        ) from _REASON
    return _dv
