# SPDX-License-Identifier: Apache-2.0
"""The encodings that events come in, by name. A new one is a module here and one line in the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neuro_ros.events.encodings.base import BytesDecoder, BytesEncoder
from neuro_ros.events.encodings.evt2 import Evt2Decoder, Evt2Encoder
from neuro_ros.events.encodings.evt3 import Evt3Decoder, Evt3Encoder
from neuro_ros.events.encodings.evt21 import Evt21Decoder, Evt21Encoder, Evt21LegacyDecoder, Evt21LegacyEncoder
from neuro_ros.events.encodings.libcaer import LibcaerDecoder, LibcaerEncoder
from neuro_ros.events.encodings.libcaer_cmp import LibcaerCmpDecoder, LibcaerCmpEncoder
from neuro_ros.events.encodings.mono import MonoDecoder, MonoEncoder, TriggerDecoder
from neuro_ros.events.types import RecordingError

__all__ = ["ENCODINGS", "FOREIGN", "BytesDecoder", "BytesEncoder", "Encoding", "find_encoding"]


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
    raw_endianness : str or None
        What the header says of the order of bytes, where that tells encodings of one name apart.
    packets_only : bool
        True when words mean nothing without the packet that they came in and its time base.
    """

    name: str
    decoder: Callable[[int, int], BytesDecoder]
    encoder: Callable[[], BytesEncoder] | None = None
    raw_name: str | None = None
    raw_endianness: str | None = None
    packets_only: bool = False


ENCODINGS: dict[str, Encoding] = {
    encoding.name: encoding
    for encoding in (
        Encoding("evt2", Evt2Decoder, Evt2Encoder, raw_name="EVT2"),
        Encoding("evt3", Evt3Decoder, Evt3Encoder, raw_name="EVT3"),
        Encoding("evt21", Evt21Decoder, Evt21Encoder, raw_name="EVT21", raw_endianness="little"),
        Encoding("evt21_legacy", Evt21LegacyDecoder, Evt21LegacyEncoder, raw_name="EVT21", raw_endianness="legacy"),
        Encoding("libcaer", LibcaerDecoder, LibcaerEncoder),
        Encoding("libcaer_cmp", LibcaerCmpDecoder, LibcaerCmpEncoder, packets_only=True),
        Encoding("mono", MonoDecoder, MonoEncoder, packets_only=True),
        Encoding("trigger", TriggerDecoder, packets_only=True),
    )
}

#: Encodings that are known to exist, so that a refusal can say so.
FOREIGN = frozenset({"evt4"})


def find_encoding(name: str) -> Encoding:
    """Find an encoding by name, in any case.

    Raises
    ------
    RecordingError
        When it is not read; the text names those that are.
    """
    encoding = ENCODINGS.get(name.lower())
    if encoding is None:
        known = "recognised and " if name.lower() in FOREIGN else ""
        raise RecordingError(f"encoding {name!r} is {known}not read; read are {', '.join(sorted(ENCODINGS))}")
    return encoding
