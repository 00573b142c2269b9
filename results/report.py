"""The report of a study: one HTML page that needs no network, its figures as PNG and SVG, its tables as CSV.

python results/report.py STUDY [--show-real] [--out DIR]
"""

import argparse
import sys
from itertools import chain
from pathlib import Path

import matplotlib

from results.leaderboard import exit_code
from results.page.answer import Answer, answer
from results.page.figure import STYLE, Drawing
from results.page.parts import Table
from results.page.sections import render, sections
from results.stats.evidence import read_evidence
from results.text import printable, wrap


def write_report(study: Path, out: Path | None = None, show_real: bool = False) -> tuple[Path, Answer]:
    """Write the report of a study into `out` (default: `<study>/report`); returns the page's path and the answer.

    With `show_real` the page, and only the page, holds photographs of the training set.
    Raises TableError for a folder that is no study or whose tables are damaged.
    """
    evidence = read_evidence(study)
    out = Path(out or Path(study) / "report")
    with matplotlib.rc_context(STYLE):
        made = sections(evidence, show_real)
    for folder in ("figures", "tables"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    found = answer(evidence)
    for part in chain(found.tables, *(section.parts for section in made)):
        if isinstance(part, Drawing):
            part.save(out / "figures")
        elif isinstance(part, Table):
            part.frame.replace("\n", " ", regex=True).to_csv(out / "tables" / f"{part.name}.csv", index=False)
    page = out / "report.html"
    page.write_text(render(evidence, found, made), encoding="utf-8")
    return page, found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write a study's report: one HTML page, figures and tables.")
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder, <out>/<study>")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write it (default: STUDY/report)")
    show = "show the training photographs that are nearest to synthetic images"
    parser.add_argument("--show-real", action="store_true", help=show)
    options = parser.parse_args(arguments)

    def show_answer() -> None:
        page, found = write_report(options.study, options.out, options.show_real)
        facts = [f"{subject}: {finding}" for subject, finding in found.facts]
        lines = [*found.lines, *facts, "May not be concluded:", *(f"- {limit}" for limit in found.limits)]
        print(*map(wrap, lines), "", sep="\n")
        print(*map(printable, map(str, (page, page.parent / "figures", page.parent / "tables"))), sep="\n")

    return exit_code(show_answer)


if __name__ == "__main__":
    sys.exit(main())
