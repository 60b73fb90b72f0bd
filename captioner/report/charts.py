"""Charts as inline SVG, from numbers to markup. Colours come from the page's style sheet, so that they follow light and dark.

Every function returns safe markup. Charts of categories are one bar for a table's cell, because a table is a chart that
screen readers, phones and printers understand; only distributions and curves have axes of their own.
"""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 380, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 34


def element(name: str, *children: str, **attributes: object) -> Markup:
    """Return an element; underscores in names of attributes become hyphens, None leaves one out."""
    given = Markup("").join(
        Markup(' {}="{}"').format(k.rstrip("_").replace("_", "-"), _number(v))
        for k, v in attributes.items()
        if v is not None
    )
    inner = Markup("").join(map(escape, children))
    return Markup("<{}{}>{}</{}>").format(name, given, inner, name)


def _number(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def interval(share: float, low: float, high: float, start: float = 0.0) -> Markup:
    """Return a share with its interval as a point and a line, on a scale from ``start`` to 1; for a table's cell."""
    if math.isnan(share):
        return Markup("")

    def x(value: float) -> float:
        return 100 * min(1.0, max(0.0, (value - start) / (1 - start)))

    return element(
        "svg",
        element("rect", x=0, y=6.5, width=100, height=3, rx=1.5, class_="track"),
        element("rect", x=x(low), y=6.5, width=max(0.8, x(high) - x(low)), height=3, rx=1.5, class_="range"),
        element("rect", x=max(0.0, x(share) - 0.7), y=2, width=1.4, height=12, class_="point"),
        viewBox="0 0 100 16",
        preserveAspectRatio="none",
        class_="cell",
        aria_hidden="true",
    )


def bar(share: float, whole: float = 1.0, kind: str = "bad") -> Markup:
    """Return a share of ``whole`` as a bar; for a table's cell."""
    width = 100 * share / whole if whole else 0.0
    return element(
        "svg",
        element("rect", x=0, y=3, width=100, height=10, rx=1, class_="track"),
        element("rect", x=0, y=3, width=max(0.6 if share else 0.0, width), height=10, rx=1, class_=kind),
        viewBox="0 0 100 16",
        preserveAspectRatio="none",
        class_="cell",
        aria_hidden="true",
    )


def stack(parts: Sequence[tuple[str, float]]) -> Markup:
    """Return shares of one whole side by side: ``(kind, share)``; for a table's cell."""
    drawn, x = [], 0.0
    for kind, share in parts:
        if share > 0:
            drawn.append(element("rect", x=100 * x, y=3, width=max(0.6, 100 * share), height=10, class_=kind))
            x += share
    return element("svg", *drawn, viewBox="0 0 100 16", preserveAspectRatio="none", class_="cell", aria_hidden="true")


def pair(first: float, second: float, whole: float) -> Markup:
    """Return two shares as two points on one line; for a table's cell."""
    a, b = (98 * v / whole if whole else 0.0 for v in (first, second))
    return element(
        "svg",
        element("rect", x=0, y=7.5, width=100, height=1, class_="track"),
        element("rect", x=min(a, b), y=6.5, width=abs(a - b) + 1, height=3, class_="range"),
        element("rect", x=a, y=2, width=1.4, height=12, class_="first"),
        element("rect", x=b, y=2, width=1.4, height=12, class_="second"),
        viewBox="0 0 100 16",
        preserveAspectRatio="none",
        class_="cell",
        aria_hidden="true",
    )


def histogram(bins: Sequence[tuple[float, float, int]], title: str, x_label: str, y_label: str = "captions") -> Markup:
    """Return a distribution: ``(from, to, how many)`` for each bin, in order."""
    if not bins or not any(n for _, _, n in bins):
        return Markup("")
    low, high = bins[0][0], bins[-1][1]
    frame = _Frame(low, high, max(n for _, _, n in bins))
    drawn = [
        element(
            "rect",
            element("title", f"{_range(a, b)} {x_label}: {n:,} {y_label}"),
            x=frame.x(a) + 0.5,
            y=frame.y(n),
            width=max(0.8, frame.x(b) - frame.x(a) - 1),
            height=frame.y(0) - frame.y(n),
            class_="bar",
        )
        for a, b, n in bins
        if n
    ]
    return frame.chart(drawn, title, x_label, y_label)


def curve(points: Sequence[tuple[float, float]], title: str, x_label: str, y_label: str) -> Markup:
    """Return a line through points."""
    if len(points) < 4:  # nothing to see yet
        return Markup("")
    frame = _Frame(0, max(x for x, _ in points), max(y for _, y in points))
    path = "M" + " L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points)
    return frame.chart([element("path", d=path, class_="line")], title, x_label, y_label)


def trend(points: Sequence[Mapping[str, float]], labels: Sequence[str], title: str) -> Markup:
    """Return shares with their intervals, one audit after another: ``share``, ``low`` and ``high``, oldest first."""
    if len(points) < 2:
        return Markup("")
    bottom = math.floor(10 * min(p["low"] for p in points)) / 10
    top = math.ceil(10 * max(p["high"] for p in points)) / 10
    frame = _Frame(-0.5, len(points) - 0.5, top, bottom, x_ticks=False, percent=True)
    middle = "M" + " L".join(f"{frame.x(i):.1f} {frame.y(p['share']):.1f}" for i, p in enumerate(points))
    drawn = [element("path", d=middle, class_="line")]
    for i, (p, label) in enumerate(zip(points, labels, strict=True)):
        x = frame.x(i)
        text = f"{label}: {100 * p['share']:.1f} % ({100 * p['low']:.1f} to {100 * p['high']:.1f})"
        drawn.append(
            element(
                "g",
                element("title", text),
                element("line", x1=x, x2=x, y1=frame.y(p["low"]), y2=frame.y(p["high"]), class_="whisker"),
                element("circle", cx=x, cy=frame.y(p["share"]), r=3.5, class_="dot"),
            )
        )
    return frame.chart(drawn, title, "audits, the latest on the right", "agreement")


class _Frame:
    """Axes and the scales that belong to them."""

    def __init__(
        self, left: float, right: float, top: float, bottom: float = 0.0, *, x_ticks: bool = True, percent: bool = False
    ) -> None:
        self.left, self.right = left, right if right > left else left + 1
        self.bottom, self.top = bottom, top if top > bottom else bottom + 1
        self.x_ticks, self.percent = x_ticks, percent

    def x(self, value: float) -> float:
        return _LEFT + (value - self.left) / (self.right - self.left) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self.bottom) / (self.top - self.bottom) * (_HEIGHT - _TOP - _BOTTOM)

    def chart(self, drawn: Sequence[Markup], title: str, x_label: str, y_label: str) -> Markup:
        grid = []
        for value in ticks(self.bottom, self.top):
            y = self.y(value)
            text = f"{100 * value:.0f} %" if self.percent else short(value)
            grid.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
            grid.append(element("text", text, x=_LEFT - 5, y=y + 4, text_anchor="end"))
        grid += [
            element("text", short(value), x=self.x(value), y=_HEIGHT - _BOTTOM + 15, text_anchor="middle")
            for value in (ticks(self.left, self.right) if self.x_ticks else ())
        ]
        middle = _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
        grid.append(element("text", x_label, x=middle, y=_HEIGHT - 3, text_anchor="middle", class_="axis"))
        return element(
            "svg",
            element("title", f"{title} ({y_label} by {x_label})"),
            *grid,
            *drawn,
            viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
            class_="chart",
            role="img",
        )


def head(names: Sequence[str]) -> str:
    """Return how high the head of a table is, in rem, in which names stand at 45 degrees; longer ones than 28 are cut."""
    longest = min(28, max(map(len, names), default=0))
    return f"{2 + longest * 0.46 * math.sqrt(0.5):.1f}"


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers from low to high."""
    rough = (high - low) / wanted
    if rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Return a number in little room: 1.2k, 3M, 0.25."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def _range(low: float, high: float) -> str:
    return f"{low:g}" if high - low == 1 else f"{low:g} to {high:g}"
