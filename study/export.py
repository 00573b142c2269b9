"""Export a trial as a bundle: weights, ONNX, 8-bit classifier, threshold, figures and a model card.

    python study/export.py runs/sample-smoke --out bundle
    python study/export.py runs/sample-smoke --trial search-007 --out bundle --licence cc-by-nc-4.0
"""

import sys
from functools import partial

from study.flags.cli import run_command

main = partial(run_command, "export")

if __name__ == "__main__":
    sys.exit(main())
