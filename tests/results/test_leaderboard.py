import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from data_utils.layouts import recognise
from results.leaderboard import COLUMNS, exit_code, format_leaderboard, leaderboard
from results.stats.curve import recent_distance
from results.tables import published
from results.tables.published import paper_row, read_published
from results.tables.schema import PUBLISHED, TRIALS
from results.tables.store import TableError, write_rows

ROOT = Path(__file__).resolve().parents[2]

COMPLETED = {
    "study": "demo", "phase": "search", "status": "completed", "generator": "recurrent", "backbone": "plain",
    "lstm_depth": 2,
    "synthetic_ratio": 1.0, "image_size": 32, "feature_extractor": "efficientnet_lite0", "num_real": 96, "num_fake": 96,
    "frechet_distance": 200.0, "frechet_floor": 49.125, "validation_auroc": 0.9, "test_auroc": 0.875,
    "is_sample_data": False, "split_protocol": "grouped", "data_layout": "folder per class",
}  # fmt: skip


def trials(*rows: dict) -> pd.DataFrame:
    """Rows of a made-up study as `read_trials` gives them; what a row does not name is as in COMPLETED."""
    filled = [dict.fromkeys(TRIALS.names) | COMPLETED | {"trial_id": f"t{i}"} | row for i, row in enumerate(rows)]
    return pa.Table.from_pylist(filled, schema=TRIALS).to_pandas()


def order(frame: pd.DataFrame) -> list[str]:
    return frame["trial_id"].tolist()


# ---- the paper's figures


def test_published_holds_the_three_tables_and_the_costs():
    frame = read_published()
    assert list(frame.columns) == PUBLISHED.names
    assert frame["table"].unique().tolist() == ["image_quality", "diagnosis", "benchmark", "generators"]
    assert not frame.duplicated(["table", "model", "method", "data", "metric"]).any()
    quality = frame[frame["table"] == "image_quality"].pivot(index="model", columns="metric", values="value")
    small = quality.loc["efficientnetv2_s_lstm"]
    assert (small.inception_score, small.fid, small.psnr, small.ssim) == (4.3, 55, 14.5, 0.52)


def test_published_keeps_both_sides_of_a_contradiction():
    frame = read_published()
    auroc = frame[(frame["metric"] == "auroc") & frame["data"].str.startswith("DFU")]
    assert auroc["value"].tolist() == [0.945, 0.93, 0.934, 0.953]
    assert auroc["value_high"].dropna().tolist() == [0.94]
    (gap,) = frame[frame["metric"] == "fid_above_wgan_gp_lstm"].itertuples()
    assert (gap.value, gap.value_high) == (17, 22)


@pytest.mark.parametrize(
    "text",
    ["table,model\nbenchmark,gan\n", ",".join(PUBLISHED.names) + "\na,b,c,d,e,high,,,,\n"],
    ids=["columns", "number"],
)
def test_a_broken_published_file_is_named(tmp_path, monkeypatch, text):
    (tmp_path / "published.csv").write_text(text, encoding="utf-8")
    monkeypatch.setattr(published, "PATH", tmp_path / "published.csv")
    with pytest.raises(TableError, match=r"published\.csv"):
        read_published()


# ---- ranking


@pytest.mark.parametrize("objective", ["pareto", "frechet", "auroc"])
def test_row_0_is_the_paper(objective):
    for study in (trials(), trials({"validation_auroc": 1.0, "frechet_distance": 1.0})):
        row = leaderboard(study, objective).iloc[0]
        assert (row["rank"], row.frechet_distance, row.inception_score, row.ssim_nearest) == (0, 28, 7.1, 0.85)
        assert (row.test_auroc, row.generator_parameters) == (0.945, 12.4e6)


@pytest.mark.parametrize("objective", ["pareto", "auroc"])
def test_validation_ranks_and_test_does_not(objective):
    study = trials(
        {"validation_auroc": 0.7, "test_auroc": 0.99},
        {"validation_auroc": 0.9, "test_auroc": 0.5},
        {"validation_auroc": None, "test_auroc": 1.0},
        {"validation_auroc": 0.8, "test_auroc": None},
    )
    frame = leaderboard(study, objective)
    assert order(frame) == ["paper", "t1", "t3", "t0", "t2"]
    assert frame["rank"].tolist() == [0, 1, 2, 3, pd.NA]


def test_what_did_not_finish_stands_last_and_unranked():
    study = trials({"status": "failed", "validation_auroc": 1.0}, {"status": "pruned", "frechet_distance": 1.0}, {})
    for objective in ("pareto", "frechet"):
        frame = leaderboard(study, objective)
        assert order(frame) == ["paper", "t2", "t1", "t0"]
        assert frame["rank"].isna().tolist() == [False, False, True, True]
        assert not frame["pareto"].iloc[2:].any()


def test_the_leaderboard_counts_the_repeats_and_does_not_list_them():
    known = [{"gan_key": f"g{i}", "validation_auroc": 0.8 + 0.01 * i} for i in range(6)]
    study = trials(*known, {"gan_key": "h", "validation_auroc": 0.95})  # t6
    assert leaderboard(study)["trial_id"].iloc[1] == "t6"
    repeats = [{"trial_id": f"finalist-{trial}-{n}", "phase": "finalist", "confirms": trial, "classifier_seed": n,
                "gan_key": gan, "validation_auroc": score + 0.005 * n}
               for trial, gan, score in (("t6", "h", 0.80), ("t5", "g5", 0.85)) for n in (1, 2, 3)]  # fmt: skip
    frame = leaderboard(trials(*known, {"gan_key": "h", "validation_auroc": 0.95, "trial_id": "t6"}, *repeats))
    assert frame["trial_id"].iloc[1] == "t5" and len(frame) == 8
    assert frame.set_index("trial_id").loc["t6", "validation_auroc"] == 0.95, "its own score stays in its row"


def test_distances_of_other_extractors_or_counts_are_ranked_apart():
    study = trials(
        {"frechet_distance": 90.0},
        {"frechet_distance": 5.0, "feature_extractor": "inception"},
        {"frechet_distance": 80.0},
        {"frechet_distance": 1.0, "num_fake": 512},
        {"frechet_distance": None, "num_fake": None, "synthetic_ratio": 0.0},
        {"frechet_distance": 70.0},
    )
    frame = leaderboard(study, "frechet").set_index("trial_id")
    assert frame.index.tolist() == ["paper", "t5", "t2", "t0", "t3", "t1", "t4"]
    assert frame["rank"].tolist() == [0, 1, 2, 3, 1, 1, pd.NA]


def test_a_search_for_distance_is_ranked_by_the_last_quarter_and_says_so():
    study = trials(
        {"frechet_distance": 50.0, "frechet_recent": 90.0},
        {"frechet_distance": 70.0, "frechet_recent": 60.0},
        {"frechet_distance": 80.0, "frechet_recent": None},
    )
    frame = leaderboard(study, "frechet")
    assert order(frame) == ["paper", "t1", "t2", "t0"]
    words = {name: " ".join(format_leaderboard(frame, Path("s"), name).split()) for name in ("frechet", "auroc")}
    assert "ranked by the mean Frechet distance" in words["frechet"] and "ranked by val" not in words["frechet"]
    assert "ranked by val" in words["auroc"]
    assert recent_distance({10: 400.0, 60: 90.0, 70: 100.0, 80: 110.0}) == 100.0
    assert recent_distance({0: 5.0}) == 5.0, "of what is not trained"


def test_pareto_front_is_the_non_dominated_set():
    study = trials(
        {"frechet_distance": 100.0, "validation_auroc": 0.8},  # best distance
        {"frechet_distance": 150.0, "validation_auroc": 0.9},  # between
        {"frechet_distance": 200.0, "validation_auroc": 0.95},  # best AUROC
        {"frechet_distance": 150.0, "validation_auroc": 0.85},  # dominated at equal distance
        {"frechet_distance": 160.0, "validation_auroc": 0.9},  # dominated at equal AUROC
        {"frechet_distance": 100.0, "validation_auroc": 0.8},  # twin of the first: neither beats the other
        {"frechet_distance": None, "validation_auroc": 0.99},  # no GAN
        {"frechet_distance": 300.0, "validation_auroc": 0.5, "num_fake": 32},  # alone in its group
    )
    frame = leaderboard(study).set_index("trial_id")
    assert sorted(frame.index[frame["pareto"]]) == ["t0", "t1", "t2", "t5", "t7"]


def test_an_unknown_objective_lists_the_known():
    with pytest.raises(TableError, match="'fid' is none of pareto, frechet, auroc"):
        leaderboard(trials({}), "fid")


# ---- comparability


PAPER_LIKE = {
    name: value for name, value in published.SETTINGS.items() if name not in ("trial_id", "phase", "status")
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "yes"),
        ({"is_sample_data": True}, "sample data"),
        ({"data_layout": "folder per class"}, r"other data set \(folder per class\)"),
        ({"split_protocol": "grouped"}, "grouped split, the paper's is random"),
        ({"feature_extractor": "dinov2"}, r"other feature extractor \(dinov2\), the paper's is inception"),
        ({"feature_extractor": "dinov2", "frechet_distance": None}, "yes"),
        ({"image_size": 64}, "images of 64 px, the paper's have 128 px"),
        ({"status": "pruned"}, r"not finished \(pruned\)"),
        ({"is_sample_data": True, "image_size": 64}, "sample data; images of 64 px.*"),
    ],
)
def test_comparable_gives_each_reason(changes, reason):
    comparable = leaderboard(trials(PAPER_LIKE | changes))["comparable"]
    assert comparable[0] == "yes"
    assert pd.Series(comparable[1]).str.fullmatch(reason).all(), comparable[1]


def test_the_paper_s_data_layout_is_named_as_the_data_is_recognised(tmp_path):
    for label in ("Aug-Negative", "Aug-Positive"):
        folder = tmp_path / "Infection" / label
        folder.mkdir(parents=True)
        (folder / "pat042_1X_M.jpg").touch()
    assert recognise(tmp_path).layout == paper_row()["data_layout"]


# ---- print


def test_text_fits_80_columns_and_shows_missing_as_a_dash():
    study = trials(
        {"backbone": "efficientnetv2_m", "trial_id": "a-very-long-trial-id", "frechet_distance": 12345.678},
        {"frechet_distance": None, "test_auroc": None, "validation_auroc": None},
        {"status": "pruned", "reason": "slow"},
    )
    text = format_leaderboard(leaderboard(study), Path("runs/demo"))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    header, paper, best, unmeasured, pruned = (lines[i].split() for i in (2, 4, 6, 7, 8))
    assert header == [name for name, *_ in COLUMNS]
    assert paper == ["0", "paper", "plain", "2", "-", "28.0", "0.85", "-", "-", "0.945"]
    assert best == ["1*", "a-very-long~", "efficientnetv2_m", "2", "1", "12345.7", "-", "0.900", "-", "0.875"]
    assert unmeasured == ["-", "t1", "plain", "2", "1", "-", "-", "-", "-", "-"]
    assert pruned[:2] == ["pruned", "t2"]
    assert "nan" not in text.lower()


def test_title_and_notes_say_what_the_numbers_are():
    random_split = {"split_protocol": "random"}
    text = format_leaderboard(leaderboard(trials({"is_sample_data": True}, {"is_sample_data": True})), Path("s"))
    assert text.splitlines()[0] == "Leaderboard of s - SAMPLE DATA"
    assert text.count("sample data") == 1 and "(2 of 2 trials)" in text
    assert "49.1 (efficientnet_lite0" in " ".join(text.split())
    assert all(figure in text for figure in ("0.945", "0.93 ", "0.953"))
    text = format_leaderboard(leaderboard(trials(random_split)), Path("s"))
    assert text.splitlines()[0] == "Leaderboard of s - RANDOM SPLIT"


def test_notes_are_silent_where_all_compares():
    study = trials(PAPER_LIKE | {"frechet_floor": None}, {"status": "failed"})
    text = format_leaderboard(leaderboard(study), Path("s"))
    assert "Not comparable" not in text and "floor" not in text


def test_every_ranked_trial_gets_the_command_that_runs_it_again():
    study = trials({}, {"trial_id": "b c"}, {"status": "failed"}, {"validation_auroc": None})
    text = format_leaderboard(leaderboard(study), Path("my runs/demo"))
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("python ")]
    assert [command[-1] for command in commands] == ["b c", "t0"]
    assert commands[0] == ["python", "study/reproduce.py", "my runs/demo", "--trial", "b c"]


def test_control_characters_from_data_are_escaped():
    hostile = "\x1b[31mred\r\n\u202e<script>"
    study = trials(dict.fromkeys(["trial_id", "data_layout", "feature_extractor", "split_protocol"], hostile))
    text = format_leaderboard(leaderboard(study), Path(hostile))
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\x1b" in text


# ---- command


def run_leaderboard(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "results/leaderboard.py", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_command_prints_the_stored_study(tmp_path):
    row = trials({"frechet_distance": 150.0}).to_dict("records")[0]
    row = {name: None if pd.isna(value) else value for name, value in row.items()}
    row = {name: int(v) if TRIALS.field(name).type == pa.int64() and v is not None else v for name, v in row.items()}
    write_rows(tmp_path / "trials" / "t0.parquet", [row | {"objective": "frechet"}], TRIALS)
    for more, ranked_by in ([], "Frechet distance"), (["--objective", "auroc"], "val"):
        run = run_leaderboard(str(tmp_path), *more)
        assert (run.returncode, run.stderr) == (0, "")
        assert "150.0" in run.stdout and "paper" in run.stdout
        assert f"ranked by {ranked_by}" in " ".join(run.stdout.split()).replace("the mean ", "")


def test_command_refuses_a_missing_or_damaged_study(tmp_path):
    run = run_leaderboard(str(tmp_path / "nowhere"))
    assert (run.returncode, run.stdout) == (2, "")
    assert "nowhere" in run.stderr and "Traceback" not in run.stderr
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "t9.parquet").touch()
    run = run_leaderboard(str(tmp_path))
    assert (run.returncode, run.stdout) == (2, "")
    assert "t9.parquet is damaged" in " ".join(run.stderr.split()) and "Traceback" not in run.stderr


def test_what_a_terminal_of_ascii_cannot_show_is_escaped(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert exit_code(lambda: print("\u00b1", flush=True)) == 0
    assert sys.stdout.buffer.getvalue() == b"\\xb1\n"


def test_gans_no_nearer_than_an_untrained_gaussian_are_named():
    frame = leaderboard(trials(
        {"system": "principal", "generator": "principal", "frechet_distance": 120.0, "gan_key": "g0"},
        {"system": "wgan_gp", "frechet_distance": 165.0, "gan_key": "g1"},
        {"system": "principal_gan", "generator": "principal", "frechet_distance": 90.0, "gan_key": "g2"},
        {"system": "wgan_gp", "frechet_distance": 300.0, "num_fake": 48, "gan_key": "g3"},
        {"system": "r3gan", "gan_objective": "relativistic", "frechet_distance": 80.0, "gan_key": "g4"},
        {"system": "principal", "generator": "principal", "frechet_distance": 120.0, "gan_key": "g0"},  # used again
    ))  # fmt: skip
    text = " ".join(format_leaderboard(frame, Path("runs/demo")).split())
    said = "a Frechet distance of 120.0: 1 of 3 trained GANs are no better (t1)."
    assert text.count(said) == 1 and "r3gan" in text
    assert "principal_gan -" in text  # its LSTM has no depth


def test_gans_that_are_no_better_than_noise_are_named():
    study = trials(
        {"gan_key": "g0", "frechet_distance": 120.0, "frechet_noisy_real": 80.0},
        {"gan_key": "g1", "frechet_distance": 70.0, "frechet_noisy_real": 80.0},
    )
    text = " ".join(format_leaderboard(leaderboard(study), Path("s")).split())
    said = "Real training images with Gaussian noise (sd 0.1 in [-1, 1]) have a Frechet distance of 80.0: "
    assert text.count(said) == 1 and f"{said}1 of 2 trained GANs are no better (t0)." in text


def test_without_that_reference_nothing_is_said_of_it():
    assert "Gaussian" not in format_leaderboard(leaderboard(trials({})), Path("runs/demo"))
