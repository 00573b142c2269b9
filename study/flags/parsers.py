"""The flags of each command. Imports nothing slow, so that `--help` is fast."""

from argparse import ArgumentParser
from functools import partial
from pathlib import Path

from study.config import ALL_SYSTEMS, CLASSIFIERS, DEFAULT_SYSTEMS, OBJECTIVES, PRESET_NAMES, SYSTEMS
from study.flags.values import at_least_two, count, duration, fractions, gpu_share, names, positive, ratios, seed

LOGGER_NAMES = ("mlflow", "tensorboard", "wandb")
STUDY_HELP = "folder of a study, such as runs/sample-smoke"


def sweep_parser() -> ArgumentParser:
    """Of `study/run_sweep.py`."""
    parser = ArgumentParser(
        description="Train GANs and classifiers on foot-ulcer photographs and rank them beside the paper.",
        epilog="Without arguments: a small study on the embedded sample data, on this machine. "
        "`run_sweep.py status STUDY` tells how far a study is.",
        allow_abbrev=False,  # `shareable_command` knows flags by their full names
    )
    add = parser.add_argument_group("data").add_argument
    add_data(add)
    add("--split", choices=("grouped", "random", "given"), default="grouped",
        help="random: the paper's protocol, photographs of one wound on both sides; given: the folders train, "
        "validation and test as they are (default grouped)")  # fmt: skip
    add("--split-seed", type=seed, default=0, metavar="N", help="seed of the 70:15:15 split (default 0)")
    add("--skip-bad", action="store_true", help="leave out files that cannot be decoded, and record how many")
    add("--image-ids", type=Path, metavar="CSV",
        help="write each file's salted id there, to name subgroups by; a list of these ids stays as it is; keep it "
             "private")  # fmt: skip
    add("--inception-weights", type=Path, metavar="PATH",
        help="torch-fidelity's Inception weights; Inception then guides the search")  # fmt: skip
    add = parser.add_argument_group("search").add_argument
    add("--preset", choices=PRESET_NAMES,
        help="default: smoke, or search if there is a GPU; name it on a cluster that is up")  # fmt: skip
    add("--trials", type=count, metavar="N", help="trials to search, besides the real-only baseline and the systems")
    add("--time-budget", type=duration, metavar="TIME", help="end the search after this long: 90m, 12h")
    add("--objective", choices=tuple(OBJECTIVES), default="pareto",
        help="what is optimised on validation: Frechet distance, AUROC or both (default)")  # fmt: skip
    add("--systems", type=partial(names, known=SYSTEMS), metavar="NAME,NAME",
        help=f"methods trained once besides the search: {', '.join(SYSTEMS)}, or none "
        f"(default {','.join(DEFAULT_SYSTEMS)})")  # fmt: skip
    add("--no-fid", action="store_true", help="do not measure the FID of finished GANs")
    add("--set", action="append", default=[], metavar="FIELD=VALUE",
        help="fix a field of the config for the whole study, also when it is resumed; may be repeated")  # fmt: skip
    add("--seed", type=seed, default=0, metavar="N", help="seed of every trial (default 0)")
    add_machines(parser.add_argument_group("machines").add_argument)
    add = parser.add_argument_group("study").add_argument
    add_out(add)
    add("--name", help="name of the study (default: from the data's layout and the preset)")
    add("--resume", action="store_true", help="continue an interrupted study, or extend it with a larger --trials")
    add_log(add)
    add("--dry-run", action="store_true", help="print config, search space, resources and an estimate; run nothing")
    return parser


def status_parser() -> ArgumentParser:
    """Of `study/run_sweep.py status`."""
    parser = ArgumentParser(
        prog="run_sweep.py status",
        description="Tell from its files how far a study is, which may run on another machine: trials that have ended, "
        "trials at work, time left.",
    )
    parser.add_argument("study", type=Path, metavar="STUDY", help=STUDY_HELP)
    parser.add_argument("--watch", action="store_true", help="go on until no command works on the study")
    return parser


def confirm_parser() -> ArgumentParser:
    """Of `study/confirm.py`."""
    parser = ArgumentParser(
        description="Re-run the best trials of a search and the paper's over new seeds and arms: with and without "
        "synthetic images, few data, the other split, worse photographs. Then audit the GANs and compare.",
        epilog="If it is interrupted, the same command continues.",
        allow_abbrev=False,
    )
    parser.add_argument("study", type=Path, metavar="STUDY", help=STUDY_HELP)
    add = parser.add_argument_group("what is confirmed").add_argument
    add("--top", type=count, default=3, metavar="N",
        help="confirm the best trials by validation (default 3), besides the paper's configurations")  # fmt: skip
    add("--trials", nargs="+", metavar="ID", help="confirm exactly these trials instead")
    add("--seeds", type=count, default=3, metavar="N",
        help="new seeds of every arm, from which validation chooses one (default 3)")  # fmt: skip
    add("--judge-seeds", type=at_least_two, default=5, metavar="N",
        help="more seeds, of the chosen arm and of real images, that the answer rests on (default 5)")  # fmt: skip
    add("--ratios", type=ratios, default=(0.5, 1.0, 2.0), metavar="R,R",
        help="synthetic ratios besides each trial's own (default 0.5,1,2)")  # fmt: skip
    add("--fractions", type=fractions, default=(0.1, 0.25, 0.5), metavar="F,F",
        help="parts of the training groups for the few-data curve, or none (default 0.1,0.25,0.5)")  # fmt: skip
    add_log(add)
    add("--dry-run", action="store_true", help="list the trials; run nothing")
    add = parser.add_argument_group("more tests").add_argument
    add("--test-data", type=Path, metavar="PATH", help="other photographs, all of them an external test set")
    add_classes(add)
    add("--skip-bad", action="store_true", help="leave out those of them that cannot be decoded")
    add("--subgroups", type=Path, metavar="CSV",
        help="columns image_id,attribute: subgroups besides the estimated skin tones")  # fmt: skip
    add_machines(parser.add_argument_group("machines").add_argument)
    return parser


def benchmark_parser() -> ArgumentParser:
    """Of `study/benchmark.py`."""
    parser = ArgumentParser(
        description="Train every system on a study's photographs over new seeds, for equal minutes or on equally many "
        "images, and compare their images and what classifiers gain from them.",
        epilog="If it is interrupted, the same command continues.",
        allow_abbrev=False,
    )
    parser.add_argument("study", type=Path, metavar="STUDY", help=STUDY_HELP)
    add = parser.add_argument
    add("--systems", type=partial(names, known=ALL_SYSTEMS), metavar="NAME,NAME",
        help=f"default: all whose weights are installed, of {', '.join(ALL_SYSTEMS)}")  # fmt: skip
    add("--seeds", type=at_least_two, default=3, metavar="N", help="new seeds of every system (default 3)")
    cost = parser.add_mutually_exclusive_group(required=True)
    cost.add_argument("--minutes", type=positive, metavar="M", help="each GAN is trained for so long")
    cost.add_argument("--images", type=count, metavar="N", help="each critic sees so many real images instead")
    add("--ratios", type=ratios, default=(1.0,), metavar="R,R",
        help="synthetic images added, per real one, at most 10 (default 1)")  # fmt: skip
    add("--kept", type=fractions, default=(), metavar="F,F",
        help="more arms: so large a share of the synthetic images, those most like real ones, such as 0.5")  # fmt: skip
    add("--positives", type=fractions, default=(), metavar="F,F",
        help="more arms: so large a part of the positive groups, such as 0.05,0.1, with the usual remedies and filled "
        "up with synthetic images")  # fmt: skip
    add("--fractions", type=fractions, default=(), metavar="F,F",
        help="more arms: so large a part of the training groups, such as 0.1,0.25, for GANs of that part alone, and "
        "for GANs that have first seen all training images without their labels")  # fmt: skip
    add("--classifiers", type=partial(names, known=CLASSIFIERS), default=(), metavar="NAME,NAME",
        help=f"run every arm with these classifiers, too, beside the study's own: {', '.join(CLASSIFIERS)}; the GANs "
        "are shared")  # fmt: skip
    add("--dry-run", action="store_true", help="list what would be run; run nothing")
    add_machines(parser.add_argument_group("machines").add_argument, "each has its own: shared minutes are not equal")
    return parser


def audit_parser() -> ArgumentParser:
    """Of `study/audit.py`."""
    text = "Audit the GANs of a study: distances, diversity, copying and collapse, skin tones of their images."
    parser = ArgumentParser(description=text)
    parser.add_argument("study", type=Path, help=STUDY_HELP)
    parser.add_argument("--all", action="store_true", help="audit every completed trial's GAN, not only confirmed ones")
    return parser


def reproduce_parser() -> ArgumentParser:
    """Of `study/reproduce.py`."""
    text = "Run one stored trial again on this machine, without Ray, and print each metric beside the stored one."
    parser = ArgumentParser(description=text)
    parser.add_argument("study", type=Path, help=STUDY_HELP)
    add_choice_of_a_trial(parser, default=None)
    return parser


def export_parser() -> ArgumentParser:
    """Of `study/export.py`."""
    text = "Export a trial as a bundle: weights, ONNX, 8-bit classifier, threshold, figures and a model card."
    parser = ArgumentParser(description=text)
    parser.add_argument("study", type=Path, help=STUDY_HELP)
    add_choice_of_a_trial(parser, default="auroc")
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the bundle")
    add("--licence", metavar="ID", help="licence of the weights, such as cc-by-nc-4.0 (default: not stated)")
    add("--data-licence", metavar="TEXT", help="licence of the photographs (default: not stated)")
    add("--train-again", action="store_true", help="train the classifier again if the study has not kept it")
    add("--anyway", action="store_true", help="export a GAN that copies training images; the card will say so")
    add("--force", action="store_true", help="replace a bundle that is there")
    return parser


def add_choice_of_a_trial(parser: ArgumentParser, default: str | None) -> None:
    """The best trial, or one by its id; one of the two must be given if there is no default."""
    which = parser.add_mutually_exclusive_group(required=default is None)
    best = "the best completed trial, by validation" + (f" (default {default})" if default else "")
    which.add_argument("--best", choices=("auroc", "frechet"), default=default, help=best)
    which.add_argument("--trial", metavar="ID", help="the trial with this id")


def doctor_parser() -> ArgumentParser:
    """Of `study/doctor.py`."""
    parser = ArgumentParser(
        description="Check what a study needs: versions, storage, disk, data, clocks and GPUs of every running node, "
        "weights, Ray, its token and its ports.",
        epilog="Exit code 0 if no check failed, 1 if one did.",
        allow_abbrev=False,
    )
    add_data(parser.add_argument)
    add_out(parser.add_argument)
    add_address(parser.add_argument)
    return parser


def add_data(add) -> None:
    """Where the photographs are, and what their classes and groups are called."""
    add("--data", type=Path, metavar="PATH",
        help="folder of photographs, or CSV manifest (default: embedded sample data)")  # fmt: skip
    add_classes(add)


def add_classes(add) -> None:
    add("--positive", metavar="NAME", help="the positive class, if its name does not tell")
    add("--negative", metavar="NAME[,NAME]", help="the other class, if there are more than two")
    add("--group-pattern", metavar="REGEX",
        help="matched at the start of the path below the class folder, or of the file name; its one group in "
        "parentheses is the patient or wound")  # fmt: skip
    add("--copies", choices=("alike", "equal"),
        help="photographs that join the groups they are in: all that look alike, turned, cut or recompressed "
        "(default), or those of equal pixels")  # fmt: skip


def add_machines(add, share: str = "those that fit; one a worker for several") -> None:
    add("--gpus-per-trial", type=gpu_share, metavar="G",
        help=f"a fraction lets trials share a GPU (default: {share})")  # fmt: skip
    add("--workers-per-trial", type=count, default=1, metavar="N", help="Ray Train workers of a trial (default 1)")
    add_address(add)


def add_address(add) -> None:
    add("--address", metavar="HOST:PORT",
        help="a running Ray cluster (default: this machine; on the head of `ray up`, its cluster)")  # fmt: skip


def add_log(add) -> None:
    add("--log", action="append", choices=LOGGER_NAMES, default=[],
        help="export each ended trial there, too, by default into the study's folder; may be repeated")  # fmt: skip


def add_out(add) -> None:
    add("--out", type=Path, default=Path("runs"), metavar="DIR",
        help="folder of studies (default runs); on a cluster one that all nodes share")  # fmt: skip
