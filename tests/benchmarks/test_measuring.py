"""Each measuring benchmark runs at a tiny size, checks its own sides, and prints JSON as its last line.

Times of tiny networks mean nothing: only what does not depend on them is looked at.
"""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import equal_results, frechet, generation, generators, growth, input_pipeline, peers
from benchmarks.competitors.dcgan import Dcgan
from benchmarks.competitors.peer_process import PEERS
from benchmarks.harness.timed_training import MARKS, train_for
from study.config import parse_assignments

pytestmark = pytest.mark.usefixtures("one_thread")


def run(benchmark, capsys, *arguments: str) -> dict:
    """The last line that a benchmark prints; its table has 80 columns at most."""
    benchmark.main(["--quick", *arguments])
    table, last = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    assert max(map(len, table.splitlines()[1:])) <= 80
    return json.loads(last)


def test_generation(capsys):
    found = run(generation, capsys, "--turns", "1")
    assert found["one image"]["levels"] < 2
    assert found["a batch"]["per_second"]["bfloat16"] > 0


def test_generation_notices_other_images():
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 4)
    other = torch.nn.Linear(4, 4)
    sampled = {"plain": lambda z, _: network(z), "float32": lambda z, _: other(z), "bfloat16": lambda z, _: network(z)}
    with pytest.raises(AssertionError, match="folding changes the images"):
        generation.measure(sampled, torch.randn(2, 4), torch.zeros(2), turns=1)


def test_input_pipeline(capsys):
    assert run(input_pipeline, capsys)["images"] == 64


def test_input_pipeline_notices_an_image_that_comes_twice():
    images = torch.tensor([30, 90, 150, 210], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 32, 32)
    once, twice = (
        input_pipeline.Resident(images, torch.tensor(numbers), 2, torch.device("cpu"))
        for numbers in ([0, 1, 2, 3], [0, 1, 1, 3])
    )
    input_pipeline.check_equal_work(once, once, images, torch.device("cpu"))
    with pytest.raises(AssertionError):
        input_pipeline.check_equal_work(once, twice, images, torch.device("cpu"))


def test_frechet_distances_agree_with_torch_fidelity(capsys):
    assert run(frechet, capsys)["difference"] < 1e-5


def test_results_equal_a_tutorials_but_for_rounding(capsys):
    distances = run(equal_results, capsys, "--seeds", "2")["distances"]
    assert distances["float32"] == pytest.approx(distances["tutorial"], rel=1e-2)
    assert distances["bfloat16"] == pytest.approx(distances["tutorial"], rel=0.1)
    assert abs(distances["tutorial"][0] / distances["tutorial"][1] - 1) > 1e-2  # what a seed does is seen


def test_growth_over_linear():
    """Twice the images in three times the time: 1.5 times what linear growth makes of it."""
    found = growth.over_linear({10: [1.0, 1.2], 20: [3.0, 3.6]}, {10: 10, 20: 20})
    assert found[10] == {"ratio": 1, "low": 1, "high": 1}
    assert found[20] == pytest.approx({"ratio": 1.5, "low": 1.5, "high": 1.5})


@pytest.mark.slow
def test_growth(capsys):
    found = run(growth, capsys)["over_linear"]
    assert found["count"]["64"]["ratio"] == found["size"]["32"]["ratio"] == 1
    assert found["workers"]["ratio"] > 0


def test_the_papers_three_generators(capsys):
    found = run(generators, capsys)
    sizes = [found[name]["generator_parameters"] for name in ("plain", "efficientnetv2_s", "efficientnetv2_m")]
    memory = [found[name]["memory_bytes"] for name in ("plain", "efficientnetv2_s", "efficientnetv2_m")]
    assert sizes == sorted(sizes) and memory == sorted(memory)
    assert memory[0] > 4 * 4 * sizes[0]  # weights, gradients and two moments, in float32


def test_the_papers_figures_are_shown_as_it_gives_them():
    assert generators.paper("plain", "gan_hours") == "4-5"
    assert generators.paper("efficientnetv2_s", "peak_memory") == "-"


@pytest.mark.parametrize(("name", "steps"), [("ours", 3), ("tutorial", 1), ("dcgan", 20)])
def test_a_peer_trains_and_samples(name, steps, phantoms):
    """At 64 px, which the data set of the tests does not have."""
    train = phantoms.side("train")
    train = replace(train, images=train.images.repeat_interleave(2, -1).repeat_interleave(2, -2))
    step, sample = PEERS[name](train, 8, parse_assignments(peers.TINY.get(name, peers.TINY_GAN)))
    before = sample()
    assert all(step() > 0 for _ in range(steps))
    images = sample()
    assert (images.shape, images.dtype) == ((8, 3, 64, 64), torch.uint8)
    assert not torch.equal(images, before)


@pytest.mark.slow
def test_peers(capsys):
    found = run(peers, capsys)
    assert set(found["curves"]) == {"ours", "tutorial", "dcgan"}
    for curve in found["curves"].values():
        assert [point["mark"] for point in curve] == list(MARKS)
        assert curve[0]["real_images"] > 0 and curve[-1]["frechet_distance"] > found["floor"]


def test_training_stops_in_time(tmp_path, monkeypatch):
    """Steps of 3 s in 10 s: two by the half, three by the end, none that would end later; sampling takes no time."""
    now = [0.0]
    monkeypatch.setattr("benchmarks.harness.timed_training.time.perf_counter", lambda: now[0])

    def step() -> int:
        now[0] += 3
        return 5

    def sample():
        now[0] += 100
        return torch.zeros(1).numpy()

    train_for(10, step, sample, tmp_path)
    curve = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert [point["real_images"] for point in curve] == [5, 5, 15]
    assert [point["seconds"] for point in curve] == [3, 3, 9]
    assert (tmp_path / "0.25.npy").exists()


def test_dcgan_learns_a_colour():
    torch.manual_seed(0)
    gan = Dcgan(torch.device("cpu"), width=4)
    red = torch.tensor([0.8, -0.8, -0.8]).view(1, 3, 1, 1).expand(16, 3, 64, 64) + 0.05 * torch.randn(16, 3, 64, 64)
    for _ in range(60):
        gan.step(red)
    red, green, blue = gan.generator(torch.randn(16, 100, 1, 1)).mean(dim=(0, 2, 3)).tolist()
    assert red > 0 > max(green, blue), (red, green, blue)
