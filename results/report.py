"""The report of a study: one HTML page that needs no network, its figures as PNG and SVG, its tables as CSV.

python results/report.py STUDY [--show-real] [--out DIR]
"""

import argparse
import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import jinja2
import matplotlib

from results.leaderboard import printable, wrap
from results.page.answer import answer, limits
from results.page.calibration import reliability
from results.page.diagnosis import differences, few_data, leakage, robustness, roc
from results.page.figure import STYLE, Drawing
from results.page.generator import model_pictures, pictured_gans
from results.page.parts import AUDIT, RESUME, Note, Section, Table
from results.page.search import search_figures
from results.page.tables import (
    budget_table,
    comparisons_table,
    confirmed_tables,
    ended_table,
    generator_tables,
    run_table,
    search_table,
    share_table,
    subgroup_tables,
)
from results.page.training import training_figures
from results.stats.evidence import Evidence, read_evidence
from results.tables.published import auroc_statement
from results.tables.store import TableError

REAL_IMAGES_SHOWN = (
    "The lower rows of the closest images are photographs of the training set: treat this page as you treat them."
)


def sections(evidence: Evidence, show_real: bool) -> Iterator[Section]:
    """The report's sections after the answer, in their order."""
    yield Section(
        "effect", "Synthetic against real images",
        "A point right of zero means that adding synthetic images raised accuracy; an interval that crosses zero shows "
        "no difference.",
        [differences(evidence), *comparisons_table(evidence)],
    )  # fmt: skip
    yield Section(
        "leaderboard", "Leaderboard",
        "Ranked on validation images; test images were read once, at the end of a trial. " + auroc_statement() + ".",
        [*search_table(evidence), *confirmed_tables(evidence)],
    )  # fmt: skip
    yield Section(
        "images", "Synthetic images",
        "Sample grids are from fixed noise, none was picked. Distances to training images that are smaller than those "
        "of held-out images point to copying.",
        [*generator_tables(evidence), *image_parts(evidence, show_real)],
    )  # fmt: skip
    yield Section(
        "training", "Training",
        "A line a model; a band spans its seeds. Read a Frechet distance against the dotted line, the distance of real "
        "images to real images.",
        training_figures(evidence),
    )  # fmt: skip
    yield Section(
        "diagnosis", "Diagnosis",
        "All on real test images that no choice has seen. Bands and bars are 95 % intervals over resampled groups, as "
        "images of one wound resemble each other.",
        [roc(evidence), *reliability(evidence), few_data(evidence), robustness(evidence), leakage(evidence),
         *subgroup_tables(evidence), *share_table(evidence)],
    )  # fmt: skip
    yield Section(
        "search", "Search",
        "What was tried and what it cost. Each point is one trial with one seed, so small differences mean little.",
        [*search_figures(evidence), budget_table(evidence)],
    )  # fmt: skip
    yield Section(
        "run", "What was run",
        "Everything that is needed to do it again, and what went wrong.",
        [run_table(evidence), ended_table(evidence), Note(f"Not to be concluded: {'; '.join(limits(evidence))}.")],
    )  # fmt: skip


def image_parts(evidence: Evidence, show_real: bool) -> list:
    """The pictures of every model, and which of them were not audited."""
    gans = pictured_gans(evidence)
    if gans.empty:
        return [Note("No GAN has been trained to its end.", RESUME)]
    parts = [Note(REAL_IMAGES_SHOWN)] if show_real else []
    for _, gan in gans.iterrows():
        parts += model_pictures(evidence, gan, show_real)
    unaudited = gans.loc[~gans["gan_key"].isin(evidence.neighbours["gan_key"]), "name"]
    if 0 < len(unaudited) < len(gans):
        parts.append(Note(f"Not audited for copies: {', '.join(unaudited)}.", f"{AUDIT} --all"))
    return parts


def write_report(study: Path, out: Path | None = None, show_real: bool = False) -> tuple[Path, list[str]]:
    """Write the report of a study into `out` (default: `<study>/report`); returns the page's path and the sentences.

    With `show_real` the page, and only the page, holds photographs of the training set.
    Raises TableError for a folder that is no study or whose tables are damaged.
    """
    evidence = read_evidence(study)
    out = Path(out or Path(study) / "report")
    with matplotlib.rc_context(STYLE):
        made = list(sections(evidence, show_real))
    for folder in ("figures", "tables"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for part in (part for section in made for part in section.parts):
        if isinstance(part, Drawing):
            part.save(out / "figures")
        elif isinstance(part, Table):
            part.frame.to_csv(out / "tables" / f"{part.name}.csv", index=False)
    sentences = answer(evidence)
    page = out / "report.html"
    page.write_text(render(evidence, sentences, made), encoding="utf-8")
    return page, sentences


def render(evidence: Evidence, sentences: list[str], made: list[Section]) -> str:
    """The page. What comes from data is escaped by jinja2; only figures, whose text is escaped, go in as they are."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["base64"] = lambda picture: base64.b64encode(picture).decode()
    trial = evidence.trials.iloc[0]
    return environment.get_template("report.html").render(
        study=evidence.study.resolve().name, sentences=sentences, sections=made, trial=trial
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write a study's report: one HTML page, figures and tables.")
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study's folder, <out>/<study>")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write it (default: STUDY/report)")
    show = "show the photographs that synthetic images come nearest to"
    parser.add_argument("--show-real", action="store_true", help=show)
    options = parser.parse_args(arguments)
    try:
        page, sentences = write_report(options.study, options.out, options.show_real)
    except (TableError, OSError) as error:
        print(printable(str(error)), file=sys.stderr)
        return 2
    print(*map(wrap, sentences), "", sep="\n\n")
    print(*map(printable, map(str, (page, page.parent / "figures", page.parent / "tables"))), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
