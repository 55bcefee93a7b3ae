# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for Lava's injector and extractor, which hold shared memory and a process each.

A module of its own, because Lava looks for the model of a process in the module that defines the process. Imported
after `neuro_ros.snn.lava_shim.require_lava`, and only by `lava_in_process`.
"""

import queue

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class Injector(AbstractProcess):
    """Sends the frames it is given, one a step."""

    def __init__(self, shape, buffer_size):
        self.items = queue.SimpleQueue()
        super().__init__(items=self.items)
        self.out_port = OutPort(shape=shape)

    def send(self, frame):
        """Give the frame of a step."""
        self.items.put(frame)


class Extractor(AbstractProcess):
    """Hands out what a port sent, one frame a step."""

    def __init__(self, shape, buffer_size):
        self.items = queue.SimpleQueue()
        super().__init__(items=self.items)
        self.in_port = InPort(shape=shape)

    def receive(self):
        """Return the frame of the next step."""
        frame = self.items.get()
        if isinstance(frame, BaseException):
            raise frame
        return frame


@implements(proc=Injector, protocol=LoihiProtocol)
@requires(CPU)
class IntegerInjectorModel(PyLoihiProcessModel):
    """The model of `Injector`; named as the one that it stands in for."""

    out_port: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self):
        """Run one step."""
        self.out_port.send(self.proc_params["items"].get())


@implements(proc=Extractor, protocol=LoihiProtocol)
@requires(CPU)
class PyLoihiExtractorModel(PyLoihiProcessModel):
    """The model of `Extractor`; named as the one that it stands in for."""

    in_port: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)

    def run_spk(self):
        """Run one step."""
        self.proc_params["items"].put(self.in_port.recv())
