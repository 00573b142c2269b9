"""The code version of GANs follows what their training imports."""

import subprocess
import sys
from pathlib import Path

from study.gan.code import ROOT, WITHOUT_EFFECT, gan_code

NAMES = {path.relative_to(ROOT).as_posix() for path in gan_code()}


def test_the_networks_the_step_and_the_pixels_decide_a_gan():
    assert {"models/critic.py", "models/objectives.py", "study/gan/step.py", "data_utils/decode.py"} <= NAMES


def test_editing_the_classifier_or_the_launcher_retrains_no_gan():
    others = ("models/classifier.py", "study/diagnosis/", "study/cluster/", "study/config.py", "results/")
    assert not [name for name in NAMES if name.startswith(others)]


def test_the_list_equals_the_modules_that_the_training_loads():
    """Read from the import statements, and compared with the modules of a process that imports it."""
    code = "import sys, study.gan.train; print(*(getattr(m, '__file__', '') for m in sys.modules.values()), sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in run.stdout.splitlines() if line.startswith(str(ROOT))}
    ours = {path.relative_to(ROOT).as_posix() for path in loaded if ".venv" not in path.parts}
    assert {name for name in ours if not name.startswith(WITHOUT_EFFECT) and not name.endswith("__init__.py")} == NAMES
