"""A spot machine's notice, from a stand-in for EC2's metadata service: it is received in time, and nothing is lost."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from study.config import make_config
from study.gan.folder import GanFolder
from study.gan.step import GanTraining
from study.gan.train import train_gan
from study.training import preemption
from study.training.preemption import any_notice, notice
from study.training.workers import load_checkpoint
from tests.support.trainings import Crash, ignore, run, same, stored

TOKEN = "a-session-token"


class MetadataService(BaseHTTPRequestHandler):
    """404 until `server.action` is set; 401 without the token that a PUT hands out."""

    def do_PUT(self):
        right = self.path == "/latest/api/token" and int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        self.answer(200, TOKEN) if right else self.answer(400)

    def do_GET(self):
        self.server.num_asked += 1
        if self.headers["X-aws-ec2-metadata-token"] != TOKEN:
            self.answer(401)
        elif self.path == "/latest/meta-data/spot/instance-action" and self.server.action:
            self.answer(200, json.dumps(self.server.action))
        else:
            self.answer(404)

    def answer(self, code: int, content: str = "") -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def service(monkeypatch):
    """A machine's metadata service, asked every hundredth of a second."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), MetadataService)
    server.action, server.num_asked = None, 0
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("DFU_PREEMPTION_URL", url)
    monkeypatch.setattr(preemption, "POLL_S", 0.01)
    try:
        yield server
    finally:
        server.action = TERMINATE
        preemption.watch(url).wait(20)  # the poller has ended
        server.shutdown()
        thread.join()
        server.server_close()


TERMINATE = {"action": "terminate", "time": "2030-01-01T00:02:00Z"}


def wait_for(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_notice_is_received_once_it_is_given(service):
    assert not notice()
    wait_for(lambda: service.num_asked > 3)
    assert not notice() and not any_notice(torch.device("cpu"))
    service.action = TERMINATE
    wait_for(notice)
    assert any_notice(torch.device("cpu"))


def test_asking_never_waits_for_the_service(service, monkeypatch):
    answering = threading.Event()
    monkeypatch.setattr(preemption, "is_announced", lambda url: answering.wait(60))
    started = time.monotonic()
    assert not any(notice() for _ in range(1000)) and time.monotonic() - started < 1
    answering.set()


def test_machines_without_the_variable_have_no_notice_and_no_thread(monkeypatch):
    monkeypatch.delenv("DFU_PREEMPTION_URL", raising=False)
    before = threading.active_count()
    assert not notice() and threading.active_count() == before


def test_a_missing_service_announces_nothing(service):
    service.action = TERMINATE
    url = f"http://127.0.0.1:{service.server_port}"
    assert preemption.is_announced(url)
    assert not preemption.is_announced(f"{url}/elsewhere")
    assert not preemption.is_announced("http://127.0.0.1:1")


@pytest.mark.usefixtures("one_thread", "pixel_quality")
@pytest.mark.parametrize("noticed_in", [1, 2, 3])
def test_the_epoch_of_the_notice_is_kept_and_the_rest_is_bit_equal(
    service, phantoms, tiny_settings, tmp_path, monkeypatch, noticed_in
):
    """Measurements, and with them the usual checkpoints, come every fourth epoch only."""
    config = make_config(tiny_settings | {"gan_epochs": 5, "gan_eval_interval": 4})
    expected = run(config, phantoms, tmp_path / "whole")
    run_epoch = GanTraining.run_epoch

    def interrupted(training, train, epoch):
        if epoch == noticed_in:
            service.action = TERMINATE
            wait_for(notice)
        if epoch == noticed_in + 1:
            raise Crash  # the machine is gone
        return run_epoch(training, train, epoch)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(GanTraining, "run_epoch", interrupted)
        train_gan(config, phantoms, ignore, GanFolder(tmp_path / "moved"))
    assert load_checkpoint(tmp_path / "moved", "cpu")["epoch"] == noticed_in
    assert run(config, phantoms, tmp_path / "moved") == expected
    assert same(stored(tmp_path / "moved"), stored(tmp_path / "whole"))
