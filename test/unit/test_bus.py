# SPDX-License-Identifier: Apache-2.0
"""The graph in one process: order of delivery, timers, given topics, loops."""

import pytest

from neuro_ros.cores.bus import Bus, BusError
from neuro_ros.cores.core import Core, Output


class Relay(Core):
    """Says what it hears on another topic, with its name before it."""

    def __init__(self, name, source, sink, period_ns=0):
        self.name, self.sink, self.period_ns = name, sink, period_ns
        self.inputs, self.outputs = {source: str}, {sink: str}

    def timers(self):
        return {"beat": self.period_ns} if self.period_ns else {}

    def activate(self, now_ns):
        return (Output(self.sink, f"{self.name} up"),)

    def receive(self, topic, message, now_ns):
        return (Output(self.sink, f"{self.name}({message})"),)

    def tick(self, timer, now_ns):
        return (Output(self.sink, f"{self.name} {timer}"),)

    def deactivate(self, now_ns):
        return (Output(self.sink, f"{self.name} down"),)


def said(bus):
    return [(item.time_ns, item.message) for item in bus.take()]


def test_messages_are_passed_on_at_once_and_in_order():
    bus = Bus({"a": Relay("a", "in", "middle"), "b": Relay("b", "middle", "out"), "c": Relay("c", "in", "out")})
    bus.activate(0)
    bus.take()
    bus.publish("in", "x", 7)
    assert said(bus) == [(7, "a(x)"), (7, "c(x)"), (7, "b(a(x))")]


def test_timers_fire_at_their_due_time_before_a_later_message():
    bus = Bus({"a": Relay("a", "in", "out", 10), "b": Relay("b", "in", "out", 15)})
    bus.activate(100)
    bus.take()
    bus.publish("in", "x", 131)
    assert said(bus) == [
        (110, "a beat"),
        (115, "b beat"),
        (120, "a beat"),
        (130, "a beat"),
        (130, "b beat"),
        (131, "a(x)"),
        (131, "b(x)"),
    ]


def test_ties_between_timers_follow_the_order_of_the_cores():
    bus = Bus({"a": Relay("a", "in", "out", 10), "b": Relay("b", "in", "out", 10)})
    bus.activate(0)
    bus.take()
    bus.advance(20)
    assert said(bus) == [(10, "a beat"), (10, "b beat"), (20, "a beat"), (20, "b beat")]


def test_activation_and_deactivation_order():
    bus = Bus({"a": Relay("a", "in", "out"), "b": Relay("b", "in", "out")})
    bus.activate(0)
    bus.deactivate(5)
    assert said(bus) == [(0, "a up"), (0, "b up"), (5, "b down"), (5, "a down")]


def test_given_topics_come_from_outside_alone():
    bus = Bus({"a": Relay("a", "in", "middle"), "b": Relay("b", "middle", "out")}, given=["middle"])
    bus.activate(0)
    bus.publish("in", "x", 1)
    bus.publish("middle", "y", 2)
    assert said(bus) == [(0, "b up"), (2, "b(y)")]


def test_backwards_time_is_refused():
    bus = Bus({"a": Relay("a", "in", "out")})
    bus.activate(10)
    with pytest.raises(BusError, match="before 10 ns"):
        bus.publish("in", "x", 9)


def test_inactive_cores_are_not_driven():
    with pytest.raises(BusError, match="not active"):
        Bus({}).advance(1)


def test_a_loop_is_noticed():
    bus = Bus({"a": Relay("a", "in", "in")}, message_limit=50)
    with pytest.raises(BusError, match="without end"):
        bus.activate(0)


def test_types_of_a_topic_must_agree():
    one, other = Relay("a", "in", "out"), Relay("b", "out", "far")
    other.inputs = {"out": int}
    with pytest.raises(BusError, match="b uses int on 'out', others str"):
        Bus({"a": one, "b": other})


def test_a_timer_without_a_period_is_refused():
    class Frantic(Core):
        def timers(self):
            return {"now": 0}

    with pytest.raises(BusError, match="period of 0 ns"):
        Bus({"a": Frantic()}).activate(0)
