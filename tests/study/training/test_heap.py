"""Freed memory is kept: a second tensor of the same size touches no new page."""

import subprocess
import sys

import pytest

from study.training.memory import keep_freed_memory

PAGE_FAULTS_OF_A_SECOND_TENSOR = """
import resource, torch
from study.training.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
faults = []
for _ in range(8):  # the first few find no hole that is large enough
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensor = torch.ones(1 << 24)  # 64 MiB
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    del tensor
print(min(faults))
"""


def page_faults(keep: bool) -> int:
    command = [sys.executable, "-c", PAGE_FAULTS_OF_A_SECOND_TENSOR.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_freed_tensors_pages_are_used_again():
    assert page_faults(keep=True) < 50 < page_faults(keep=False)


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
