# SPDX-License-Identifier: Apache-2.0
"""The encodings that events come in, by name. A new one is a module here and one line in the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neuro_ros.events.encodings.base import BytesDecoder, BytesEncoder
from neuro_ros.events.encodings.evt2 import Evt2Decoder, Evt2Encoder
from neuro_ros.events.encodings.evt3 import Evt3Decoder, Evt3Encoder
from neuro_ros.events.types import RecordingError

__all__ = ["ENCODINGS", "BytesDecoder", "BytesEncoder", "Encoding", "find_encoding"]


@dataclass(frozen=True)
class Encoding:
    """One encoding.

    Parameters
    ----------
    name : str
        As in ``EventPacket.encoding`` and on the command line.
    decoder : callable
        ``(width, height)`` in pixels to a fresh `BytesDecoder`.
    encoder : callable or None
        To a fresh `BytesEncoder`; None where the package does not write it.
    raw_name : str or None
        What a RAW file's header calls it, without punctuation; None where it does not come in RAW files.
    """

    name: str
    decoder: Callable[[int, int], BytesDecoder]
    encoder: Callable[[], BytesEncoder] | None = None
    raw_name: str | None = None


ENCODINGS: dict[str, Encoding] = {
    encoding.name: encoding
    for encoding in (
        Encoding("evt2", Evt2Decoder, Evt2Encoder, raw_name="EVT2"),
        Encoding("evt3", Evt3Decoder, Evt3Encoder, raw_name="EVT3"),
    )
}


def find_encoding(name: str) -> Encoding:
    """Find an encoding by name, in any case.

    Raises
    ------
    RecordingError
        When it is not read; the text names those that are.
    """
    encoding = ENCODINGS.get(name.lower())
    if encoding is None:
        raise RecordingError(f"encoding {name!r} is not read; read are {', '.join(sorted(ENCODINGS))}")
    return encoding
