"""The results as an SVG file, for light and dark pages, with a description for screen readers."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.cases import OURS, SQLITE, Case
from bench.measure import Result

WIDTH = 760
NAME_WIDTH = 230
BAR_WIDTH = 360
LINE = 24
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.unit { fill: #59636e; font-size: 12px; }
.bar { fill: #afb8c1; }
.ours { fill: #0969da; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .unit { fill: #9198a1; }
  .bar { fill: #4c535b; }
  .ours { fill: #4493f8; }
}
"""


@dataclass(frozen=True)
class Bar:
    name: str
    value: float
    label: str
    is_ours: bool


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    bars: Sequence[Bar]

    @property
    def height(self) -> int:
        return LINE * (len(self.bars) + 2) + 12

    @property
    def description(self) -> str:
        """Describe the panel in words."""
        values = "; ".join(f"{bar.name} {bar.label}" for bar in self.bars)
        return f"{self.title} ({self.unit}): {values}."


def panels(results: Sequence[Result]) -> list[Panel]:
    """Return panels of the speed of XLSX and CSV and of our memory, from SQLite, without empty ones."""
    measured = [each for each in results if each.is_measured and each.case.database == SQLITE]
    plain = [each for each in measured if each.case.variant == ""]
    rows = max((each.case.rows for each in plain if each.case.tool != OURS), default=0)
    shown = [each for each in plain if each.case.tool != OURS or each.case.rows == rows]
    found = [
        Panel(f"{format.upper()} from SQLite", "rows a second; more is better", speed_bars(shown, format))
        for format in ("xlsx", "csv")
    ]
    found.append(Panel("Our memory as rows grow", "peak MiB; less is better", memory_bars(plain)))
    return [panel for panel in found if panel.bars]


def speed_bars(results: Sequence[Result], format: str) -> list[Bar]:
    chosen = [each for each in results if each.case.format == format]
    chosen.sort(key=lambda each: -each.rows_per_second)
    return [
        Bar(_name(each.case), each.rows_per_second, f"{each.rows_per_second:,.0f}", each.case.tool == OURS)
        for each in chosen
    ]


def memory_bars(results: Sequence[Result]) -> list[Bar]:
    chosen = [each for each in results if each.case.tool == OURS and each.case.processes == 1]
    chosen = [each for each in chosen if each.case.format in ("csv", "xlsx")]
    chosen.sort(key=lambda each: (each.case.format, each.case.rows))
    return [
        Bar(f"{each.case.format.upper()}, {each.case.rows:,} rows", each.peak_mib, f"{each.peak_mib:.0f}", True)
        for each in chosen
    ]


def _name(case: Case) -> str:
    return f"{case.tool}, {case.processes} processes" if case.processes > 1 else case.tool


def svg(shown: Sequence[Panel], *, title: str) -> str:
    """Return the panels one below the other, with a title and a description for screen readers."""
    height = sum(panel.height for panel in shown) + 8
    parts, top = [], 8
    for panel in shown:
        parts.append(_panel(panel, top))
        top += panel.height
    described = escape(" ".join(panel.description for panel in shown))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-labelledby="title description">\n<title id="title">{escape(title)}</title>\n'
        f'<desc id="description">{described}</desc>\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(panel: Panel, top: int) -> str:
    most = max(bar.value for bar in panel.bars)
    heading = f'<text class="title" x="0" y="{top + 16}">{escape(panel.title)}</text>'
    unit = f'<text class="unit" x="{NAME_WIDTH}" y="{top + 16}">{escape(panel.unit)}</text>'
    lines = [_line(bar, top + LINE * (place + 1), bar.value / most) for place, bar in enumerate(panel.bars)]
    return "\n".join([heading, unit, *lines])


def _line(bar: Bar, top: int, share: float) -> str:
    length = max(1.0, round(BAR_WIDTH * share, 1))
    style = "ours" if bar.is_ours else "bar"
    return (
        f'<text x="{NAME_WIDTH - 8}" y="{top + 15}" text-anchor="end">{escape(bar.name)}</text>'
        f'<rect class="{style}" x="{NAME_WIDTH}" y="{top + 3}" width="{length}" height="{LINE - 7}" rx="2"/>'
        f'<text x="{NAME_WIDTH + length + 6}" y="{top + 15}">{escape(bar.label)}</text>'
    )
