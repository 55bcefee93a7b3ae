# SPDX-License-Identifier: Apache-2.0
"""Events of a camera: reading, writing, windowing, and the spike tensor on the wire.

NumPy and numba, no ROS. Vendor readers lie behind shims and are imported when a
file needs them.
"""

from neuro_ros.events.count_windows import CountWindower
from neuro_ros.events.encodings import ENCODINGS
from neuro_ros.events.formats import WRITERS, Recording, RecordingWriter, create_recording, open_recording
from neuro_ros.events.geometry import MAX_BITMAP_BYTES, Geometry, GeometryError
from neuro_ros.events.pacing import time_slices
from neuro_ros.events.stream import PacketDecoder
from neuro_ros.events.tensor import (
    ENCODING_BITMAP,
    ENCODING_COO,
    TensorError,
    WindowDigest,
    active_indices,
    decode_tensor,
    encode_tensor,
)
from neuro_ros.events.types import (
    EVENT_DTYPE,
    TRIGGER_DTYPE,
    DecodeCounters,
    EventBatch,
    RecordingError,
)
from neuro_ros.events.warm_up import warm_up
from neuro_ros.events.window_base import (
    CHANNELS,
    LATE_POLICIES,
    MAX_GAP_NS,
    POLARITIES,
    BaseWindower,
    SpikeWindow,
    WindowCounters,
    WindowError,
)
from neuro_ros.events.windower import Windower

__all__ = [
    "CHANNELS",
    "ENCODINGS",
    "ENCODING_BITMAP",
    "ENCODING_COO",
    "EVENT_DTYPE",
    "LATE_POLICIES",
    "MAX_BITMAP_BYTES",
    "MAX_GAP_NS",
    "POLARITIES",
    "TRIGGER_DTYPE",
    "WRITERS",
    "BaseWindower",
    "CountWindower",
    "DecodeCounters",
    "EventBatch",
    "Geometry",
    "GeometryError",
    "PacketDecoder",
    "Recording",
    "RecordingError",
    "RecordingWriter",
    "SpikeWindow",
    "TensorError",
    "WindowCounters",
    "WindowDigest",
    "WindowError",
    "Windower",
    "active_indices",
    "create_recording",
    "decode_tensor",
    "encode_tensor",
    "open_recording",
    "time_slices",
    "warm_up",
]
