"""Mistakes of a user, given to the command: exit code 2, one clear line that names the thing and the way out."""

import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_utils.parquet_file import read_table as read_prepared
from results.tables.schema import PREDICTIONS
from results.tables.store import read_trials, write_rows
from study.config import preset
from study.errors import ConfigError
from study.flags.parsers import sweep_parser
from study.settings import StudySettings, refuse_other_settings, stored_settings
from study.storage.lock import hold
from tests.support.command import PER_CLASS, photograph

# ---- flags and fields


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--set lstm_dept=2", ["unknown field lstm_dept", "lstm_depth", "penalty_weight"]),
        ("--set penalty_weight=-1", ["penalty_weight=-1", "greater than or equal to 0"]),
        ("--set lstm_depth", ["--set 'lstm_depth'", "field=value"]),
        ("--set lstm_depth=x", ["lstm_depth=x", "integer"]),
        ("--set image_size=50", ["image_size=50", "32, 64, 128 or 256"]),
        ("--set synthetic_ratio=0", ["synthetic_ratio=0", "baseline"]),
        ("--trials 0", ["--trials", "'0'", "at least 1"]),
        ("--trials many", ["--trials", "'many'"]),
        ("--time-budget 5x", ["--time-budget", "'5x'", "90s, 45m or 12h"]),
        ("--time-budget 0", ["--time-budget", "'0'"]),
        ("--time-budget nan", ["--time-budget", "'nan'"]),
        ("--seed -1", ["--seed", "'-1'", "from 0"]),
        ("--split-seed 4294967296", ["--split-seed", "to 4294967295"]),
        ("--workers-per-trial 0", ["--workers-per-trial", "at least 1"]),
        ("--gpus-per-trial -1", ["--gpus-per-trial", "'-1'", "0.5"]),
        ("--gpus-per-trial 1.5", ["--gpus-per-trial", "'1.5'"]),
        ("--gpus-per-trial nan", ["--gpus-per-trial", "'nan'"]),
        ("--preset huge", ["--preset", "smoke", "paper"]),
        ("--objective best", ["--objective", "pareto", "auroc"]),
        ("--lstm-depth 2", ["unrecognized arguments: --lstm-depth"]),
    ],
)
def test_flags_and_fields(command, arguments, words):
    message = command.refused(*arguments.split())
    assert all(word in message for word in words), message
    assert not command.out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--set gan_batch_size=400", ["gan_batch_size=400", "training images", "--set gan_batch_size="]),
        ("--set training_fraction=0.2", ["gan_batch_size=32 is more than the 6", "--set gan_batch_size=6 or less"]),
        ("--name a/b", ["--name 'a/b' cannot be a study's folder"]),
        ("--name prepared", ["--name 'prepared' cannot be"]),
        ("--name ..", ["--name '..' cannot be"]),
        ("--set decoder_width=31", ["decoder_width=31 must be a multiple of"]),
        ("--set classifier_backbone=restnet", ["restnet"]),
        ("--workers-per-trial 3", ["gan_batch_size=32", "evenly over 3 workers"]),
        ("--set gan_batch_size=30 --workers-per-trial 3", ["classifier_batch_size=32", "evenly over 3 workers"]),
    ],
)
def test_batches_and_networks_that_do_not_fit(command, photographs, arguments, words):
    for dry_run in ([], ["--dry-run"]):
        message = command.refused("--data", photographs, *arguments.split(), *dry_run)
        assert all(word in message for word in words), message
    assert not command.studies()


# ---- photographs


def keep_nineteen(data: Path) -> None:
    for path in sorted((data / "infected").iterdir())[19:]:
        path.unlink()


def name_one_patient(data: Path) -> None:
    for path in data.rglob("*.png"):
        path.rename(path.with_name(f"patient_{path.name}"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, ["data does not exist"]),
        (lambda data: shutil.copytree(data / "clean", data / "other"), ["holds 3 class", "'clean', 'infected'"]),
        (lambda data: shutil.rmtree(data / "infected"), ["holds 1 class", "'clean'"]),
        (keep_nineteen, ["19", "20"]),
        (name_one_patient, ["group"]),
    ],
)
def test_photographs_that_cannot_be_split(command, photographs, spoil, words):
    spoil(photographs)
    message = command.refused("--data", photographs)
    assert all(word in message for word in words), message
    assert not command.studies()


def test_which_class_is_positive_is_asked_for(command, photographs):
    (photographs / "infected").rename(photographs / "b")
    message = command.refused("--data", photographs)
    assert "'b', 'clean'" in message and "Say --positive " in message
    assert command("--data", photographs, "--positive", "b", "--dry-run")[0] == 0


def bad_files(folder: Path) -> dict[str, str]:
    """Lay files beside the good ones that cannot be used; name -> words of the reason."""
    photograph(90).resize((200, 200)).save(folder / "truncated_1.jpg")
    whole = (folder / "truncated_1.jpg").read_bytes()
    (folder / "truncated_1.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text_1.jpg").write_text("dear diary", encoding="utf-8")
    (folder / "zero_1.jpg").touch()
    glass = photograph(91).convert("RGBA")
    glass.putpixel((3, 3), (0, 0, 0, 100))
    glass.save(folder / "alpha_1.png")
    photograph(92).save(folder / "film_1.gif", save_all=True, append_images=[photograph(93)])
    photograph(94).save(folder.parents[1] / "elsewhere.png")
    (folder / "link_1.png").symlink_to(folder.parents[1] / "elsewhere.png")
    return {
        "truncated_1.jpg": "cannot be decoded", "text_1.jpg": "not an image", "zero_1.jpg": "empty file",
        "alpha_1.png": "transparent", "film_1.gif": "2 frames", "link_1.png": "leads out of the data folder",
    }  # fmt: skip


def test_bad_files_are_named_with_their_reasons(command, photographs):
    bad = bad_files(photographs / "clean")
    message = command.refused("--data", photographs)
    assert "6 file(s)" in message and "--skip-bad" in message
    for name, reason in bad.items():
        assert any(name in line and reason in line for line in message.splitlines()), name
    assert not any(command.out.rglob("*"))


def test_a_node_that_is_unfit_stops_the_command_before_there_is_a_study(command, small_machine, monkeypatch):
    monkeypatch.setattr("study.cluster.checks.MIN_FREE_DISK", 2**70)
    assert command.refused("--preset", "smoke").startswith("disk: ")
    assert not command.studies()


def test_bad_files_can_be_left_out(command, small_machine, photographs):
    bad_files(photographs / "clean")
    code, printed, _ = command("--data", photographs, "--skip-bad", "--trials", "1")
    assert code == 0 and "6 bad files skipped" in printed
    assert read_trials(command.studies()[0].parent)["num_skipped_files"].tolist() == [6, 6]


def test_other_pixel_formats_are_converted(command, photographs):
    folder = photographs / "infected"
    photograph(90).convert("CMYK").save(folder / "cmyk_1.jpg")
    photograph(91).convert("P").save(folder / "palette_1.png")
    ramp = np.random.default_rng(0).permutation(32 * 32).reshape(32, 32) * 63
    Image.fromarray(ramp.astype(np.uint16)).save(folder / "deep_1.png")
    code, printed, _ = command("--data", photographs, "--dry-run")
    assert code == 0 and f"images       {2 * PER_CLASS + 3} in" in printed


@pytest.mark.parametrize("name", ["<script>alert(1)", "\x1b[31mred\x07", "line\nbreak", "right\u202eleft"])
def test_hostile_names_are_printed_safely(command, small_machine, photographs, name):
    try:
        (photographs / "clean").rename(photographs / name.replace("/", ""))
    except OSError:
        pytest.skip("this file system has no such names")
    (photographs / name / "odd\x1b[2J_1.png").write_text("no image", encoding="utf-8")
    code, _, message = command("--data", photographs)
    assert code == 2 and "odd\\x1b[2J_1.png: not an image" in message
    code, printed, _ = command("--data", photographs, "--skip-bad", "--trials", "1")
    assert code == 0
    for text in (message, printed):
        assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert "\nbreak" not in printed


def test_names_of_photographs_stay_out_of_everything_written(command, small_machine, photographs):
    for number, path in enumerate(sorted(photographs.rglob("*.png"))):
        path.rename(path.with_name(f"Erikson{number:03}_1.png"))
    assert command("--data", photographs, "--trials", "5")[0] == 0
    written = [path for path in command.out.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert not [path for path in written if b"Erikson" in path.read_bytes() or "Erikson" in path.name]


# ---- where it is written


@pytest.mark.parametrize(("arguments", "words"), [([], "cannot be written"), (["--resume"], "is not a study")])
def test_out_that_is_a_file(command, tmp_path, arguments, words):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    command.out = tmp_path / "file" / "out"
    message = command.refused(*arguments)
    assert str(command.out) in message and words in message
    assert (tmp_path / "file").read_text(encoding="utf-8") == "not a folder"


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_resuming_what_is_not_there(command, photographs, more):
    message = command.refused("--data", photographs, "--resume", *more)
    assert f"{command.out / 'folders-smoke'} is not a study" in message and "leave --resume out" in message
    assert not command.out.exists()


@pytest.fixture
def study(command, small_machine, photographs):
    """A finished study of three trials, and the command that made it."""
    arguments = ["--data", str(photographs), "--trials", "2"]
    assert command(*arguments)[0] == 0
    return command.studies()[0].parent, arguments


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_study_that_exists_is_left_alone(command, study):
    folder, arguments = study
    before = content(folder)
    message = command.refused(*arguments)
    assert str(folder) in message and "--resume" in message and "--name" in message
    assert content(folder) == before
    assert command(*arguments, "--name", "another")[0] == 0
    assert content(folder) == before


def test_photographs_that_were_prepared_again_have_other_ids(command, study):
    folder, arguments = study
    prepared = folder.parent / "prepared"
    (data,) = prepared.glob("*.parquet")
    row = {"trial_id": "baseline-000", "side": "test", "image_id": read_prepared(data)[0]["image_id"][0].as_py()}
    write_rows(folder / "predictions" / "baseline-000.parquet", [dict.fromkeys(PREDICTIONS.names) | row], PREDICTIONS)
    assert command(*arguments, "--resume")[0] == 0
    salt = (prepared / "salt").read_bytes()
    shutil.rmtree(prepared)
    message = command.refused(*arguments, "--resume")
    assert "so that its images have other ids" in message and "file salt" in message
    shutil.rmtree(prepared)
    prepared.mkdir()
    (prepared / "salt").write_bytes(salt)
    assert command(*arguments, "--resume")[0] == 0


def test_resuming_adds_only_what_is_missing(command, study):
    folder, arguments = study
    before = content(folder / "trials")
    code, printed, _ = command(*arguments[:-1], "4", "--resume")
    assert code == 0 and "2 trials to run, 3 done" in " ".join(printed.split())
    after = content(folder / "trials")
    assert before.items() <= after.items() and len(after) == 5
    code, printed, _ = command(*arguments[:-1], "4", "--resume")  # nothing is left, and no Ray is needed
    assert code == 0 and "trials to run" not in " ".join(printed.split()) and content(folder / "trials") == after
    code, printed, _ = command(*arguments[:-2], "--resume")  # the number that was asked for before
    assert code == 0 and "trials to run" not in " ".join(printed.split()) and content(folder / "trials") == after


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--set", "gan_epochs=3"], f"gan_epochs was {preset('smoke')['gan_epochs']}, is 3"),
        (["--seed", "5"], "seed was 0, is 5"),
        (["--objective", "auroc"], "objective was pareto, is auroc"),
        (["--preset", "search", "--name", "folders-smoke"], "preset was smoke, is search"),
        (["--split", "random"], "split_protocol was grouped, is random"),
        (["--set", "lstm_depth=2"], "searches lstm_depth; leave out --set lstm_depth=..."),
    ],
)
def test_resuming_with_other_settings(command, study, change, told):
    folder, arguments = study
    before = content(folder)
    message = command.refused(*arguments, "--resume", *change)
    assert told in message and str(folder) in message
    assert content(folder) == before


def test_what_was_fixed_stays_fixed(command, study):
    _, arguments = study
    named = [*arguments, "--name", "fixed"]
    assert command(*named, "--set", "lstm_depth=2", "--no-fid")[0] == 0
    assert command(*named, "--resume")[0] == 0
    stored = stored_settings(study[0].with_name("fixed"))
    assert stored["fixed"] == {"lstm_depth": 2, "measure_fid": False}
    record = stored | {"fixed": {"measure_fid": False}}
    with pytest.raises(ConfigError, match="does not search lstm_depth; give --set lstm_depth=2"):
        refuse_other_settings(study[0].with_name("fixed"), record)


def test_resuming_with_other_photographs(command, study, photographs):
    folder, arguments = study
    before = content(folder)
    photograph(99).save(photographs / "clean" / "new_1.png")
    message = command.refused(*arguments, "--resume")
    assert "the photographs, their groups or --split-seed differ" in message
    assert "another --name" in message and "fingerprint" not in message
    assert content(folder) == before


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"config": 3}'])
def test_damaged_study_file(command, study, damage):
    folder, arguments = study
    whole = (folder / "study.json").read_bytes()
    (folder / "study.json").write_text(damage, encoding="utf-8")
    with pytest.warns(UserWarning, match="study.json is damaged and was set aside"):
        assert command(*arguments, "--resume")[0] == 0
    assert (folder / "study.json").read_bytes() == whole
    for name in ("study.json", "proposals/study.json"):
        (folder / name).write_text(damage, encoding="utf-8")
    message = command.refused(*arguments, "--resume")
    assert f"{folder / 'study.json'} is damaged" in message and "anew" in message


def test_a_damaged_row_is_set_aside_and_its_trial_runs_again(command, study):
    folder, arguments = study
    row = folder / "trials" / "paper-001.parquet"
    whole = row.read_bytes()
    row.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:-9])
    code, printed, _ = command(*arguments, "--resume")
    assert code == 0 and f"{row} is damaged and was set aside" in " ".join(printed.split())
    assert row.read_bytes() == whole and len(read_trials(folder)) == 3


def test_two_at_one_study(command, study):
    folder, arguments = study
    with hold(folder):
        message = command.refused(*arguments, "--resume")
    assert f"another command is at work on {folder}: process {os.getpid()} on {socket.gethostname()} since" in message


# ---- machines


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port", "no-such-host.invalid:6379"])
def test_ray_address_that_nobody_answers(command, photographs, address, monkeypatch):
    message = command.refused("--data", photographs, "--address", address)
    assert f"no Ray cluster answers at {address}" in message and "ray status" in message
    assert not command.studies()  # so that the same command with another address is not told to resume


def test_more_than_the_machine_has(command, small_machine, photographs):
    data = ["--data", photographs, "--trials", "1"]
    assert "Ray has 0;" in command.refused(*data, "--gpus-per-trial", "1", "--preset", "smoke")
    assert "Ray has 2 CPU(s)" in command.refused(*data, "--workers-per-trial", "4")
    assert not command.studies()
    assert command(*data)[0] == 0


# ---- Inception's weights


def test_inception_weights(command, photographs, tmp_path):
    (tmp_path / "weights.pth").write_text("no weights", encoding="utf-8")
    for name in ("nowhere.pth", "weights.pth"):
        message = command.refused("--data", photographs, "--inception-weights", tmp_path / name)
        assert str(tmp_path / name) in message and "--inception-weights PATH" in message
    assert not command.studies()


# ---- what leaves no trace


def test_dry_run_writes_nothing_and_starts_no_ray(command, photographs):
    code, printed, _ = command("--data", photographs, "--dry-run", "--set", "lstm_depth=3")
    assert code == 0 and not command.out.exists()
    assert "lstm_depth             3 *" in printed and "the paper's 3 configurations" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())


def test_interrupted_before_the_first_trial(command, photographs, monkeypatch):
    monkeypatch.setattr("study.commands.sweep.prepare_data", interrupt)
    code, _, message = command("--data", photographs)
    assert code == 130 and message.startswith("interrupted") and "Traceback" not in message


def test_interrupted_before_a_trial_has_ended(command, photographs, small_machine, monkeypatch):
    monkeypatch.setattr("study.cluster.driver.run_trials", lambda *arguments: True)
    code, printed, message = command("--data", photographs)
    assert code == 130 and not message
    assert "0 completed, 0 pruned, 0 failed, 10 not finished" in printed and "--resume" in printed


def interrupt(*arguments):
    raise KeyboardInterrupt


# ---- faults that were mended


def test_image_ids_of_a_file_that_all_could_read_end_private(command, small_machine, photographs, tmp_path):
    ids, arguments = tmp_path / "ids.csv", ("--data", photographs, "--trials", "1", "--image-ids")
    assert command(*arguments, ids)[0] == 0
    written = ids.read_text(encoding="utf-8")
    assert ids.stat().st_mode & 0o777 == 0o600 and written.startswith("file,image_id")
    annotated = written.replace("image_id", "image_id,attribute", 1)
    ids.write_text(annotated, encoding="utf-8")
    ids.chmod(0o644)
    assert command(*arguments, ids, "--resume")[0] == 0  # what the user has added to it stays
    assert ids.stat().st_mode & 0o777 == 0o600 and ids.read_text(encoding="utf-8") == annotated
    ids.write_text("path,label\n", encoding="utf-8")
    assert "is no list of these photographs" in command.refused(*arguments, ids, "--resume")
    assert ids.read_text(encoding="utf-8") == "path,label\n"


def test_what_is_said_of_photographs_needs_photographs(command):
    for flag in ("--positive", "--negative", "--group-pattern"):
        assert f"{flag} has no use without --data" in command.refused(flag, "x")


def test_fewer_trials_than_are_done_leave_none_unfinished(command, study):
    code, printed, _ = command(*study[1][:-1], "1", "--resume")
    assert code == 0 and ", 0 not finished" in printed


def test_a_machine_with_a_gpu_resumes_what_one_without_started(command, study, monkeypatch):
    monkeypatch.setattr("study.settings.defaults_of_machines", lambda options: ("search", {"precision": "bfloat16"}))
    assert command(*study[1], "--resume")[0] == 0
    message = command.refused(*study[1], "--resume", "--preset", "search", "--name", "folders-smoke")
    assert "give --preset smoke, as the study was started with" in message


@pytest.mark.parametrize(
    ("arguments", "chosen", "advice"),
    [
        ("", ("smoke", "float32"), "add --preset search --set precision=bfloat16."),
        ("--preset paper", ("paper", "float32"), "add --set precision=bfloat16."),
        ("--set precision=float32", ("smoke", "float32"), "add --preset search."),
        ("--preset smoke --set precision=bfloat16", ("smoke", "bfloat16"), None),
        ("--gpus-per-trial 0.5", ("search", "bfloat16"), None),
    ],
)
def test_the_heads_gpu_does_not_decide_for_a_cluster(capsys, monkeypatch, arguments, chosen, advice):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("study.settings.has_fast_bfloat16", lambda: True)
    settings = StudySettings.resolve(sweep_parser().parse_args(["--address", "10.0.0.1:6379", *arguments.split()]))
    assert (settings.preset, settings.base.precision) == chosen
    printed = capsys.readouterr().out
    assert advice in printed if advice else not printed


@pytest.mark.parametrize("instructions", [(), ("amx_tile",), ("avx512_bf16",), ("amx_tile", "avx512_bf16")])
def test_a_processor_trains_in_bfloat16_where_that_is_fast(monkeypatch, instructions):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(f"torch.cpu._is_{name}_supported", lambda name=name: name in instructions)
    settings = StudySettings.resolve(sweep_parser().parse_args([]))
    assert settings.base.precision == ("bfloat16" if instructions else "float32")


def test_a_dry_run_of_a_resumed_study_has_its_settings(command, study, monkeypatch):
    stored = json.loads((study[0] / "study.json").read_bytes())["config"]["precision"]
    other = {"float32": "bfloat16", "bfloat16": "float32"}[stored]
    monkeypatch.setattr("study.settings.defaults_of_machines", lambda options: ("search", {"precision": other}))
    code, printed, _ = command(*study[1], "--resume", "--dry-run")
    assert code == 0 and f"precision              {stored}" in printed and "image_size             32" in printed


def test_resuming_one_of_several_studies_needs_its_name(command, study):
    folder, arguments = study
    shutil.copytree(folder, folder.with_name("folders-search"))
    message = command.refused(*arguments, "--resume")
    assert "--name folders-smoke or --name folders-search" in message
    assert command(*arguments, "--resume", "--name", "folders-smoke")[0] == 0


def test_what_a_generator_does_not_have_is_not_searched():
    settings = StudySettings.resolve(
        sweep_parser().parse_args(["--set", "generator=style", "--set", "gan_objective=non_saturating"])
    )
    assert settings.fixed.keys() == {"generator", "gan_objective", "backbone", "lstm_depth"}


def test_no_fid_is_a_fixed_field():
    settings = StudySettings.resolve(sweep_parser().parse_args(["--no-fid"]))
    assert settings.fixed == {"measure_fid": False} and not settings.base.measure_fid


def test_a_dry_run_names_the_systems(command):
    code, printed, _ = command("--dry-run", "--systems", "principal,r3gan")
    assert code == 0 and "GAN principal " in printed and "GAN r3gan" in printed and ", 2 systems" in printed
    assert "'none'" not in command.refused("--systems", "gan3") and not command.studies()
