"""A local page for one bundle: drop a photograph, see the answer; make synthetic images. Nothing is stored."""

import base64
import io
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import numpy as np
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from data_utils.decode import BadImage, decode_bytes
from study.bundle.folder import Bundle
from study.bundle.networks import Generator, load_generator
from study.bundle.using.explain import overlay_png
from study.bundle.using.photographs import network_input
from study.bundle.using.predict import load_judge
from study.bundle.using.synthetic import MAX_COUNT, MAX_SEED, Request, synthetic_images
from study.errors import ConfigError

MAX_UPLOAD = 25 * 2**20  # bytes
PAGE = Path(__file__).with_name("page")
TYPES = {"page.html": "text/html; charset=utf-8", "page.css": "text/css", "page.js": "text/javascript"}
HEADERS = {  # the page loads from this server alone, and no browser keeps what it has seen
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
EXAMPLES, NEAREST = 128, 6
GRID_ROWS, GRID_COLUMNS = 3, 8


@dataclass(frozen=True)
class Examples:
    """Synthetic images uint8 (N, S, S, 3) with labels (N,) and whitened features (N, C)."""

    images: np.ndarray
    labels: np.ndarray
    features: np.ndarray

    def nearest(self, features: np.ndarray) -> np.ndarray:
        """Places of the nearest to whitened features (C,), nearest first."""
        return np.linalg.norm(self.features - features, axis=1).argsort()[:NEAREST]


class Page:
    """What the routes need: the classifier, and where the bundle has one, the generator with its examples."""

    def __init__(self, bundle: Bundle):
        self.bundle, self.judge = bundle, load_judge(bundle)
        self.generator: Generator | None = load_generator(bundle) if bundle.has_generator else None
        self.examples = self._examples() if self.generator else None
        self.one_at_a_time = anyio.CapacityLimiter(1)  # a large photograph takes much memory while it is read

    def _examples(self) -> Examples:
        found = synthetic_images(self.generator, self.bundle.z_dim, Request(EXAMPLES))
        _, labels, images = zip(*found, strict=True)
        images = np.stack(images)
        _, features = self.judge.classifier(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return Examples(images, np.array(labels), features @ self.judge.training.whitening)

    def about(self) -> dict:
        about, names = self.bundle.about, self.bundle.class_names
        return {
            "trial_id": about["trial_id"],
            "class_names": names,
            "threshold": about["threshold"]["value"],
            "band": [about["uncertain_band"]["low"], about["uncertain_band"]["high"]],
            "has_generator": self.bundle.has_generator,
            "max_upload": MAX_UPLOAD,
        }

    def answer(self, content: bytes) -> dict:
        """The answer to one photograph. Raises `data_utils.decode.BadImage`."""
        preprocessing = self.bundle.about["preprocessing"]
        pixels = network_input(decode_bytes(content, preprocessing["decoded_side"]), preprocessing)
        (row,) = self.judge(pixels[None])
        return row | {
            "seen": data_uri(as_png(pixels.transpose(1, 2, 0))),
            "overlay": data_uri(overlay_png(self.judge.classifier, pixels)),
            "nearest": self.nearest_examples(pixels),
        }

    def nearest_examples(self, pixels: np.ndarray) -> list[dict]:
        if self.examples is None:
            return []
        _, features = self.judge.classifier(pixels[None])
        places = self.examples.nearest((features @ self.judge.training.whitening)[0])
        pairs = [(self.examples.images[place], self.examples.labels[place]) for place in places]
        return [{"image": data_uri(as_png(image)), "label": self.bundle.class_names[label]} for image, label in pairs]

    def grid(self, label: int, seed: int) -> bytes:
        """A PNG of 24 synthetic images of one class, the first of their seed. Raises ConfigError."""
        request = Request(GRID_ROWS * GRID_COLUMNS, seed=seed, label=label)
        images = [p for _, _, p in synthetic_images(self.generator, self.bundle.z_dim, request)]
        rows = [np.concatenate(images[i : i + GRID_COLUMNS], axis=1) for i in range(0, len(images), GRID_COLUMNS)]
        return as_png(np.concatenate(rows))


def build_app(bundle: Bundle) -> Starlette:
    """The server's application. Raises ConfigError where the bundle's networks cannot be run."""
    page = Page(bundle)
    routes = [Route("/" if name == "page.html" else f"/{name}", partial(send_file, name)) for name in TYPES]
    routes += [
        Route("/about", partial(if_own, send_about, page)),
        Route("/predict", partial(if_own, send_answer, page), methods=["POST"]),
        Route("/grid", partial(if_own, send_grid, page)),
    ]
    # Another site's page could reach this server under a name of its own that it points at 127.0.0.1.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"], www_redirect=False)
    return Starlette(routes=routes, middleware=[hosts])


async def if_own(send: Callable, page: Page, request: HttpRequest) -> Response:
    """The response of `send`, but for what another site's page has asked for, as its images for instance."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return refusal(403, "this comes from the page of another site")
    return await send(page, request)


async def send_file(name: str, request: HttpRequest) -> Response:
    return Response((PAGE / name).read_bytes(), media_type=TYPES[name], headers=HEADERS)


async def send_about(page: Page, request: HttpRequest) -> Response:
    return JSONResponse(page.about(), headers=HEADERS)


async def send_answer(page: Page, request: HttpRequest) -> Response:
    """The photograph is the request's body: no form, no file name, no temporary file."""
    if request.headers.get("content-type") != "application/octet-stream":  # a foreign page may not send this one
        return refusal(415, "send the photograph itself, as application/octet-stream")
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > MAX_UPLOAD:
                return refusal(413, f"the file is larger than {MAX_UPLOAD // 2**20} MB")
    except ClientDisconnect:  # the page was closed: nobody hears the answer
        return refusal(400, "the photograph was cut off")
    try:
        answer = await anyio.to_thread.run_sync(page.answer, bytes(content), limiter=page.one_at_a_time)
    except BadImage as reason:
        return refusal(422, f"the file cannot be read: {reason}")
    return JSONResponse(answer, headers=HEADERS)


async def send_grid(page: Page, request: HttpRequest) -> Response:
    if page.generator is None:
        return refusal(404, "this bundle has no generator")
    try:
        label, seed = (int(request.query_params[name]) for name in ("label", "seed"))
        if label not in (0, 1):
            raise ValueError
        content = await anyio.to_thread.run_sync(page.grid, label, seed, limiter=page.one_at_a_time)
    except (KeyError, ValueError):  # ConfigError among them
        return refusal(422, f"label is 0 or 1, seed a whole number from 0 to {MAX_SEED - MAX_COUNT}")
    return Response(content, media_type="image/png", headers=HEADERS)


def refusal(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status_code=status, headers=HEADERS)


def as_png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def serve(bundle: Bundle, port: int) -> None:
    """Serve the page on loopback until Ctrl-C; port 0 takes a free one. Raises ConfigError for a port in use."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port {port} is not within 0 to 65535")
    app = build_app(bundle)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            reason = f"--port {port} cannot be used ({error.strerror})"
            raise ConfigError(f"{reason}; choose another, or 0 for any free one") from None
        listener.listen()  # from here on a browser waits, and is not turned away
        print(f"page         http://127.0.0.1:{listener.getsockname()[1]}/   (Ctrl-C ends it)", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
