"""Individual typology angle: an estimate of skin tone from pixels, which light, camera and wound all shift."""

import numpy as np
from PIL import Image

MIN_SKIN = 0.1  # share of the pixels; of fewer, a median says little
UNKNOWN = "unknown"

# Lower bounds in degrees, Chardon et al. (1991) with the darkest class of Del Bino et al. (2006); a bound itself
# belongs to the class below it.
TONES = {"very light": 55, "light": 41, "intermediate": 28, "tan": 10, "brown": -30, "dark": -np.inf}

# IEC 61966-2-1: linear sRGB -> CIE XYZ, and the white point D65, which its rows sum to.
RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def skin_tone(pixels: np.ndarray) -> float | None:
    """Median individual typology angle in degrees of the pixels (S, S, 3) uint8 sRGB that look like skin.

    None where under a tenth of them do. A wound's red may look like skin, and red skin lowers the angle: the estimate
    compares groups of photographs, and is not a skin type.
    """
    skin = pixels[skin_pixels(pixels)]
    if len(skin) < MIN_SKIN * pixels[..., 0].size:
        return None
    return float(np.median(typology_angle(rgb_to_lab(skin))))


def tone_name(angle: float | None) -> str:
    """The class of an angle in degrees; "unknown" of None."""
    if angle is None:
        return UNKNOWN
    return next(name for name, bound in TONES.items() if angle > bound)


def skin_pixels(pixels: np.ndarray) -> np.ndarray:
    """(S, S) flags of pixels (S, S, 3) in the chroma range of skin, which holds over skin tones.

    77 <= Cb <= 127 and 133 <= Cr <= 173 of YCbCr: Chai and Ngan (1999), section III.
    """
    _, cb, cr = np.moveaxis(np.asarray(Image.fromarray(pixels).convert("YCbCr")), 2, 0)
    return (cb >= 77) & (cb <= 127) & (cr >= 133) & (cr <= 173)


def typology_angle(lab: np.ndarray) -> np.ndarray:
    """Degrees, atan2(L* - 50, b*), of CIELAB colours (..., 3): Chardon et al. (1991)."""
    return np.degrees(np.arctan2(lab[..., 0] - 50, lab[..., 2]))


def rgb_to_lab(pixels: np.ndarray) -> np.ndarray:
    """sRGB uint8 (..., 3) -> CIELAB (..., 3) under D65: IEC 61966-2-1, then CIE 15:2004, section 8.2.1."""
    encoded = pixels / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    relative = linear @ RGB_TO_XYZ.T / RGB_TO_XYZ.sum(1)
    x, y, z = np.moveaxis(
        np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative * (29 / 6) ** 2 / 3 + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
