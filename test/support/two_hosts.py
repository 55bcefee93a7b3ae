# SPDX-License-Identifier: Apache-2.0
"""Two simulated hosts: clocks with offset, rate and wander, and a network path as the targets of the issue have it."""

import math

import numpy as np

S = 1_000_000_000
#: An epoch time at which simulations begin [ns].
START = 1_700_000_000 * S


class Path:
    """One-way delays: a constant, an exponential queue, and now and then a hold-up."""

    def __init__(self, rng, least_ms=0.6, queue_ms=0.2, held_share=0.01, held_ms=20.0):
        self.rng, self.least_ms, self.queue_ms = rng, least_ms, queue_ms
        self.held_share, self.held_ms = held_share, held_ms

    def __call__(self):
        """Draw one delay [ns]."""
        delay_ms = self.least_ms + self.rng.exponential(self.queue_ms)
        if self.rng.random() < self.held_share:
            delay_ms += self.rng.uniform(0.0, self.held_ms)
        return round(delay_ms * 1e6)


class Clock:
    """A local clock over the master's time: offset, skew, and a skew that swings with the temperature."""

    def __init__(self, offset_ns=0, skew_ppm=0.0, swing_ppm=0.0, swing_period_s=600.0):
        self.offset_ns, self.skew_ppm = offset_ns, skew_ppm
        self.swing_ppm, self.swing_period_s = swing_ppm, swing_period_s
        self.step_ns = 0

    def offset_at(self, true_ns):
        """Ours minus master's at a master's time [ns]."""
        t = (true_ns - START) / S
        omega = 2 * math.pi / self.swing_period_s
        ppm_s = self.skew_ppm * t + self.swing_ppm * (1 - math.cos(omega * t)) / omega
        return self.offset_ns + self.step_ns + ppm_s * 1e3

    def at(self, true_ns):
        """Our time at a master's time [ns]."""
        return true_ns + round(self.offset_at(true_ns))


def exchanges(clock, there, back, seconds, rate_hz=10.0, start_ns=START):
    """Yield (t1, t2, t3, t4, true time of the end) of one exchange after the other."""
    for k in range(1, round(seconds * rate_hz)):
        t1 = start_ns + round(k * S / rate_hz)
        t2 = t1 + there()
        t3 = t2 + 5_000_000
        t4 = t3 + back()
        yield t1, clock.at(t2), clock.at(t3), t4, t4


def run(estimator, clock, there, back, seconds, rate_hz=10.0, start_ns=START):
    """Feed exchanges; return arrays of time [s], error of the offset [ns], sigma [ns] and state after each of them."""
    rows = []
    for t1, t2, t3, t4, true_ns in exchanges(clock, there, back, seconds, rate_hz, start_ns):
        estimator.add(t1, t2, t3, t4)
        estimate = estimator.estimate(clock.at(true_ns))
        error = estimate.offset_ns - clock.offset_at(true_ns)
        rows.append(((true_ns - start_ns) / S, error, estimate.sigma_ns, int(estimate.state)))
    return np.array(rows).T
