"""One look for all figures: colours safe for colour-blind readers, SVG that takes the page's text colour."""

import io
import re
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import ClassVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito 2008, without yellow and black, which vanish on a light or on a dark page.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
OTHERS = "#8a8a8a"
INK = "#010203"  # in the page's SVG this colour becomes currentColor
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "report", "text.parse_math": False,  # names from data are no formulas
    "font.family": "sans-serif", "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False,
    "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "legend.labelcolor": INK, "legend.frameon": False, "grid.color": OTHERS, "grid.alpha": 0.3, "grid.linewidth": 0.5,
    "axes.grid": True, "axes.axisbelow": True, "lines.linewidth": 1.5, "lines.markersize": 4,
}  # fmt: skip
SMALL, WIDE = (4.6, 3.3), (9.2, 4.6)  # inches


@dataclass(frozen=True)
class Drawing:
    """A finished figure. `description` says in numbers what it shows, for those who cannot see it."""

    name: str
    title: str
    description: str
    figure: Figure
    folded: bool = False
    kind: ClassVar[str] = "figure"

    @property
    def wide(self) -> bool:
        return self.figure.get_figwidth() > SMALL[0]

    @cached_property
    def svg(self) -> str:
        """The SVG file as matplotlib writes it, on a transparent ground."""
        file = io.StringIO()
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
        return file.getvalue()

    def save(self, folder: Path) -> None:
        """Write `<name>.png` and `<name>.svg`."""
        (folder / f"{self.name}.svg").write_text(self.svg, encoding="utf-8")
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(folder / f"{self.name}.png", dpi=150, facecolor="white")

    @property
    def inline(self) -> str:
        """The SVG element for the page: own ids, no size of its own, text and axes in the page's colour."""
        svg = self.svg
        svg = svg[svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
        svg = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{self.name}-", svg).replace(INK, "currentColor")
        opening, rest = svg.split(">", 1)
        opening = re.sub(r' (width|height|version)="[^"]*"', "", opening)
        labels = (
            f'<title id="{self.name}-title">{escape(self.title)}</title>'
            f'<desc id="{self.name}-desc">{escape(self.description)}</desc>'
        )
        return f'{opening} role="img" aria-labelledby="{self.name}-title {self.name}-desc">{labels}{rest}'


def new_figure(size: tuple = SMALL, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """A figure and its axes [rows * columns]."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options).ravel()


def look(number: int) -> dict:
    """Colour, marker and dash of the n-th line: of six any one of the three tells it apart, of more two of them do."""
    turn, number = divmod(number, len(PALETTE))
    other = (number + turn) % len(PALETTE)
    return {"color": PALETTE[number], "marker": MARKERS[other], "linestyle": DASHES[other]}


def legend_below(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """One legend for the whole figure, under it, where it covers no line."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
