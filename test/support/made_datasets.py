# SPDX-License-Identifier: Apache-2.0
"""Data sets that tests make, byte by byte as their descriptions say."""

import struct

import numpy as np
from made_events import make_events


def five_bytes(events):
    """Write events as N-MNIST's files hold them."""
    rows = []
    for t, x, y, p in events[["t", "x", "y", "p"]].tolist():
        rows.append(bytes([x, y, (p << 7) | (t // 1000 >> 16)]) + struct.pack(">H", t // 1000 & 0xFFFF))
    return b"".join(rows)


def pack(path, recordings, labels, **changes):
    joined = np.concatenate(recordings)
    columns = {
        "x": joined["x"].astype(np.uint8), "y": joined["y"].astype(np.uint8), "p": joined["p"].astype(bool),
        "t": (joined["t"] // 1000).astype(np.uint32), "label": np.array(labels, np.uint8),
        "offsets": np.cumsum([0, *map(len, recordings)]).astype(np.int64),
        "sample_id": np.arange(len(labels), dtype=np.int32),
    }  # fmt: skip
    columns |= changes
    np.savez_compressed(path, **{name: column for name, column in columns.items() if column is not None})


def digits(per_class=5, seed=0, until_ns=100_000_000):
    labels = [digit for digit in range(10) for _ in range(per_class)]
    return [make_events(40, seed=seed + k, until_ns=until_ns) for k in range(len(labels))], labels


def aedat31(events):
    """Write events as the DVS128 files of the data set hold them, 100 a packet."""
    parts = [
        (
            b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n"
            b"#Start-Time: 2016-09-13 13:23:10 (TZ+0000)\r\n#!END-HEADER\r\n"
        )
    ]
    for start in range(0, len(events), 100):
        piece = events[start : start + 100][["t", "x", "y", "p"]].tolist()
        parts.append(struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(piece), len(piece), len(piece)))
        parts += [struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t // 1000) for t, x, y, p in piece]
    return b"".join(parts)


HEADER = "class,startTime_usec,endTime_usec"


def make_dvsgesture(root, users=range(1, 6), test_users=(24, 25), gestures=tuple(range(1, 12))):
    for name, of in (("trials_to_train.txt", users), ("trials_to_test.txt", test_users)):
        trials = []
        for user in of:
            trial = f"user{user:02d}_led"
            events = make_events(1200, 128, 128, seed=user, until_ns=1_200_000_000)
            (root / f"{trial}.aedat").write_bytes(aedat31(events))
            rows = [f"{g},{100_000 * k + 50_000},{100_000 * k + 140_000}" for k, g in enumerate(gestures)]
            (root / f"{trial}_labels.csv").write_text("\n".join([HEADER, *rows]) + "\n")
            trials.append(f"{trial}.aedat")
        (root / name).write_text("\n".join(trials) + "\n\n")
    return root
