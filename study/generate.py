"""Make synthetic images from a bundle: PNG files or one Parquet file.

    python study/generate.py bundle --label infected --count 1000 --seed 7 --out images
    python study/generate.py bundle --label infected --start 41 --count 1 --seed 7 --out one    image 41 alone, again
"""

import argparse
import sys
from pathlib import Path

from study.errors import ConfigError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="folder that study/export.py wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the images")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="number of images")
    parser.add_argument("--label", metavar="CLASS", help="a class's name, or 0 or 1 (default: both in turn)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the images (default 0)")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="index of the first image (default 0)")
    parser.add_argument("--truncation", type=float, metavar="T", help="keep latent values within +-T: less odd, less varied")
    parser.add_argument("--interpolate", type=int, metavar="STEPS", help="go from image to image in so many steps")
    parser.add_argument("--format", choices=("png", "parquet"), default="png", help="default png")
    parser.add_argument("--engine", choices=("onnx", "torch", "cuda"), default="onnx", help="default onnx, on the CPU")
    parser.add_argument("--audit", type=Path, metavar="STUDY", help="compare them with the training images of this study")
    parser.add_argument("--force", action="store_true", help="replace images that an earlier command wrote there")
    options = parser.parse_args(arguments)
    from study.bundle.folder import open_bundle
    from study.bundle.generate import class_label, generate
    from study.bundle.synthetic import Request

    try:
        bundle = open_bundle(options.bundle)
        request = Request(
            count=options.count,
            seed=options.seed,
            start=options.start,
            label=class_label(bundle, options.label),
            truncation=options.truncation,
            interpolate=options.interpolate,
        )
        out = generate(bundle, request, options.out, options.format, options.engine, options.force)
        print(f"images       {request.count} in {out}")
        if options.audit:
            from study.bundle.audit import audit_images_of

            print(f"audit        {audit_images_of(bundle, request, options.engine, options.audit, out)}")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
