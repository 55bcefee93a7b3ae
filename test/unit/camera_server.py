# SPDX-License-Identifier: Apache-2.0
"""A server of dv-processing in a process of its own: ``camera_server.py SOCKET RECORDING``.

Streams the recording's events to the first client, then waits to be killed. Another process, because
the library's server and client block each other when they end in one.
"""

import sys
import threading

import dv_processing as dv


def main() -> None:
    socket, recording = sys.argv[1:]
    reader = dv.io.MonoCameraRecording(recording)
    stream = dv.io.Stream.EventStream(0, "events", reader.getCameraName(), reader.getEventResolution())
    server = dv.io.NetworkWriter(socket, stream)
    sys.stdout.write("ready\n")
    pause = threading.Event()
    while server.getClientCount() == 0:
        pause.wait(0.002)
    while reader.isRunning():
        batch = reader.getNextEventBatch()
        if batch is not None:
            server.writeEvents(batch)
    threading.Event().wait()


if __name__ == "__main__":
    main()
