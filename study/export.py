"""Export a trial as a bundle: weights, ONNX, int8, threshold, figures, model card.

    python study/export.py runs/sample-smoke --out bundle
    python study/export.py runs/sample-smoke --trial search-007 --out bundle --license cc-by-nc-4.0
"""

import argparse
import sys
from pathlib import Path

from study.errors import ConfigError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="folder of the study, such as runs/sample-smoke")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--best", choices=("auroc", "frechet"), default="auroc", help="best by validation (default auroc)")
    which.add_argument("--trial", metavar="ID", help="the trial of this id")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle's folder")
    parser.add_argument("--license", metavar="ID", help="licence of the weights, such as cc-by-nc-4.0 (default: not stated)")
    parser.add_argument("--data-license", metavar="TEXT", help="licence of the photographs (default: not stated)")
    parser.add_argument("--train-again", action="store_true", help="train the trial's classifier again if it was not kept")
    parser.add_argument("--anyway", action="store_true", help="export a GAN that copies training images; the card says so")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is there")
    options = parser.parse_args(arguments)
    from study.bundle.export import export

    licence = {"weights": options.license, "data": options.data_license}
    try:
        out = export(options.study, options.best, options.trial, options.out, licence, options.anyway, options.force, print)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"bundle       {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
