"""Bars with whiskers as SVG: small, without a library, and readable on light and on dark.

Here: drawing.  Not here: what is drawn (`bench/page.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, ROW, HEAD, GAP = 760, 170, 96, 24, 34, 18
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600 } .value { font-size: 12px }
.bar { fill: #9aa4b2 } .limit { fill: #cbd2da } .us { fill: #0969da } .whisker { stroke: #1f2328; stroke-width: 1.2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .bar { fill: #6e7681 } .limit { fill: #3d444d } .us { fill: #4493f8 } .whisker { stroke: #e6edf3 }
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: the median, from the least to the most; `kind` is `limit`, `us` or `bar`."""

    name: str
    kind: str
    low: float
    middle: float
    high: float


def svg(panels: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Panels one below the other, each with a scale of its own that begins at zero."""
    parts: list[str] = []
    y = 0
    for title, bars in panels:
        parts.append(f'<text class="head" x="0" y="{y + 20}">{escape(title)}</text>')
        y += HEAD
        longest = max(bar.high for bar in bars)
        for bar in bars:
            parts += _bar(bar, y, (WIDTH - LEFT - RIGHT) / longest)
            y += ROW
        y += GAP
    label = escape("; ".join(title for title, _ in panels), quote=True)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" role="img" aria-label="{label}">'
    return "\n".join([head, f"<style>{STYLE}\n</style>", *parts, "</svg>", ""])


def _bar(bar: Bar, y: int, scale: float) -> list[str]:
    middle = y + ROW / 2 - 2
    end, low, high = (round(LEFT + value * scale, 1) for value in (bar.middle, bar.low, bar.high))
    return [
        f'<text x="{LEFT - 8}" y="{middle + 5:g}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect class="{bar.kind}" x="{LEFT}" y="{y + 2}" width="{max(1.0, round(end - LEFT, 1))}" height="{ROW - 8}" rx="2"/>',
        f'<line class="whisker" x1="{low}" x2="{high}" y1="{middle:g}" y2="{middle:g}"/>',
        f'<text class="value" x="{max(end, high) + 6:g}" y="{middle + 5:g}">{bar.middle:,.0f}</text>',
    ]
