"""The model card: Markdown whose front matter follows the Hugging Face model-card metadata."""

import re
from pathlib import Path

import jinja2
import yaml

TEMPLATE = Path(__file__).with_name("card.md")
NOT_STATED = "not stated; ask whoever holds the rights in the photographs before you pass it on"
HEADLINE = ("auroc", "accuracy", "f1")


def model_card(about: dict) -> str:
    """The card of a bundle whose `bundle.json` holds `about`."""
    confirmation = [r for r in about["confirmation"] if r["side"] == "test" and r["corruption"] == "none"]
    negative, positive = map(safe, about["class_names"])
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        about=about | {"study": safe(about["study"]), "generator": about.get("generator")},
        trial=about["trial"] | {"data_layout": safe(about["trial"]["data_layout"])},
        config=about["config"],
        title=f"Diabetic foot ulcers: {negative} or {positive}",
        negative=negative,
        positive=positive,
        confirmation=[r for r in confirmation if r["subgroup"] is None],
        subgroups=[r for r in confirmation if r["subgroup"] is not None],
        own=own_figures(about["metrics"]),
        licence={name: safe(text or NOT_STATED) for name, text in about["licence"].items()},
        front_matter=front_matter(about),
        interval=interval,
        safe=safe,
    )


def front_matter(about: dict) -> str:
    """YAML of https://huggingface.co/docs/hub/model-cards: licence, tags, task, and the test figures."""
    licence = about["licence"]["weights"]
    spdx = bool(licence) and re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence)  # the hub's identifiers
    own = {m["metric"]: m["value"] for m in about["metrics"] if m["side"] == "test"}
    confirmed = {r["metric"]: r["value"] for r in about["confirmation"] if is_headline(r)}
    values = confirmed or own
    name = f"{about['study']}/{about['trial_id']}"
    metadata = {
        "license": licence if spdx else "other",
        **({} if spdx else {"license_name": "not-stated" if not licence else "stated-in-the-card"}),
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["medical-imaging", "diabetic-foot-ulcer", "synthetic-data", "gan", "research-only"],
        "metrics": ["roc_auc", "accuracy", "f1"],
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {"name": about["trial"]["data_layout"], "type": "private", "split": "test"},
                        "metrics": [
                            {
                                "type": {"auroc": "roc_auc"}.get(metric, metric),
                                "value": round(values[metric], 6),
                                "name": f"test {metric}" + (", mean over seeds" if confirmed else ", one training"),
                            }
                            for metric in HEADLINE
                            if metric in values
                        ],
                    }
                ],
            }
        ],
    }
    return yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)


def is_headline(row: dict) -> bool:
    return row["side"] == "test" and row["corruption"] == "none" and row["subgroup"] is None


def own_figures(metrics: list[dict]) -> list[tuple[str, float, float]]:
    """Name, validation and test of each metric that both sides have."""
    sides = {side: {m["metric"]: m["value"] for m in metrics if m["side"] == side} for side in ("validation", "test")}
    return [(name, value, sides["test"][name]) for name, value in sides["validation"].items() if name in sides["test"]]


def interval(row: dict) -> str:
    return "-" if row["ci_low"] is None else f"{row['ci_low']:.3f} to {row['ci_high']:.3f}"


def safe(text: str) -> str:
    """Text from data, such as a class's name, that neither breaks a line nor acts as Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(str(text).split()))
