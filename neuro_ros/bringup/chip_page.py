# SPDX-License-Identifier: Apache-2.0
"""The page of a chip mapping: how busy its cores are, where they lie, what more cores gain, and the whole text."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from neuro_ros.bringup.drawing import BLUE, GREY, GRID, INK, ORANGE, RED, SOFT, draw
from neuro_ros.bringup.page import html_page, write_html
from neuro_ros.snn.chips import REMAP_UTILISATION, ChipMapping, Trade, histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["chip_page_text", "write_chip_page"]

# One colour a layer, in turn; chosen to stay apart for people with a colour deficiency (Okabe and Ito 2008).
_LAYERS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d31", "#5b4fa0")


def _histogram(mapping: ChipMapping) -> str | None:
    """Draw how many cores are how busy; None where that is not known."""
    busy = mapping.utilisation
    if busy is None:
        return None

    def paint(axes: Axes) -> None:
        axes.set_xlabel("share of a step that a core works [%]")
        axes.set_ylabel("cores")
        counts = histogram(busy)
        edges = [10.0 * index for index in range(11)]
        colours = [ORANGE if edge >= 100 * REMAP_UTILISATION - 1e-9 else BLUE for edge in edges[:10]]
        axes.bar(edges, counts, width=9.4, align="edge", color=[*colours, RED])
        axes.axvline(100 * REMAP_UTILISATION, color=INK, linewidth=1.0, linestyle="--")
        axes.text(100 * REMAP_UTILISATION + 0.6, max(counts), "remap", color=SOFT, va="top")
        axes.set_xticks([*edges, 105.0], [*(f"{edge:.0f}" for edge in edges), "\nabove"])
        axes.locator_params(axis="y", integer=True)
        axes.grid(True, axis="y", color=GRID, linewidth=0.8)

    return draw(2.6, paint, "histogram")


def _floor(mapping: ChipMapping) -> str | None:
    """Draw the tiles with their cores; None where places are not known."""
    mesh, busy = mapping.profile.mesh, mapping.utilisation
    if mesh is None or any(core.place < 0 for core in mapping.cores):
        return None
    side = next(number for number in range(1, 100) if number * number >= mesh.cores_per_tile)

    def corner(place: int) -> tuple[float, float]:
        column, row = mesh.tile(place)
        within = place % mesh.cores_per_tile
        return column * (side + 0.4) + within % side, row * (side + 0.4) + within // side

    def paint(axes: Axes) -> None:
        from matplotlib.patches import Patch, Rectangle

        used = {core.place: index for index, core in enumerate(mapping.cores)}
        for place in range(int(min(mapping.profile.limit("cores"), mesh.cores))):
            x, y = corner(place)
            if place not in used:
                axes.add_patch(Rectangle((x, y), 0.94, 0.94, facecolor="#f4f6f8", edgecolor=GREY, linewidth=0.4))
                continue
            core = mapping.cores[used[place]]
            colour = _LAYERS[mapping.layers.index(core.layer) % len(_LAYERS)]
            axes.add_patch(Rectangle((x, y), 0.94, 0.94, facecolor=colour))
            if busy is not None:
                share = 100 * busy[used[place]]
                text = f"{share:.0f}" if share >= 1 else f"{share:.1f}"
                axes.text(x + 0.47, y + 0.47, text, color="white", ha="center", va="center", fontsize=8)
        axes.set_xlim(-0.2, mesh.columns * (side + 0.4) - 0.2)
        axes.set_ylim(mesh.rows * (side + 0.4) - 0.2, -0.2)
        axes.set_aspect("equal")
        axes.axis("off")
        marks = [
            Patch(color=_LAYERS[index % len(_LAYERS)], label=name) for index, name in enumerate(mapping.layers[:16])
        ]
        axes.legend(handles=marks, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=8, handlelength=1.0)

    return draw(4.9, paint, "floor")


def _trade(trades: Sequence[Trade], mapping: ChipMapping) -> str | None:
    """Draw step time against cores; None where there is no trade."""
    if len(trades) < 2:
        return None

    def paint(axes: Axes) -> None:
        axes.plot([trade.cores for trade in trades], [1e6 * trade.step_time_s for trade in trades], "o-", color=BLUE)
        axes.plot(len(mapping.cores), 1e6 * mapping.step_time_s, "o", color=ORANGE, markersize=9, label="this mapping")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        cores = [trade.cores for trade in trades]
        axes.set_xticks(cores, [str(number) for number in cores])
        axes.minorticks_off()
        times = [1e6 * trade.step_time_s for trade in trades]
        axes.set_yticks(times, [f"{value:.3g}" for value in times])
        axes.set_xlabel("cores")
        axes.set_ylabel("a step takes at least [us]")
        axes.grid(True, color=GRID, linewidth=0.8)
        axes.legend(loc="upper right")

    return draw(3.0, paint, "trade")


def chip_page_text(mapping: ChipMapping, trades: Sequence[Trade], model_id: str, text: str) -> str:
    """Return the page of a mapping as HTML.

    Parameters
    ----------
    mapping : ChipMapping
    trades : sequence of Trade
        As `time_multiplexing` returns them.
    model_id : str
        Of the model.
    text : str
        The report as for the terminal; it becomes part of the page.

    Raises
    ------
    PlotError
        matplotlib is missing.
    """
    figures = [
        ("How busy the cores are", "cores by the share of a step that they work, mean of the run", _histogram(mapping)),
        ("Where they lie", "one square a core, its layer, and the percentage of a step that it works", _floor(mapping)),
        ("Time multiplexing", "fewer cores, longer steps", _trade(trades, mapping)),
    ]
    sections = "\n".join(
        f"<section><h2>{title}</h2><p>{note}</p>\n{svg}</section>" for title, note, svg in figures if svg is not None
    )
    answer = "fits" if mapping.fits else f"does not fit: {len(mapping.violations)} broken limits"
    title = f"{html.escape(model_id)} on {html.escape(mapping.profile.title)}"
    body = f"""<h1>{title}</h1>
<p>{answer}. No chip was at hand: limits, times and energies are from publications, and energy is an estimate.</p>
{sections}
<h2>Report</h2>
<pre>{html.escape(text)}</pre>"""
    return html_page(f"neuro_ros map: {title}", body)


def write_chip_page(
    mapping: ChipMapping, trades: Sequence[Trade], model_id: str, text: str, path: str | os.PathLike[str]
) -> None:
    """Write the page of a mapping, whole or not at all.

    Raises
    ------
    PlotError
        matplotlib is missing.
    UsageError
        The file cannot be written; an older one is whole.
    """
    write_html(chip_page_text(mapping, trades, model_id, text), path)
