"""Train every system on a study's photographs over seeds, for equal minutes or on equally many images, and compare.

python study/benchmark.py runs/sample-smoke --minutes 5
python study/benchmark.py runs/sample-smoke --systems wgan_gp_lstm,principal_gan --seeds 5 --images 100000
"""

import sys
from functools import partial

from study.flags.cli import run_command

main = partial(run_command, "benchmark")

if __name__ == "__main__":
    sys.exit(main())
