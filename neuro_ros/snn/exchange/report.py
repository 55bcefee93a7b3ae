# SPDX-License-Identifier: Apache-2.0
"""What an import changed, layer by layer, in numbers: nothing that the registers took away stays unsaid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Change", "ImportReport", "LayerReport", "ProjectionReport"]


@dataclass(frozen=True)
class Change:
    """A value as the file has it, and as the register has it, in the unit of the file."""

    nominal: float
    effective: float
    clipped: bool = False

    @property
    def relative_error(self) -> float:
        """(effective - nominal) / nominal; 0 where they are the same, NaN where one of them is infinite."""
        if self.effective == self.nominal:
            return 0.0
        if self.nominal == 0.0 or not math.isfinite(self.nominal - self.effective):
            return math.nan
        return (self.effective - self.nominal) / self.nominal


@dataclass(frozen=True)
class ProjectionReport:
    """The weights of one projection.

    Parameters
    ----------
    source : str
        ``input``, or the layer whose spikes it carries.
    kind : str
        Of the connection.
    weights : int
        Weights that are stored.
    rms_error : float
        Root of the mean square of what rounding and clipping changed, over that of the weights; 0 where nothing did.
    zeroed, clipped : int
        Weights that became zero without being zero, and that hit the end of the register.
    delay_steps : int
        The longest delay.
    delays_clipped : int
        Delays beyond what is representable.
    delay_error_steps : float
        The largest change of a delay by rounding to whole steps.
    """

    source: str
    kind: str
    weights: int
    rms_error: float
    zeroed: int
    clipped: int
    delay_steps: int = 0
    delays_clipped: int = 0
    delay_error_steps: float = 0.0

    @property
    def zeroed_share(self) -> float:
        """Share of the weights that became zero without being zero."""
        return self.zeroed / self.weights


@dataclass(frozen=True)
class LayerReport:
    """One layer.

    Parameters
    ----------
    name : str
    shape : (int, int, int)
    scale : float
        Register units of a weight a unit of the file.
    projections : tuple of ProjectionReport
    tau_syn, tau_mem : Change
        Time constants in the unit and the discretisation of the file; 0 = no synaptic current of its own, inf = never.
    threshold : Change
    bias_error : float
        The largest change of a bias, in the unit of the threshold.
    biases_clipped : int
    dropped, notes : tuple of str
        What the file asks for and the layer does not have; what else was changed.
    """

    name: str
    shape: tuple[int, int, int]
    scale: float
    projections: tuple[ProjectionReport, ...]
    tau_syn: Change
    tau_mem: Change
    threshold: Change
    bias_error: float = 0.0
    biases_clipped: int = 0
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it all as plain numbers and texts."""
        plain = asdict(self)
        for entry, projection in zip(plain["projections"], self.projections, strict=True):
            entry["zeroed_share"] = projection.zeroed_share
        for name in ("tau_syn", "tau_mem", "threshold"):
            plain[name]["relative_error"] = getattr(self, name).relative_error
        return plain

    def lines(self) -> list[str]:
        """Return it for people."""
        lines = [f"{self.name}: {' x '.join(str(n) for n in self.shape)}, scale {self.scale:.6g}"]
        lines.extend(
            f"  from {part.source} ({part.kind}): {part.weights} weights, rms error {100 * part.rms_error:.2f} %, "
            f"{100 * part.zeroed_share:.1f} % became zero, {part.clipped} clipped"
            + (
                f"; delays up to {part.delay_steps} steps, {part.delays_clipped} clipped, "
                f"rounded by up to {part.delay_error_steps:.2g}"
                if part.delay_steps or part.delays_clipped
                else ""
            )
            for part in self.projections
        )
        for what, change in (("tau_syn", self.tau_syn), ("tau_mem", self.tau_mem), ("threshold", self.threshold)):
            lines.append(
                f"  {what} {change.nominal:.6g} became {change.effective:.6g}"
                + (" (the end of the register)" if change.clipped else "")
            )
        if self.bias_error or self.biases_clipped:
            lines.append(f"  biases changed by up to {self.bias_error:.3g}, {self.biases_clipped} clipped")
        lines.extend(f"  dropped: {text}" for text in self.dropped)
        lines.extend(f"  note: {text}" for text in self.notes)
        return lines


@dataclass(frozen=True)
class ImportReport:
    """An import.

    Parameters
    ----------
    format : str
        Name of the format.
    layers : tuple of LayerReport
        In the order of the network.
    notes : tuple of str
        What concerns the network as a whole.
    difference : mapping, optional
        `neuro_ros.snn.exchange.difference.Difference.as_dict()`, where it was asked for.
    """

    format: str
    layers: tuple[LayerReport, ...]
    notes: tuple[str, ...] = ()
    difference: Mapping[str, Any] | None = field(default=None)

    def as_dict(self) -> dict[str, Any]:
        """Return it all as plain numbers and texts."""
        return {
            "format": self.format,
            "layers": [layer.as_dict() for layer in self.layers],
            "notes": list(self.notes),
            "difference": dict(self.difference) if self.difference is not None else None,
        }
