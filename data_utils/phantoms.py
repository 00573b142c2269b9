"""The embedded sample data: rendered wound phantoms, no patient's image among them."""

import numpy as np

SEED = 2025
NUM_LESIONS = 160
VIEWS = 3  # photographs of one lesion
CLASS_NAMES = ("not infected", "infected")
SEVERITY_SHIFT = 1.5  # distance of the class means from their middle, in standard deviations: the overlap

# sRGB in [0, 1]
SKIN_TONES = np.array(
    [[0.93, 0.77, 0.69], [0.83, 0.63, 0.51], [0.64, 0.44, 0.33], [0.42, 0.28, 0.21], [0.29, 0.19, 0.15]]
)
CLOTHS = np.array(
    [[0.30, 0.47, 0.60], [0.33, 0.52, 0.45], [0.86, 0.87, 0.86], [0.16, 0.17, 0.19], [0.55, 0.50, 0.45]]
)
GRANULATION, DUSKY = np.array([0.72, 0.20, 0.17]), np.array([0.48, 0.13, 0.16])
SLOUGH, PUS = np.array([0.83, 0.73, 0.48]), np.array([0.80, 0.76, 0.42])
NECROSIS, CALLUS = np.array([0.13, 0.10, 0.09]), np.array([0.92, 0.86, 0.74])


def render_phantoms(
    seed: int = SEED, num_lesions: int = NUM_LESIONS, views: int = VIEWS, size: int = 64
) -> list[tuple[np.ndarray, int, str]]:
    """Render `views` photographs of each lesion: uint8 pixels (size, size, 3), label (1 = infected), group.

    The group is the lesion. Its views differ in rotation, mirror, zoom, light and background. Infection shows as
    wider and stronger erythema, exudate and a duskier wound bed, each overlapping between the classes.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_lesions) % 2)
    return [
        (view, int(label), f"lesion {number}")
        for number, (label, lesion) in enumerate(zip(labels, _draw_lesions(rng, labels), strict=True))
        for view in _render(rng, lesion, views, size)
    ]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _draw_lesions(rng: np.random.Generator, labels: np.ndarray) -> list[dict]:
    """What belongs to a lesion and stays the same in all its views."""
    severity = SEVERITY_SHIFT * (2 * labels - 1) + rng.normal(size=len(labels))
    return [
        {
            "tone": _skin_tone(rng.uniform()),
            "radius": rng.uniform(0.22, 0.5),
            "aspect": rng.uniform(0.65, 1.0),
            "outline": rng.normal(size=(2, 6)) * 0.16 / np.arange(2, 8),
            "redness": _sigmoid(value + 0.5 * rng.normal()),
            "extent": _sigmoid(value + 0.5 * rng.normal()),
            "exudate": _sigmoid(value + 0.5 * rng.normal()),
            "dusk": _sigmoid(value + 0.8 * rng.normal()),
            "slough": rng.uniform(0.3, 1.8),  # thresholds of a unit-variance texture
            "necrosis": rng.uniform(0.9, 3.0),
            "callus": rng.uniform(0, 0.7),
            "textures": {name: _draw_texture(rng, scale) for name, scale in TEXTURES.items()},
        }
        for value in severity
    ]


TEXTURES = {
    "skin": 14.0,
    "bed": 16.0,
    "slough": 6.0,
    "necrosis": 4.0,
    "sheen": 20.0,
    "edge": 9.0,
}  # radians a unit


def _skin_tone(position: float) -> np.ndarray:
    places = np.linspace(0, 1, len(SKIN_TONES))
    return np.array([np.interp(position, places, channel) for channel in SKIN_TONES.T])


def _draw_texture(rng: np.random.Generator, scale: float, waves: int = 14) -> np.ndarray:
    """Wave vectors and phases, (3, waves)."""
    length, angle = scale * rng.lognormal(0, 0.5, waves), rng.uniform(0, 2 * np.pi, waves)
    return np.stack([length * np.cos(angle), length * np.sin(angle), rng.uniform(0, 2 * np.pi, waves)])


def _texture(waves: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth random field of unit variance at the points (x, y)."""
    kx, ky, phase = waves
    return np.cos(x[..., None] * kx + y[..., None] * ky + phase).mean(-1) * np.sqrt(2 * len(phase))


def _render(rng: np.random.Generator, lesion: dict, views: int, size: int) -> np.ndarray:
    """uint8 (views, size, size, 3)"""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    v, u = np.meshgrid(axis, axis, indexing="ij")  # in the picture
    x, y = _lesion_coordinates(rng, u, v, views)  # in the lesion's own frame, (views, size, size)
    field = {name: _texture(waves, x, y) for name, waves in lesion["textures"].items()}
    outside = _distance(lesion, x, y, field["edge"])
    image = _skin(lesion, outside, field)
    image = _mix(image, _bed(lesion, outside, field), _sigmoid(-outside / 0.015))
    image = _light(rng, image, u, v)
    image = _background(rng, image, u, v)
    image = image * rng.normal(1, 0.04, (views, 1, 1, 3)) + rng.normal(0, 0.012, image.shape)  # camera
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


def _lesion_coordinates(
    rng: np.random.Generator, u: np.ndarray, v: np.ndarray, views: int
) -> tuple[np.ndarray, np.ndarray]:
    angle, zoom, shift_u, shift_v = rng.uniform(
        [-np.pi, 0.8, -0.2, -0.2], [np.pi, 1.3, 0.2, 0.2], (views, 4)
    ).T.reshape(4, views, 1, 1)
    mirror = rng.choice([-1, 1], (views, 1, 1))
    u, v = (u - shift_u) / zoom, (v - shift_v) / zoom
    return mirror * (u * np.cos(angle) - v * np.sin(angle)), u * np.sin(angle) + v * np.cos(angle)


def _distance(lesion: dict, x: np.ndarray, y: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """About the distance from the wound's irregular outline, negative inside."""
    angle = np.arctan2(y / lesion["aspect"], x)[..., None] * np.arange(2, 8)
    cosines, sines = lesion["outline"]
    outline = 1 + (np.cos(angle) * cosines + np.sin(angle) * sines).sum(-1)
    return np.hypot(x, y / lesion["aspect"]) - lesion["radius"] * outline + 0.02 * edge


def _mix(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    return below + (above - below) * share[..., None]


def _skin(lesion: dict, outside: np.ndarray, field: dict) -> np.ndarray:
    skin = lesion["tone"] * (1 + 0.04 * field["skin"] + 0.03 * field["necrosis"])[..., None]
    reach = 0.06 + 0.40 * lesion["extent"]
    halo = (
        np.exp(-((outside.clip(0) / reach) ** 2))
        * (0.2 + 0.7 * lesion["redness"])
        * (1 + 0.15 * field["slough"])
    )
    skin = _mix(
        skin, skin * [1.02, 0.62, 0.62], halo
    )  # less green and blue comes back: pink or purple by tone
    return _mix(
        skin,
        CALLUS * lesion["tone"].mean() ** 0.4,
        lesion["callus"] * np.exp(-(((outside - 0.04) / 0.035) ** 2)),
    )


def _bed(lesion: dict, outside: np.ndarray, field: dict) -> np.ndarray:
    base = GRANULATION + (DUSKY - GRANULATION) * lesion["dusk"]
    bed = base * (1 + 0.18 * field["bed"])[..., None]
    bed = _mix(
        bed,
        SLOUGH * (1 + 0.06 * field["bed"])[..., None],
        0.9 * _sigmoid((field["slough"] - lesion["slough"]) * 6),
    )
    bed = _mix(bed, np.broadcast_to(PUS, bed.shape), 0.55 * lesion["exudate"] * _sigmoid(2 * field["edge"]))
    bed = _mix(
        bed,
        NECROSIS * (1 + 0.2 * field["bed"])[..., None],
        _sigmoid((field["necrosis"] - lesion["necrosis"]) * 8),
    )
    rim = 0.35 * np.exp(-((outside / 0.05) ** 2))  # the wound is deep: its rim lies in shadow
    sheen = 0.7 * lesion["exudate"] * _sigmoid((field["sheen"] - 1.7) * 8)
    return _mix(bed * (1 - rim)[..., None], np.ones_like(bed), sheen)


def _light(rng: np.random.Generator, image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    views = len(image)
    gradient = rng.normal(0, 0.12, (2, views, 1, 1))
    exposure, vignette = rng.normal(1, 0.08, (views, 1, 1)), rng.uniform(0, 0.15, (views, 1, 1))
    return image * (exposure + gradient[0] * u + gradient[1] * v - vignette * (u**2 + v**2))[..., None]


def _background(rng: np.random.Generator, image: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cloth beyond the edge of the foot, in about half of the views."""
    views = len(image)
    angle, edge, bend = rng.uniform([0, 0.7, 0], [2 * np.pi, 1.5, 0.35], (views, 3)).T.reshape(3, views, 1, 1)
    across, along = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    beyond = across + bend * along**2 - edge
    cloth = CLOTHS[rng.integers(len(CLOTHS), size=views)][:, None, None] * rng.uniform(
        0.8, 1.1, (views, 1, 1, 1)
    )
    shaded = (
        image * (1 - 0.45 * np.exp(-((beyond.clip(max=0) / 0.2) ** 2)))[..., None]
    )  # the foot curves away
    return _mix(shaded, cloth * np.ones_like(image), _sigmoid(beyond / 0.02))
