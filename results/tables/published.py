"""The figures of the paper that this study replicates, contradictions included, and which trials compare with them.

Vina et al., Frontiers in Medicine 2026, doi 10.3389/fmed.2026.1742345.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from results.tables.schema import PUBLISHED
from results.tables.store import TableError

PATH = Path(__file__).with_name("published.csv")

# The paper's figures of its best model: (table, model), then column of TRIALS -> metric. It does not say how it pairs
# images for SSIM and PSNR; the nearest-neighbour columns come closest.
FIGURES = {
    ("image_quality", "wgan_gp_lstm"): {
        "frechet_distance": "fid", "fid": "fid", "inception_score": "inception_score",
        "ssim_nearest": "ssim", "psnr_nearest": "psnr", "real_or_fake_f1": "real_or_fake_f1",
        "real_or_fake_precision": "real_or_fake_precision", "real_or_fake_recall": "real_or_fake_recall",
    },
    ("diagnosis", "cnn_lstm_table"): {
        f"test_{metric}": metric for metric in ("accuracy", "precision", "recall", "f1", "tpr", "fpr", "auroc")
    },
    ("generators", "wgan_gp_lstm"): {
        "generator_parameters": "generator_parameters", "generator_lstm_parameters": "generator_lstm_parameters",
        "seconds_per_synthetic_image": "seconds_per_synthetic_image",
    },
}  # fmt: skip
SETTINGS = {
    "trial_id": "paper", "phase": "published", "status": "published", "backbone": "plain", "lstm_depth": 2,
    "image_size": 128, "training_images": "real_and_synthetic", "feature_extractor": "inception",
    "data_layout": "DFU Part B, Infection", "split_protocol": "random", "is_sample_data": False,
}  # fmt: skip
# Where the paper gives an AUROC for real + synthetic training: model in published.csv -> place in the paper. Table 3
# calls the paper's own row "this work (2025)".
AUROCS = {
    "cnn_lstm_table": "Table 2",
    "cnn_lstm_text_real_and_synthetic": "text",
    "this_paper_2025": "Table 3",
}


def read_published() -> pd.DataFrame:
    """The figures of the paper's tables and text, one a row, with the columns of PUBLISHED.

    Raises TableError where the file has other columns or a text stands for a number.
    """
    frame = pd.read_csv(PATH)
    if list(frame.columns) != PUBLISHED.names:
        raise TableError(f"{PATH}: the columns must be {', '.join(PUBLISHED.names)}")
    try:
        return pa.Table.from_pandas(frame, schema=PUBLISHED, preserve_index=False).to_pandas()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TableError(f"{PATH}: {error}") from None


def paper_row() -> dict:
    """The paper's WGAN-GP + LSTM under the column names of TRIALS; columns it says nothing about are left out."""
    rows = read_published()
    published = dict(zip(zip(rows["table"], rows["model"], rows["metric"], strict=True), rows["value"], strict=True))
    figures = {
        column: published[*source, metric]
        for source, columns in FIGURES.items()
        for column, metric in columns.items()
    }
    return SETTINGS | figures


def auroc_statement() -> str:
    """The sentence that names each AUROC the paper gives for one and the same experiment."""
    published = read_published()
    auroc = published[published["metric"] == "auroc"].set_index("model")["value"]
    figures = ", ".join(f"{auroc[model]:.3g} ({place})" for model, place in AUROCS.items())
    return f"The paper gives its AUROC as {figures}"


def claimed_gain() -> tuple[float, float]:
    """The gain by synthetic images that the paper claims, low and high, as a difference of accuracies."""
    published = read_published()
    (row,) = published[published["metric"] == "accuracy_gain"].itertuples()
    return row.value, row.value_high


def comparable(row: dict) -> str:
    """Why a row of TRIALS cannot be compared with the paper, reasons separated by "; ", or "yes" where it can."""
    if row["status"] != "completed":
        return f"not finished ({row['status']})"
    reasons = []
    if row["is_sample_data"]:
        reasons.append("sample data")
    elif row["data_layout"] != SETTINGS["data_layout"]:
        reasons.append(f"other data set ({row['data_layout']})")
    if row["split_protocol"] != SETTINGS["split_protocol"]:
        reasons.append(f"{row['split_protocol']} split, the paper's is {SETTINGS['split_protocol']}")
    if pd.notna(row["frechet_distance"]) and row["feature_extractor"] != SETTINGS["feature_extractor"]:
        reasons.append(f"other feature extractor ({row['feature_extractor']}), the paper's is inception")
    if row["image_size"] != SETTINGS["image_size"]:
        reasons.append(f"images of {row['image_size']:.0f} px, the paper's have {SETTINGS['image_size']} px")
    return "; ".join(reasons) or "yes"
