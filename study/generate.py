"""Make synthetic images from a bundle: PNG files or one Parquet file.

    python study/generate.py bundle --label infected --count 1000 --seed 7 --out images
    python study/generate.py bundle --label infected --start 41 --count 1 --seed 7 --out one    image 41 alone, again
"""

import argparse
import sys
from pathlib import Path

from study.bundle.command import bundle_parser, run_with_bundle


def main(arguments: list[str] | None = None) -> int:
    parser = bundle_parser(__doc__)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the images")
    add("--count", type=int, required=True, metavar="N", help="number of images, at most a million")
    add("--label", metavar="CLASS", help="a class's name, or 0 or 1 (default: both in turn)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the images (default 0)")
    add("--start", type=int, default=0, metavar="N", help="index of the first image (default 0)")
    add("--truncation", type=float, metavar="T", help="keep latent values within +-T: less odd, less varied")
    add("--interpolate", type=int, metavar="STEPS", help="go from one latent point to the next in so many steps")
    add("--format", choices=("png", "parquet"), default="png", help="default png")
    add("--engine", choices=("onnx", "torch", "cuda"), default="onnx", help="default onnx, on the CPU")
    add("--audit", type=Path, metavar="STUDY", help="compare them with the training images of this study")
    add("--force", action="store_true", help="replace images that an earlier command wrote there")
    options = parser.parse_args(arguments)
    return run_with_bundle(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    from study.bundle.folder import open_bundle
    from study.bundle.using.generate import class_label, generate
    from study.bundle.using.synthetic import Request

    bundle = open_bundle(options.bundle)
    names = ("count", "seed", "start", "truncation", "interpolate")
    request = Request(label=class_label(bundle, options.label), **{name: getattr(options, name) for name in names})
    if options.audit:
        from study.bundle.using.audit import audit_sample, write_audit

        sample = audit_sample(bundle, request, options.engine, options.audit)  # refused before images are made
    out = generate(bundle, request, options.out, options.format, options.engine, options.force)
    print(f"images       {request.count} in {out}")
    if options.audit:
        print(f"audit        {write_audit(sample, out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
