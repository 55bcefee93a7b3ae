# SPDX-License-Identifier: Apache-2.0
"""Packets of a camera driver in the order of their numbers: losses, repetitions, restarts, another camera.

This module refuses to know about windows and host time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from neuro_ros.cores.messages import EventPacket
from neuro_ros.events.stream import PacketDecoder
from neuro_ros.events.types import EventBatch, RecordingError

__all__ = ["PacketCounters", "PacketStream"]

_LOG = logging.getLogger(__name__)
_MAX_REFUSALS_LOGGED = 20
#: No event sensor has this many columns or rows; tables of the size of the sensor are made.
_MAX_SIDE_PX = 65535


@dataclass
class PacketCounters:
    """What happened to packets.

    Parameters
    ----------
    packets : int
        Arrived.
    packets_lost : int
        Missing according to the sequence numbers.
    packets_repeated : int
        Arrived twice; ignored the second time.
    packets_refused : int
        Of an encoding, byte order or size that cannot be read.
    restarts : int
        Times that the numbers started over: the driver was restarted.
    changes : int
        Times that encoding or sensor size changed.
    """

    packets: int = 0
    packets_lost: int = 0
    packets_repeated: int = 0
    packets_refused: int = 0
    restarts: int = 0
    changes: int = 0


class PacketStream:
    """The packets of one topic.

    Attributes
    ----------
    counters : PacketCounters
        Since construction.
    decoder : PacketDecoder or None
        None before the first packet that can be read.
    refusal : str
        Why the last refused packet was refused.
    """

    def __init__(self) -> None:
        self.counters = PacketCounters()
        self.decoder: PacketDecoder | None = None
        self.refusal = ""
        self._last_seq: int | None = None
        self._logged: set[str] = set()

    def begins_anew(self, packet: EventPacket) -> bool:
        """Return True when `packet` does not go on where the last one ended: another sensor, or a restarted driver.

        The caller then ends what it has before it gives the packet to :meth:`decode`.
        """
        if self.decoder is None:
            return False
        return self._differs(self.decoder, packet) or (self._last_seq is not None and packet.seq < self._last_seq)

    def decode(self, packet: EventPacket) -> EventBatch | None:
        """Return the packet's events, None when it is refused or was there before.

        Returns
        -------
        EventBatch or None
            Valid until the next call; not complete when packets are missing before it.
        """
        counters = self.counters
        counters.packets += 1
        if packet.is_bigendian:
            self._refuse("packets are big-endian; only little-endian ones are read")
            return None
        if not (1 <= packet.width <= _MAX_SIDE_PX and 1 <= packet.height <= _MAX_SIDE_PX):
            self._refuse(f"packets state a sensor of {packet.width} x {packet.height} px, each side is 1 to 65535")
            return None
        decoder = self.decoder
        if decoder is None or self._differs(decoder, packet):
            try:
                fresh = PacketDecoder(packet.encoding, packet.width, packet.height)
            except RecordingError as error:
                self._refuse(str(error))
                return None
            if decoder is not None:
                counters.changes += 1
                fresh.counters = decoder.counters  # the books go on
            decoder = self.decoder = fresh
        elif self._last_seq is not None:
            if packet.seq == self._last_seq:
                counters.packets_repeated += 1
                return None
            if packet.seq < self._last_seq:
                counters.restarts += 1
                decoder.reset()
            elif packet.seq > self._last_seq + 1:
                lost = packet.seq - self._last_seq - 1
                counters.packets_lost += lost
                decoder.lose(lost)
        self._last_seq = packet.seq
        return decoder.decode(packet.events, packet.time_base)

    @staticmethod
    def _differs(decoder: PacketDecoder, packet: EventPacket) -> bool:
        # Encodings are named in any case.
        now = (decoder.encoding.lower(), decoder.width, decoder.height)
        return now != (packet.encoding.lower(), packet.width, packet.height)

    def _refuse(self, reason: str) -> None:
        self.counters.packets_refused += 1
        self.refusal = reason
        if reason not in self._logged and len(self._logged) < _MAX_REFUSALS_LOGGED:
            self._logged.add(reason)
            _LOG.error("%s; such packets are refused and counted from now on", reason)
