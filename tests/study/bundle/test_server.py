"""The local page: what it answers, what it refuses, and that it works in a browser."""

import asyncio
import json
import re
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection

import pytest
from playwright.sync_api import expect, sync_playwright
from starlette.requests import Request

from study.bundle.using.server import MAX_UPLOAD, send_answer
from study.predict import main as predict
from study.serve import main
from tests.support.command import photograph
from tests.support.studies import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
expect.set_options(timeout=60_000)  # on a busy machine
RAW = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def address(whole_bundle):
    """The page of the bundle, served by the command itself."""
    command = [sys.executable, "study/serve.py", str(whole_bundle.folder), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        yield re.search(r"http://[^ ]+", server.stdout.readline())[0]
        server.terminate()


@pytest.fixture
def jpeg(tmp_path):
    photograph(5).save(tmp_path / "foot.jpg")
    return tmp_path / "foot.jpg"


def ask(address, path, method="GET", body=None, headers=None):
    """Status, headers and content, by a plain HTTP client."""
    host = address.removeprefix("http://").rstrip("/")
    with closing(HTTPConnection(host, timeout=60)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def test_the_answer_is_that_of_the_command(address, jpeg, whole_bundle, capsys):
    status, headers, content = ask(address, "/predict", "POST", jpeg.read_bytes(), RAW)
    answer = json.loads(content)
    assert status == 200 and headers["Cache-Control"] == "no-store"
    predict([str(whole_bundle.folder), str(jpeg)])
    assert f"{answer['probability']}" in capsys.readouterr().out
    assert len(answer["nearest"]) == 6 and answer["overlay"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"no photograph", RAW, 422, "not an image"),
        (b"", RAW, 422, "empty file"),
        (b"x", {"Content-Type": "text/plain"}, 415, "octet-stream"),
        (b"x", RAW | {"Host": "evil.example"}, 400, "host"),
        (bytes(MAX_UPLOAD + 1), RAW, 413, "larger than 25 MB"),
    ],
)
def test_what_is_refused(address, body, headers, status, message):
    found, _, content = ask(address, "/predict", "POST", body, headers)
    assert found == status and message in content.decode().lower().replace("mb", "MB")


def test_a_photograph_that_is_cut_off_is_no_error_of_the_server():
    messages = iter([{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    request = Request({"type": "http", "headers": [(b"content-type", b"application/octet-stream")]}, receive)
    assert asyncio.run(send_answer(None, request)).status_code == 400


@pytest.mark.parametrize(("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200)])
def test_the_page_of_another_site_gets_nothing(address, site, status):
    for path in ("/about", "/grid?label=1&seed=3"):
        found, headers, _ = ask(address, path, headers={"Sec-Fetch-Site": site})
        assert found == status and headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("query", ["label=2&seed=1", "label=1&seed=-1", "label=1", "label=1&seed=x", ""])
def test_a_grid_needs_a_label_and_a_seed(address, query):
    assert ask(address, f"/grid?{query}")[0] == 422


@pytest.mark.parametrize("path", ["/../bundle.json", "/bundle.json", "/%2e%2e/etc/passwd", "/page.html/x", "/docs"])
def test_no_path_leads_to_a_file(address, path):
    assert ask(address, path)[0] == 404


def test_it_listens_on_loopback_alone(address):
    port = int(address.rsplit(":", 1)[1].strip("/"))
    with socket.create_connection(("127.0.0.1", port), 5):
        pass
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(OSError):
            socket.create_connection((own, port), 2)


def test_a_port_in_use_is_refused(address, whole_bundle, capsys):
    port = address.rsplit(":", 1)[1].strip("/")
    assert main([str(whole_bundle.folder), "--port", port]) == 2
    assert f"--port {port} cannot be used" in " ".join(capsys.readouterr().err.split())
    assert main([str(whole_bundle.folder), "--port", "70000"]) == 2
    assert "not within 0 to 65535" in " ".join(capsys.readouterr().err.split())


# ---- in a browser


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [400, 1600])
def test_upload_explain_and_generate(address, browser, jpeg, tmp_path, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    trouble, requests = [], []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.set_input_files("#file", jpeg)
    expect(page.locator("#verdict")).to_have_text(re.compile("clean|infected"))
    expect(page.locator("#notes")).to_contain_text("Probability of infected")
    assert page.evaluate("document.querySelector('#overlay').naturalWidth") == 384
    assert page.locator("#nearest img").count() == 6
    marks = page.evaluate("['mark', 'threshold', 'band'].map(id => document.getElementById(id).style.left)")
    assert all(re.fullmatch(r"[\d.]+%", mark) for mark in marks)
    page.get_by_label("Seed").fill("12")
    page.get_by_label("Class").select_option("clean")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#grid-status")).to_contain_text("clean, seed 12")
    assert page.evaluate("document.querySelector('#grid').naturalWidth") == 8 * 32
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert trouble == []
    assert all(url.startswith((address, "data:", "blob:")) for url in requests)
    page.close()


def test_a_bad_file_is_told_and_replaced_by_the_next(address, browser, jpeg, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no photograph")
    page = browser.new_page()
    page.goto(address)
    page.set_input_files("#file", tmp_path / "bad.jpg")
    expect(page.locator("#status")).to_contain_text("cannot be read")
    expect(page.locator("#answer")).to_be_hidden()
    page.set_input_files("#file", jpeg)
    expect(page.locator("#answer")).to_be_visible()
    expect(page.locator("#status")).to_have_text("")
    page.close()
