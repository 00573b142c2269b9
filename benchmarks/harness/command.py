"""The command line of a benchmark."""

import argparse
from pathlib import Path


def benchmark_parser(doc: str, quick: str, **defaults) -> argparse.ArgumentParser:
    """The first line of `doc`, `--quick` with its help, and a flag of each default's type; `data` is a path or None."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for name, default in defaults.items():
        kind = Path if name == "data" else type(default)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"default: {default}")
    parser.add_argument("--quick", action="store_true", help=f"{quick}, to see that it runs")
    return parser
