"""What the GANs made: their quality in a sentence, sample grids, and how close they come to training images."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from results.page.figure import OTHERS, WIDE, Drawing, legend_below, look, new_figure
from results.page.parts import AUDIT, Picture
from results.stats.evidence import Evidence, select
from results.tables.schema import HONEST, REPEATED
from results.tables.store import TableError

PADDING = 2  # pixels between the images of a grid
DISTANCES = {"feature_distance": "features", "pixel_distance": "pixels (root mean square of 255)"}
CLOSEST = 8  # images in closest.png, nearest first


def image_quality(evidence: Evidence) -> str:
    """The Frechet distance of synthetic to real images, beside that of real to real images."""
    rows, best = audited(evidence), evidence.best_of_search
    wanted = [evidence.choice and evidence.choice.gan, None if best is None else best["trial_id"]]
    gan = next((gan for gan in wanted if gan in set(rows["model"])), None)
    if gan is None and best is not None and pd.notna(best.frechet_distance):
        gan, rows, side = best.trial_id, best.to_frame().T, "validation"
    elif len(rows):  # of the chosen GAN, else that of the best trial, else the first audited
        gan = gan or rows["model"].iloc[0]
        rows, side = rows[rows["model"] == gan], "held-out"
    else:
        return "no GAN has been measured"
    first, distances, seeds = rows.iloc[0], rows["frechet_distance"], f"{len(rows)} seed{'s' * (len(rows) > 1)}"
    deviation = f" ± {distances.std():.1f}" if len(rows) > 1 else ""
    return (
        f"GAN {gan}: Frechet distance {distances.mean():.1f}{deviation} over {seeds} to {side} images; "
        f"real to real images {rows['frechet_floor'].mean():.1f} "
        f"({first.feature_extractor}, {first.num_real:.0f} real and {first.num_fake:.0f} synthetic)"
    )


def audit_finding(evidence: Evidence) -> str:
    """How many of the audited GANs copy training images, have collapsed or draw the wrong labels."""
    rows = audited(evidence)
    if rows.empty:
        return f"copies, collapse and wrong labels were not looked for yet: {AUDIT}"
    flagged = rows[rows["verdict"] != HONEST]
    if flagged.empty:
        return f"in none of {len(rows)} audited GANs were copies of training images, collapse or wrong labels found"
    seeds = flagged.sort_values("seed").groupby(["verdict", "model"])["seed"]
    seeds = seeds.agg(lambda own: ", ".join(f"{seed:.0f}" for seed in own))
    by_verdict = []
    for verdict, own in seeds.groupby("verdict"):
        gans = ", ".join(f"{model} (seed {listed})" for (_, model), listed in own.items())
        by_verdict.append(f"{verdict.replace('; ', ' and ')}: {gans}")
    return f"{len(flagged)} of {len(rows)} audited GANs flagged: {'; '.join(by_verdict)}"


def audited(evidence: Evidence) -> pd.DataFrame:
    """Rows of GENERATOR_METRICS for both classes together in the study's own features, with the column model; the
    verdict is that of all networks."""
    extractor = evidence.trials["feature_extractor"].iloc[0]
    rows = select(evidence.generator_metrics, label=None, feature_extractor=extractor)
    if len(evidence.main):  # not of parts of the data, of the other split, or of the search's seed
        rows = rows[rows["gan_key"].isin([*evidence.main["gan_key"], *evidence.judged["gan_key"]])]
    verdict = rows["gan_key"].map(evidence.verdicts)
    return rows.assign(model=rows["confirms"].fillna(rows["trial_id"]), verdict=verdict)


def pictured_gans(evidence: Evidence) -> pd.DataFrame:
    """One GAN a model with the columns name, gan_key, trial: its first seed on all data, the confirmed ones first."""
    trials = evidence.completed.dropna(subset="gan_key")
    trials = select(trials, training_fraction=1.0, positive_fraction=1.0, split_protocol=evidence.protocol)
    trials = trials.sort_values(["seed", "trial_id"]).drop_duplicates("gan_key")
    trials = trials.assign(name=trials["confirms"].fillna(trials["trial_id"]))
    # A search's GAN that was confirmed is shown by its confirmation, which is audited.
    shown = (trials["phase"].isin(REPEATED)) | ~trials["name"].isin(trials["confirms"].dropna())
    return trials[shown].drop_duplicates("name").sort_values(["confirms", "name"]).reset_index(drop=True)


def model_pictures(evidence: Evidence, gan: pd.Series, show_real: bool) -> list[Picture | Drawing]:
    """What there is to see of one GAN, a row of `pictured_gans`."""
    folder, name = evidence.study / "gans" / gan["gan_key"], gan["name"]
    network = f"{gan['backbone']}, {gan['lstm_depth']:.0f} LSTM layers"
    network = f"{network if gan['generator'] == 'recurrent' else gan['system']}, seed {gan['seed']:.0f}"
    classes = f"upper row {gan['negative_class']}, lower row {gan['positive_class']}"
    captions = {
        "samples": f"Synthetic images of {name} ({network}) from fixed noise; {classes}",
        "interpolation": f"{name}: from one latent point to another, left to right; {classes}",
    }
    parts = [_picture(folder / f"{file}.png", caption) for file, caption in captions.items()]
    neighbours = select(evidence.neighbours, gan_key=gan["gan_key"], feature_extractor=gan["feature_extractor"])
    if len(neighbours):
        parts += [_closest(evidence, gan, folder / "closest.png", neighbours, show_real), _distances(gan, neighbours)]
    return [part for part in parts if part]


def _picture(path: Path, caption: str, real: list[Image.Image] = (), size: int = 0) -> Picture | None:
    """A stored grid; `real` images of `size` pixels make a second row below it."""
    if not path.is_file():
        return None
    file = io.BytesIO(path.read_bytes())
    with Image.open(path) as grid:
        width, height = grid.size
        if real:
            pairs = Image.new("RGB", (width, height + size + PADDING))
            pairs.paste(grid, (0, 0))
            for number, image in enumerate(real):
                pairs.paste(image, (PADDING + number * (size + PADDING), height))
            pairs.save(file := io.BytesIO(), format="PNG")
    return Picture(file.getvalue(), caption, f"{caption}.", width)


def _closest(evidence: Evidence, gan: pd.Series, path: Path, neighbours: pd.DataFrame, show_real: bool):
    rows = select(neighbours, kind="synthetic").sort_values("number").head(CLOSEST)
    distances = ", ".join(f"{distance:.1f}" for distance in rows["feature_distance"])
    caption = f"The {len(rows)} synthetic images of {gan['name']} nearest to a training image (distances {distances})"
    if not (show_real and path.is_file()):
        return _picture(path, f"{caption}; --show-real puts the training image below each")
    real = training_images(evidence, rows["nearest_image_id"].tolist(), gan["data_fingerprint"])
    caption += "; below each its nearest training image, which training also shows mirrored"
    return _picture(path, caption, real, int(gan["image_size"]))


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
    return Drawing(f"neighbours_{gan['gan_key']}", title, alt, figure, folded=True)
