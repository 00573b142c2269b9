"""Export a trial as a bundle: weights, ONNX, 8-bit classifier, threshold, figures and a model card.

    python study/export.py runs/sample-smoke --out bundle
    python study/export.py runs/sample-smoke --trial search-007 --out bundle --licence cc-by-nc-4.0
"""

import argparse
import sys
from pathlib import Path

from study.cli import run_command
from study.flags import STUDY_HELP

FLAGS = {
    "--out": {"type": Path, "required": True, "metavar": "DIR", "help": "folder of the bundle"},
    "--licence": {"metavar": "ID", "help": "licence of the weights, such as cc-by-nc-4.0 (default: not stated)"},
    "--data-licence": {"metavar": "TEXT", "help": "licence of the photographs (default: not stated)"},
    "--train-again": {"action": "store_true", "help": "train the classifier again where the study has not kept it"},
    "--anyway": {"action": "store_true", "help": "export a GAN that copies training images; the card will say so"},
    "--force": {"action": "store_true", "help": "replace a bundle that is there"},
}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, then import and run the work; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help=STUDY_HELP)
    which = parser.add_mutually_exclusive_group()
    best = "the best completed trial, by validation (default auroc)"
    which.add_argument("--best", choices=("auroc", "frechet"), default="auroc", help=best)
    which.add_argument("--trial", metavar="ID", help="the trial of this id")
    for name, settings in FLAGS.items():
        parser.add_argument(name, **settings)
    return run_command("export", parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
