"""What the GANs made: sample grids, interpolations, the images closest to training, and how close they are."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from results.page.figure import OTHERS, WIDE, Drawing, legend_below, look, new_figure
from results.page.parts import Picture
from results.stats.evidence import Evidence, select
from results.tables.store import TableError

PADDING = 2  # pixels between the images of a grid
DISTANCES = {"feature_distance": "features", "pixel_distance": "pixels (root mean square of 255)"}
CLOSEST = 8  # images in closest.png, nearest first


def pictured_gans(evidence: Evidence) -> pd.DataFrame:
    """One GAN a model with the columns name, gan_key, trial: its first seed on all data, the confirmed ones first."""
    trials = evidence.completed.dropna(subset="gan_key")
    trials = trials[(trials["training_fraction"] == 1.0) & (trials["split_protocol"] == evidence.protocol)]
    trials = trials.sort_values(["seed", "trial_id"]).drop_duplicates("gan_key")
    names = trials["confirms"].fillna(trials["trial_id"])
    confirmed = names.isin(trials["confirms"].dropna())
    # A search's GAN that was confirmed is shown by its confirmation, which is audited.
    trials = trials.assign(name=names)[(trials["phase"] == "confirm") | ~confirmed]
    return trials.drop_duplicates("name").sort_values(["confirms", "name"]).reset_index(drop=True)


def model_pictures(evidence: Evidence, gan: pd.Series, show_real: bool) -> list[Picture | Drawing]:
    """What there is to see of one GAN, a row of `pictured_gans`."""
    folder = evidence.study / "gans" / gan["gan_key"]
    network = f"{gan['backbone']}, {gan['lstm_depth']:.0f} LSTM layers, seed {gan['seed']:.0f}"
    classes = f"upper row {gan['negative_class']}, lower row {gan['positive_class']}"
    name = gan["name"]
    parts = [
        _picture(folder / "samples.png", f"Synthetic images of {name} ({network}) from fixed noise; {classes}"),
        _picture(folder / "interpolation.png", f"{name}: from one latent point to another, left to right; {classes}"),
    ]
    neighbours = select(evidence.neighbours, gan_key=gan["gan_key"], feature_extractor=gan["feature_extractor"])
    if len(neighbours):
        parts += [_closest(evidence, gan, folder / "closest.png", neighbours, show_real), _distances(gan, neighbours)]
    return [part for part in parts if part]


def _picture(path: Path, caption: str) -> Picture | None:
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return Picture(path.read_bytes(), caption, f"{caption}.", image.width)


def _closest(evidence: Evidence, gan: pd.Series, path: Path, neighbours: pd.DataFrame, show_real: bool):
    rows = select(neighbours, kind="synthetic").sort_values("number").head(CLOSEST)
    distances = ", ".join(f"{distance:.1f}" for distance in rows["feature_distance"])
    caption = f"The {len(rows)} synthetic images of {gan['name']} nearest to a training image (distances {distances})"
    if not show_real:
        return _picture(path, f"{caption}; --show-real puts the training image below each")
    if not path.is_file():
        return None
    real = training_images(evidence, rows["nearest_image_id"].tolist(), gan["data_fingerprint"])
    pairs = with_row_below(Image.open(path), real, int(gan["image_size"]))
    file = io.BytesIO()
    pairs.save(file, format="PNG")
    caption += "; below each its nearest training image, which training also shows mirrored"
    return Picture(file.getvalue(), caption, f"{caption}.", pairs.width)


def training_images(evidence: Evidence, image_ids: list[str], fingerprint: str) -> list[Image.Image]:
    """The prepared images of these ids, in this order. Raises TableError where the prepared file is not there."""
    path = evidence.study.resolve().parent / "prepared" / f"{fingerprint}.parquet"
    try:
        table = pq.read_table(path, columns=["image_id", "image"], filters=[("image_id", "in", image_ids)])
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{path}: --show-real needs the prepared images of this study ({error})") from None
    images = dict(zip(table["image_id"].to_pylist(), table["image"].to_pylist(), strict=True))
    missing = set(image_ids) - set(images)
    if missing:
        raise TableError(f"{path}: holds no image {min(missing)}; the study was made from other data")
    return [Image.open(io.BytesIO(images[image_id])) for image_id in image_ids]


def with_row_below(grid: Image.Image, images: list[Image.Image], size: int) -> Image.Image:
    """A grid of one row, and a second row of as many images below it."""
    pairs = Image.new("RGB", (grid.width, grid.height + size + PADDING))
    pairs.paste(grid, (0, 0))
    for number, image in enumerate(images):
        pairs.paste(image, (PADDING + number * (size + PADDING), grid.height))
    return pairs


def _distances(gan: pd.Series, neighbours: pd.DataFrame) -> Drawing:
    """Distances to the nearest training image, synthetic against held-out, in features and in pixels."""
    figure, axes = new_figure((WIDE[0], 3.3), columns=2)
    listed = []
    for axis, (column, words) in zip(axes, DISTANCES.items(), strict=True):
        kinds = {kind: rows[column].dropna() for kind, rows in neighbours.groupby("kind")}
        edges = np.histogram_bin_edges(pd.concat(kinds.values()), bins=30)
        for number, (kind, values) in enumerate(kinds.items()):
            style = {key: value for key, value in look(number).items() if key != "marker"}
            axis.hist(values, edges, density=True, histtype="step", label=kind.replace("_", "-"), **style)
            listed.append(f"{words}, {kind} {values.median():.2f} (n = {len(values)})")
        first = np.percentile(kinds["held_out"], 1)
        axis.axvline(first, color=OTHERS, linestyle=":", label="held-out 1st percentile")
        axis.set(xlabel=f"distance in {words}", yticks=[])
    axes[0].set_ylabel("density")
    legend_below(figure, axes[0], columns=3)
    alt = f"Median distance to the nearest training image: {'; '.join(listed)}."
    title = f"How near {gan['name']} comes to its training images"
    return Drawing(f"neighbours_{gan['gan_key']}", title, alt, figure)
