# SPDX-License-Identifier: Apache-2.0
"""Pages: one HTML file each, without anything fetched from elsewhere; and that of a run: a table and three plots."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

from neuro_ros.bringup.plots import gesture_plot, latency_plot, rate_plot
from neuro_ros.bringup.summary import Summary
from neuro_ros.bringup.table import rows
from neuro_ros.documents import write_atomically
from neuro_ros.errors import UsageError

__all__ = ["html_page", "page_text", "write_html", "write_page"]

_STYLE = """
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: #fff; color: #1c2b3f;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p { margin: 0 0 1rem; color: #52606f; } code { font-size: .92em; }
table { border-collapse: collapse; width: 100%; margin-top: 1.25rem; }
th, td { text-align: left; vertical-align: top; padding: .42rem .9rem .42rem 0; border-bottom: 1px solid #e3e8ee; }
th { font-weight: 600; white-space: nowrap; } td.value { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.note { color: #52606f; width: 100%; } tr.look th, tr.look td.value { color: #b02a2a; }
section, pre { overflow-x: auto; } pre { font-size: 13px; line-height: 1.45; }
svg { display: block; width: 100%; min-width: 40rem; height: auto; }
footer { margin-top: 2.5rem; color: #52606f; font-size: .9rem; }
@media (max-width: 44rem) { tr { display: block; padding: .5rem 0; border-bottom: 1px solid #e3e8ee; }
  th, td { display: block; padding: 0; border: 0; overflow-wrap: anywhere; } td.value { white-space: normal; }
  section:has(svg) > p::after { content: " (the plot scrolls sideways)"; } }
"""


def page_text(summary: Summary) -> str:
    """Return the page of a run as HTML.

    Raises
    ------
    PlotError
        matplotlib is missing.
    """
    table = "\n".join(
        f'<tr{"" if row.good else " class=look"}><th scope="row">{html.escape(row.name)}</th>'
        f'<td class="value">{_cell(row.value)}</td><td class="note">{_cell(row.note)}</td></tr>'
        for row in rows(summary)
    )
    plots = (
        ("Gestures over time", "one mark a window; bars are what was shown", gesture_plot(summary)),
        ("Latency", "from the window being closed to the gesture being published", latency_plot(summary)),
        ("Event rate", "events offered to each window", rate_plot(summary)),
    )
    if not summary.labelled:
        plots = (("Gestures over time", "one mark a window", plots[0][2]), *plots[1:])
    figures = "\n".join(f"<section><h2>{title}</h2><p>{text}</p>\n{svg}</section>" for title, text, svg in plots)
    name = html.escape(Path(summary.path).name)
    body = f"""<h1>neuro_ros run</h1>
<p>Recorded in <code>{html.escape(summary.path)}</code></p>
<table>
{table}
</table>
{figures}
<footer>Rows in red want a look. Percentages of a simulated performance are percentages of a simulation.</footer>"""
    return html_page(f"neuro_ros run: {name}", body)


def html_page(title: str, body: str) -> str:
    """Return a whole page in the style of this package; `title` and `body` are HTML, escaped by the caller."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _cell(text: str) -> str:
    """Escape a text; the groups of a number stay together, and with its unit."""
    return re.sub(r"(?<=\d) (?=\d{3}\b|%|(?:[mu]?s|ppm|degC)\b)", "&nbsp;", html.escape(text))


def write_page(summary: Summary, path: str | os.PathLike[str]) -> None:
    """Write the page of a run, whole or not at all.

    Raises
    ------
    PlotError
        matplotlib is missing.
    UsageError
        The file cannot be written; an older one is whole.
    """
    write_html(page_text(summary), path)


def write_html(text: str, path: str | os.PathLike[str]) -> None:
    """Write a page, whole or not at all.

    Raises
    ------
    UsageError
        The file cannot be written; an older one is whole.
    """
    try:
        write_atomically(Path(path), text.encode())
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
