"""The examples run as they are, on little."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

from examples.trial import main
from tests.support.report_study import make_study
from tests.support.studies import TINY

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "query_results.ipynb"


def test_a_trial_from_python(tmp_path, monkeypatch, capsys, one_thread):
    monkeypatch.chdir(tmp_path)
    assert main(list(TINY)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " epoch " not in line]
    printed = dict(line.rsplit(maxsplit=1) for line in lines)
    assert 0 <= float(printed["test_auroc"]) <= 1 and float(printed["frechet_distance"]) > 0
    assert Path(printed["synthetic images"]).exists()


def test_a_trial_with_a_bad_field_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["lstm_depth=9"]) == 2
    assert capsys.readouterr().err.startswith("error: lstm_depth=9") and not list(tmp_path.iterdir())


def test_the_notebook_answers_its_questions(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY", str(make_study(tmp_path / "runs" / "made-up")))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "efficientnetv2_s" in shown and "synthetic_ratio" in shown and "real_and_synthetic_1" in shown
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_the_notebook_is_kept_without_outputs():
    code = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
