"""Classify photographs with a bundle: probability, label, "uncertain", "far from the training data".

    python study/predict.py bundle photographs --out answers.csv
    python study/predict.py bundle foot.jpg --explain overlays
"""

import argparse
import sys
from pathlib import Path

from study.bundle.command import bundle_parser, run_with_bundle

EXIT_UNREAD = 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit code 1: some files could not be read, 2: a user's mistake."""
    parser = bundle_parser(__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="photographs, or folders of them")
    add = parser.add_argument
    add("--out", type=Path, metavar="FILE", help="answers as .csv or .parquet (default: CSV to the console)")
    add("--explain", type=Path, metavar="DIR", help="folder for overlays: what each answer hangs on")
    add("--engine", choices=("onnx", "int8", "torch", "cuda"), default="onnx", help="default onnx, on the CPU")
    add("--force", action="store_true", help="replace answers that are there")
    options = parser.parse_args(arguments)
    return run_with_bundle(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    from study.bundle.folder import open_bundle
    from study.bundle.using.predict import predict

    bundle = open_bundle(options.bundle)
    unread = predict(bundle, options.paths, options.out, options.engine, options.explain, options.force)
    return EXIT_UNREAD if unread else 0


if __name__ == "__main__":
    sys.exit(main())
