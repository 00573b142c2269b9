"""A made-up study with every table filled, from seeded numbers that mean nothing: test data for the report."""

import io
import json
from pathlib import Path

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sqlalchemy import URL

from results.tables.schema import COLLAPSED, HONEST, TABLES
from results.tables.store import write_rows

WITH_GAN = ("real_and_synthetic_0.5", "real_and_synthetic_1", "synthetic_only_1")
ARMS = ("real_unaugmented", "real", "real_oversampled_1", *WITH_GAN)
GANS = {"paper-000": ("plain", 2), "search-004": ("efficientnetv2_s", 1)}
PHASES = ("baseline", "system", "paper", "search", "confirm", "judge", "benchmark")
SYSTEMS = {"wgan_gp_lstm": 150.0, "wgan_gp": 140.0, "r3gan": 120.0, "principal_gan": 90.0}  # Frechet distances
SEEDS = (1, 2, 3)
CORRUPTIONS = ("blur", "noise", "jpeg", "brightness", "white_balance", "crop")
NUM_IMAGES, NUM_GROUPS, SIZE = 120, 50, 16
DATA = {
    "data_fingerprint": "fe0", "data_layout": "folder per class", "split_protocol": "grouped",
    "positive_class": "infected", "negative_class": "clean", "is_sample_data": False, "split_seed": 0,
    "num_near_duplicates": 3, "num_skipped_files": 1,
    "feature_extractor": "efficientnet_lite0", "image_size": SIZE, "preset": "smoke", "objective": "pareto",
    "commit": "c0ffee", "command": "python study/run_sweep.py", "versions": json.dumps({"torch": "2.15.0"}),
    "hardware": "a test", "device": "cpu", "generator": "recurrent",
    "training_fraction": 1.0, "positive_fraction": 1.0, "classifier_key": "c1", "gan_epochs": 20,
}  # fmt: skip
MEASURED = {
    "num_train_real": 400, "validation_num_images": 110, "validation_num_positive": 50, "test_num_images": NUM_IMAGES,
    "test_num_positive": 60, "test_accuracy": 0.9, "test_auroc": 0.95, "test_f1": 0.9, "num_leaked_test": 0,
    "started_at": "2026-01-01T10:00:00+00:00", "seconds": 100.0, "classifier_seconds": 20.0, "threshold": 0.5,
}  # fmt: skip


def make_study(folder: Path, **data) -> Path:
    """Write a study in which adding synthetic images helps; `data` are columns of TRIALS."""
    draws = np.random.default_rng(0)
    trials = search_trials(draws) + confirm_trials(draws) + judge_trials() + benchmark_trials()
    for phase in PHASES:
        rows = [trial | data for trial in trials if trial["phase"] == phase]
        write_table(folder, "trials", rows, phase)
    write_table(folder, "history", [report for trial in trials for report in history(trial, draws)])
    confirmed = [trial for trial in trials if trial["phase"] == "confirm"]
    write_table(folder, "predictions", [row for trial in confirmed for row in predictions(trial, draws)])
    write_table(folder, "estimates", estimates(draws))
    write_table(folder, "comparisons", comparisons())
    write_table(folder, "generator_metrics", generator_metrics())
    write_table(folder, "neighbours", neighbours(draws))
    write_table(folder, "attributes", attributes())
    write_images(folder, draws)
    write_search(folder, trials)
    return folder


def write_table(folder: Path, table: str, rows: list[dict], name: str = "all") -> None:
    schema = TABLES[table]
    empty = dict.fromkeys(schema.names)
    write_rows(folder / table / f"{name}.parquet", [empty | {"study": folder.name} | row for row in rows], schema)


def search_trials(draws: np.random.Generator) -> list[dict]:
    """A baseline, the paper's configuration, a search of eight, of which one was stopped and one failed, a system."""
    rows = [DATA | MEASURED | {"trial_id": "baseline-000", "phase": "baseline", "status": "completed", "seed": 0,
                               "synthetic_ratio": 0.0, "validation_auroc": 0.9, "arm": "real"}]  # fmt: skip
    for number in range(9):
        phase = "search" if number else "paper"
        backbone, depth = [("plain", 2), ("efficientnetv2_s", 1), ("efficientnetv2_m", 4)][number % 3]
        rows.append(DATA | MEASURED | gan_columns(draws, f"gan{number % 6}") | {
            "trial_id": f"{phase}-{number:03d}", "phase": phase, "status": "completed", "seed": 0, "backbone": backbone,
            "lstm_depth": depth, "penalty_weight": 10.0, "synthetic_ratio": 0.5 + number % 2, "dropout": 0.05 * number,
            "classifier_lr": 0.001 * (number + 1), "gan_reused": number > 5, "arm": "real_and_synthetic_1",
            "saved_seconds": 60.0 if number > 5 else None,
            "validation_auroc": draws.uniform(0.8, 0.95), "started_at": f"2026-01-01T10:{2 * number:02d}:00+00:00",
        })  # fmt: skip
    ended = {"gan_key": None, "gan_reused": None, "validation_auroc": None, "started_at": None, "seconds": None}
    rows[-1] |= ended | {"saved_seconds": None, "status": "failed", "reason": "the critic's loss is not finite"}
    rows[-2] |= ended | {"status": "pruned", "reason": "stopped by ASHA at GAN epoch 5", "gan_epoch": 5,
                        "gan_seconds": 15.0, "saved_seconds": 45.0}
    system = {"trial_id": "system-000", "phase": "system", "generator": "principal", "system": "principal"}
    rows.append(rows[1] | system | {"gan_key": "gan9", "gan_epochs": 0, "gan_epoch": 0, "frechet_distance": 150.0})
    return rows


def gan_columns(draws: np.random.Generator, key: str) -> dict:
    return {
        "gan_key": key, "gan_reused": False, "gan_epoch": 20, "gan_seconds": 60.0, "frechet_floor": 50.0,
        "frechet_distance": draws.uniform(100, 200), "num_real": 110, "num_fake": 96, "inception_score": 1.5,
        "ssim_nearest": 0.3,
    }  # fmt: skip


def confirm_trials(draws: np.random.Generator) -> list[dict]:
    """Every arm and seed; 10 % of the data and the random split for two arms."""
    rows = []
    conditions = [(arm, 1.0, "grouped") for arm in ARMS]
    conditions += [
        (arm, *rest) for arm in ("real", "real_and_synthetic_1") for rest in ((0.1, "grouped"), (1.0, "random"))
    ]
    for gan, seed, (arm, fraction, split) in [(g, s, c) for g in GANS for s in SEEDS for c in conditions]:
        has_gan = arm in WITH_GAN
        if not has_gan and gan != "paper-000":
            continue
        backbone, depth = GANS[gan]
        key = f"{gan}-{seed}" + ("" if (fraction, split) == (1.0, "grouped") else f"-{fraction}-{split}")
        rows.append(DATA | MEASURED | (gan_columns(draws, key) if has_gan else {}) | {
            "trial_id": f"confirm-{len(rows):03d}", "phase": "confirm", "status": "completed", "arm": arm, "seed": seed,
            "confirms": gan if has_gan else None, "backbone": backbone, "lstm_depth": depth,
            "training_fraction": fraction, "split_protocol": split,
            "synthetic_ratio": 1.0 if has_gan else 0.0, "penalty_weight": 10.0,
            # The best on validation is not the best on test, so that a choice on test would be seen.
            "validation_auroc": {"real_and_synthetic_1": 0.96}.get(arm, 0.9) - 0.01 * (gan != "paper-000"),
            "test_auroc": {"synthetic_only_1": 1.0, "real_and_synthetic_0.5": 0.99}.get(arm, 0.9),
        })  # fmt: skip
    return rows


def judge_trials() -> list[dict]:
    """The chosen arm, real images and repeated ones, with seeds of their own."""
    arms = {"real_and_synthetic_1": "paper-000", "real": None, "real_oversampled_1": None}
    return [
        DATA | MEASURED | {"trial_id": f"judge-{arm}-{seed}", "phase": "judge", "status": "completed", "arm": arm,
                           "seed": seed, "confirms": gan, "num_judging_seeds": 3, "validation_auroc": 0.5,
                           "synthetic_ratio": float(gan is not None)}
        for arm, gan in arms.items() for seed in (1000, 1001, 1002)
    ]  # fmt: skip


def benchmark_trials() -> list[dict]:
    """Four systems over three seeds; the lower the distance, the better the classifier."""
    return [
        DATA | MEASURED | gan_columns(np.random.default_rng(0), f"{system}-{seed}") | {
            "trial_id": f"benchmark-{system}-{arm}-{seed}", "phase": "benchmark", "status": "completed", "arm": arm,
            "seed": seed, "confirms": f"{system}-5min", "system": system, "backbone": "plain", "lstm_depth": 0,
            "synthetic_ratio": 1.0, "frechet_distance": distance + seed, "test_auroc": 1 - distance / 1000,
            "gan_time_limit": 300.0, "gan_images_per_second": 100.0, "generator_parameters": 900_000,
            "peak_memory_bytes": 10**9, "seconds_per_synthetic_image": 0.001, "validation_auroc": 0.9,
        }
        for system, distance in SYSTEMS.items() for seed in SEEDS
        for arm in ("real_and_synthetic_1", "synthetic_only_1")
    ]  # fmt: skip


def history(trial: dict, draws: np.random.Generator) -> list[dict]:
    rows = [{"trial_id": trial["trial_id"], "stage": "classifier", "epoch": epoch, "seconds": 2.0 * epoch,
             "validation_auroc": 0.9 - 0.4 / epoch + draws.normal(0, 0.01)} for epoch in range(1, 11)]  # fmt: skip
    if trial.get("backbone") and trial["gan_epochs"]:
        rows += [{"trial_id": trial["trial_id"], "stage": "gan", "epoch": epoch, "wasserstein": 20 / epoch,
                  "seconds": 10.0 * epoch,
                  "frechet_distance": 110 + 500 / epoch + draws.normal(0, 5), "num_real": 110, "num_fake": 96}
                 for epoch in range(2, (trial.get("gan_epoch") or 10) + 1, 2)]  # fmt: skip
    return rows


def predictions(trial: dict, draws: np.random.Generator) -> list[dict]:
    """Unchanged test images only: the curves of corrupted images come from ESTIMATES."""
    logits = draws.normal(0, 1.2, NUM_IMAGES) + 3 * (np.arange(NUM_IMAGES) % 2) - 1.5
    return [
        {"trial_id": trial["trial_id"], "arm": trial["arm"], "seed": trial["seed"], "side": "test",
         "corruption": "none", "strength": 0, "image_id": f"i{number}", "group": f"g{number % NUM_GROUPS}",
         "label": number % 2, "probability": float(1 / (1 + np.exp(-logit)))}
        for number, logit in enumerate(logits)
    ]  # fmt: skip


def estimates(draws: np.random.Generator) -> list[dict]:
    metrics = ("accuracy", "auroc", "auprc", "f1", "mcc", "tpr", "fpr", "sensitivity_at_95_specificity", "brier", "ece")
    conditions = [{"metric": metric} for metric in metrics]
    conditions += [{"metric": m, "training_fraction": f} for m in ("accuracy", "auroc") for f in (0.1, 0.25, 0.5)]
    conditions += [{"metric": "auroc", "corruption": name, "strength": s} for name in CORRUPTIONS for s in (1, 2, 3)]
    conditions += [{"metric": "auroc", "split_protocol": "random"}]
    conditions += [{"metric": m, "subgroup": "tan (ITA estimate)"} for m in ("auroc", "tpr", "fpr")]
    keys = [(gan, arm) for arm in WITH_GAN for gan in GANS] + [(None, arm) for arm in ARMS if arm not in WITH_GAN]
    rows = []
    for (gan, arm), condition in [(key, condition) for key in keys for condition in conditions]:
        value = 0.9 - 0.05 * condition.get("strength", 0) + draws.normal(0, 0.01)
        rows.append({
            "gan": gan, "arm": arm, "classifier_key": "c1", "split_protocol": "grouped", "training_fraction": 1.0,
            "side": "test", "corruption": "none", "strength": 0, "value": value, "sd": 0.01, "ci_low": value - 0.03,
            "ci_high": value + 0.03, "num_seeds": 3, "num_images": NUM_IMAGES, "num_positive": 60,
            "num_groups": NUM_GROUPS,
        } | condition)  # fmt: skip
    return rows


def comparisons(difference: float = 0.04, p_adjusted: float = 0.002) -> list[dict]:
    """Adding synthetic images changes both outcomes by `difference`, with an interval of 0.02 to either side."""
    base = {
        "classifier_key": "c1", "split_protocol": "grouped", "training_fraction": 1.0, "side": "test", "value_b": 0.9,
        "num_seeds": 3, "num_images": NUM_IMAGES, "num_positive": 60, "num_groups": NUM_GROUPS,
        "standard_error": 0.01, "degrees_of_freedom": 10.0, "phase": "confirm",
    }  # fmt: skip
    rows = []
    for metric, gan, arm in [(m, g, a) for m in ("accuracy", "auroc") for g in GANS for a in WITH_GAN]:
        # Only the judged arm has the effect that was asked for; the choosing seeds and another arm give another answer.
        for phase in ("confirm", "judge")[: 1 + ((gan, arm) == ("paper-000", "real_and_synthetic_1"))]:
            judged = phase == "judge"
            gain = difference if judged else -0.06
            pair = base | {
                "phase": phase, "metric": metric, "gan": gan, "arm_a": arm, "test": "a test", "difference": gain,
                "p_adjusted": p_adjusted if judged else 0.001, "ci_low": gain - 0.02, "ci_high": gain + 0.02,
                "value_a": 0.9 + gain, "p_value": p_adjusted / 2,
            }  # fmt: skip
            rows.append(pair | {"family": "synthetic against real", "arm_b": "real"})
            if arm == "real_and_synthetic_1":
                rows.append(pair | {"family": "against oversampled", "arm_b": "real_oversampled_1"})
    rows += [
        base | {"phase": "benchmark", "family": "synthetic against real", "metric": metric, "gan": f"{system}-5min",
                "arm_a": "real_and_synthetic_1", "arm_b": "real", "value_a": 0.91, "difference": 0.01, "ci_low": -0.01,
                "ci_high": 0.03, "p_value": 0.3, "p_adjusted": 1.0, "test": "a test"}
        for system in SYSTEMS for metric in ("accuracy", "auroc")
    ]  # fmt: skip
    leak = {"family": "leakage", "metric": "auroc", "arm_a": "real (random split)", "arm_b": "real", "value_a": 0.97,
            "difference": 0.07, "ci_low": 0.05, "ci_high": 0.09, "p_value": 0.001, "p_adjusted": 0.001,
            "test": "two independent clustered bootstraps"}  # fmt: skip
    return [*rows, base | leak]


def generator_metrics() -> list[dict]:
    return [
        {"gan_key": f"{gan}-{seed}", "trial_id": f"confirm-{seed}", "confirms": gan, "backbone": GANS[gan][0],
         "lstm_depth": GANS[gan][1], "seed": seed, "feature_extractor": "efficientnet_lite0", "label": label,
         "num_real": 110, "num_fake": 110, "frechet_distance": 120.0 + seed, "frechet_floor": 50.0, "kid_mean": 0.2,
         "kid_std": 0.01, "kid_floor": 0.01, "precision": 0.5, "precision_floor": 0.8, "density": 0.4, "coverage": 0.3,
         "nearest_train_ratio": 1.1, "copy_rate": 0.01, "copy_rate_pixels": 0.0, "diversity_ratio": 0.8,
         "verdict": COLLAPSED if (gan, seed) == ("search-004", 2) else HONEST}
        for gan in GANS for seed in SEEDS for label in (None, 0, 1)
    ]  # fmt: skip


def neighbours(draws: np.random.Generator) -> list[dict]:
    return [
        {"gan_key": f"{gan}-1", "feature_extractor": "efficientnet_lite0", "kind": kind, "number": number,
         "label": number % 2, "nearest_image_id": f"t{number}", "nearest_image_id_pixels": f"t{number}",
         "feature_distance": 7 + 0.1 * number + draws.uniform(0, 0.1), "pixel_distance": draws.normal(40, 4)}
        for gan in GANS for kind in ("synthetic", "held_out") for number in range(40)
    ]  # fmt: skip


def attributes() -> list[dict]:
    return [
        {"source": "ITA estimate", "kind": kind, "gan_key": "paper-000-1" if kind == "synthetic" else None,
         "side": "train" if kind == "real" else None, "attribute": ("tan", "light")[number % 3 == 0], "value": 20.0}
        for kind in ("real", "synthetic") for number in range(30)
    ]  # fmt: skip


def write_images(folder: Path, draws: np.random.Generator) -> None:
    """Noise for synthetic images; the prepared training images are plain red, so that they are found on a page."""
    for gan in GANS:
        path = folder / "gans" / f"{gan}-1"
        path.mkdir(parents=True)
        for name, rows in {"samples": 2, "interpolation": 2, "closest": 1}.items():
            shape = (2 + rows * (SIZE + 2), 2 + 8 * (SIZE + 2), 3)
            Image.fromarray(draws.integers(0, 256, shape, dtype=np.uint8)).save(path / f"{name}.png")
    file = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE), (255, 0, 0)).save(file, format="PNG")
    prepared = folder.parent / "prepared"
    prepared.mkdir(exist_ok=True)
    table = pa.table({"image": [file.getvalue()] * 40, "image_id": [f"t{number}" for number in range(40)]})
    pq.write_table(table, prepared / "fe0.parquet")


def write_search(folder: Path, trials: list[dict]) -> None:
    """Optuna's file as the search leaves it."""
    storage = str(URL.create("sqlite", database=str(folder / "optuna.db")))
    study = optuna.create_study(storage=storage, study_name=folder.name, directions=["minimize", "maximize"])
    space = {
        "dropout": optuna.distributions.FloatDistribution(0, 0.5),
        "backbone": optuna.distributions.CategoricalDistribution(("plain", "efficientnetv2_s", "efficientnetv2_m")),
        "lstm_depth": optuna.distributions.CategoricalDistribution((0, 1, 2, 3, 4)),
    }
    for trial in trials:
        if trial["phase"] in ("paper", "search") and trial["status"] == "completed":
            values = [trial["frechet_distance"], trial["validation_auroc"]]
            parameters = {name: trial[name] for name in space}
            study.add_trial(optuna.trial.create_trial(params=parameters, distributions=space, values=values))
