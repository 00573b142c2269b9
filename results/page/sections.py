"""The page: its sections in their order, and how they become HTML."""

import base64
from pathlib import Path

import jinja2

from results.page.answer import Answer
from results.page.calibration import reliability
from results.page.diagnosis import differences, few_data, leakage, robustness, roc
from results.page.generator import model_pictures, pictured_gans
from results.page.parts import AUDIT, RESUME, Note, Section
from results.page.run import budget_table, ended_table, run_table
from results.page.search import search_figures
from results.page.systems import system_parts
from results.page.tables import (
    comparisons_table,
    confirmed_tables,
    generator_tables,
    search_table,
    share_table,
    subgroup_tables,
)
from results.page.training import training_figures
from results.stats.evidence import Evidence
from results.tables.published import auroc_statement

REAL_IMAGES_SHOWN = (
    "The lower rows of the closest images are photographs of the training set: protect this page as you protect them."
)


def sections(evidence: Evidence, show_real: bool) -> list[Section]:
    """The report's sections after the answer, in their order."""
    return [
        Section(
            "effect", "Synthetic against real images",
            "Right of zero, synthetic images raised the accuracy; an interval that crosses zero decides nothing.",
            [differences(evidence), *comparisons_table(evidence)],
        ),
        Section(
            "leaderboard", "Leaderboard",
            f"Validation images rank the trials; test images are read once, at a trial's end. {auroc_statement()}.",
            [*search_table(evidence), *confirmed_tables(evidence)],
        ),
        Section(
            "systems", "Systems at an equal cost",
            "Each line is a system, its band spans the seeds; lower is better, the dotted line is the floor.",
            system_parts(evidence),
        ),
        Section(
            "images", "Synthetic images",
            "The grids come from fixed noise; no image was picked. Synthetic images that lie nearer to training images "
            "than held-out images do point to copying.",
            [*generator_tables(evidence), *image_parts(evidence, show_real)],
        ),
        Section(
            "training", "Training",
            "One line per model; its band spans the seeds. The dotted line is the distance of real to real images.",
            training_figures(evidence),
        ),
        Section(
            "diagnosis", "Diagnosis",
            "All on real test images, with the seeds that chose the arm, so that its curves flatter it a little; the "
            "answer does not rest on them. Bands and bars are 95 % intervals; they resample groups, because images of "
            "one wound are alike.",
            [roc(evidence), *reliability(evidence), few_data(evidence), robustness(evidence), leakage(evidence),
             *subgroup_tables(evidence), *share_table(evidence)],
        ),
        Section(
            "search", "Search",
            "What was tried and what it cost. Each point is a trial, most of one seed: small differences mean little.",
            [*search_figures(evidence), budget_table(evidence)],
        ),
        Section(
            "run", "What was run", "What is needed to run the study again, and what failed.",
            [run_table(evidence), ended_table(evidence)],
        ),
    ]  # fmt: skip


def image_parts(evidence: Evidence, show_real: bool) -> list:
    """The pictures of every model, and the models that were not audited."""
    gans = pictured_gans(evidence)
    if gans.empty:
        return [Note("No GAN has finished its training.", RESUME)]
    parts = [Note(REAL_IMAGES_SHOWN)] if show_real else []
    for _, gan in gans.iterrows():
        parts += model_pictures(evidence, gan, show_real)
    unaudited = gans.loc[~gans["gan_key"].isin(evidence.neighbours["gan_key"]), "name"]
    if 0 < len(unaudited) < len(gans):
        parts.append(Note(f"Not audited for copies: {', '.join(unaudited)}.", f"{AUDIT} --all"))
    return parts


def render(evidence: Evidence, found: Answer, made: list[Section]) -> str:
    """The page as HTML. jinja2 escapes what comes from data; figures, whose text is already escaped, go in as is."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["base64"] = lambda picture: base64.b64encode(picture).decode()
    trial = evidence.trials.iloc[0]
    return environment.get_template("report.html").render(
        study=evidence.study.resolve().name, answer=found, sections=made, trial=trial
    )
