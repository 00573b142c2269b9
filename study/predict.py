"""Classify photographs with a bundle: probability, label, "uncertain", "far from the training data".

    python study/predict.py bundle photographs --out answers.csv
    python study/predict.py bundle foot.jpg --explain overlays
"""

import argparse
import sys
from pathlib import Path

from study.errors import ConfigError

EXIT_UNREAD = 1


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit code 1: some files could not be read, 2: a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="folder that study/export.py wrote")
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="photographs, or folders of them")
    parser.add_argument("--out", type=Path, metavar="FILE", help="answers as .csv or .parquet (default: CSV to the console)")
    parser.add_argument("--explain", type=Path, metavar="DIR", help="folder for overlays that show what an answer hangs on")
    parser.add_argument("--engine", choices=("onnx", "int8", "torch", "cuda"), default="onnx", help="default onnx")
    parser.add_argument("--force", action="store_true", help="replace answers that are there")
    options = parser.parse_args(arguments)
    from study.bundle.folder import open_bundle
    from study.bundle.predict import predict

    try:
        bundle = open_bundle(options.bundle)
        unread = predict(bundle, options.paths, options.out, options.engine, options.explain, options.force)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return EXIT_UNREAD if unread else 0


if __name__ == "__main__":
    sys.exit(main())
