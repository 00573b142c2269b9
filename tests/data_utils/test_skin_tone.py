"""Skin tone: colours with known CIELAB values, the classes' bounds, and pictures without skin."""

import numpy as np
import pytest

from data_utils.phantoms import SKIN_TONES
from data_utils.skin_tone import rgb_to_lab, skin_pixels, skin_tone, tone_name, typology_angle


def plain(colour, size=8):
    return np.broadcast_to(np.array(colour, np.uint8), (size, size, 3)).copy()


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
        ((10, 10, 10), (2.74, 0, 0)),  # in the straight part of both curves
    ],
)
def test_known_colours(rgb, lab):
    # Published to two digits, made by matrices that differ in the fifth.
    np.testing.assert_allclose(rgb_to_lab(np.array([rgb], np.uint8))[0], lab, atol=0.05)


@pytest.mark.parametrize(("lab", "degrees"), [((70, 0, 20), 45), ((50, 9, 15), 0), ((30, 5, 20), -45)])
def test_angle(lab, degrees):
    assert typology_angle(np.array(lab, float)) == pytest.approx(degrees)


@pytest.mark.parametrize(
    ("angle", "name"),
    [
        (90, "very light"), (55.1, "very light"), (55, "light"), (41.1, "light"), (41, "intermediate"),
        (28, "tan"), (10.1, "tan"), (10, "brown"), (-29.9, "brown"), (-30, "dark"), (-89, "dark"), (None, "unknown"),
    ],
)  # fmt: skip
def test_classes(angle, name):
    assert tone_name(angle) == name


def test_darker_skin_has_a_smaller_angle():
    angles = [skin_tone(plain(np.rint(255 * tone))) for tone in SKIN_TONES]
    assert angles == sorted(angles, reverse=True)
    assert tone_name(angles[0]) in ("very light", "light") and tone_name(angles[-1]) == "dark"


def test_only_pixels_that_look_like_skin_count():
    skin, cloth = (212, 161, 130), (60, 120, 180)
    picture = plain(skin, 10)
    picture[:, 2:] = cloth
    assert skin_pixels(picture).sum() == 20
    assert skin_tone(picture) == pytest.approx(skin_tone(plain(skin)))
    picture[1:, :2] = cloth
    assert skin_pixels(picture).sum() == 2 and skin_tone(picture) is None


def test_the_median_pixel_decides():
    tones = [np.rint(255 * tone) for tone in SKIN_TONES]
    picture = plain(tones[0])
    picture[:5] = tones[2]  # 5 of 8 rows
    assert skin_tone(picture) == pytest.approx(skin_tone(plain(tones[2])))
