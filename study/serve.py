"""Open a bundle as a page on this machine: drop a photograph, see the answer; make synthetic images.

    python study/serve.py bundle
"""

import argparse
import sys

from study.bundle.command import bundle_parser, run_with_bundle
from study.errors import ConfigError


def main(arguments: list[str] | None = None) -> int:
    parser = bundle_parser(__doc__)
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="default 8000; 0: any free one")
    options = parser.parse_args(arguments)
    return run_with_bundle(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    from study.bundle.folder import open_bundle

    bundle = open_bundle(options.bundle)
    try:
        from study.bundle.using.server import serve
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed: pip install '.[serve]'") from None
    serve(bundle, options.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
