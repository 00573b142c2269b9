"""The trial config, its presets, and how its mistakes are told."""

import pyarrow as pa
import pytest
from pydantic import BaseModel, ValidationError

from results.tables.schema import TRIALS
from study.config import (
    ALL_SYSTEMS,
    DEFAULT_TRIALS,
    PRESET_NAMES,
    PRESETS,
    SYSTEMS,
    GanConfig,
    TrialConfig,
    make_config,
    parse_assignments,
    preset,
)
from study.errors import ConfigError
from study.search.space import system_configs


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_each_preset_is_a_valid_config(name):
    config = make_config(preset(name))
    assert {field: getattr(config, field) for field in PRESETS} == preset(name)
    assert DEFAULT_TRIALS[name] >= 8


def test_paper_preset_is_the_default_of_each_field():
    assert make_config(preset("paper")) == TrialConfig(gan_eval_interval=20, eval_images=1024)


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(ConfigError, match="unknown preset 'tiny'; there are: smoke, search, paper"):
        preset("tiny")


def test_unknown_field_lists_the_valid_ones():
    with pytest.raises(ConfigError, match="unknown field lstm_dept") as error:
        make_config({"lstm_dept": 2})
    assert all(field in str(error.value) for field in TrialConfig.model_fields)


@pytest.mark.parametrize(
    "assignment",
    [
        "penalty_weight=-1", "penalty_weight=nan", "penalty_weight=inf", "lstm_depth=7", "lstm_depth=x",
        "lstm_depth=1.5", "image_size=50", "image_size=big", "backbone=resnet", "synthetic_ratio=-0.5", "seed=-1",
        "critic_steps=0", "generator_lr=0", "dropout=1", "pretrained=maybe", "eval_images=15",
    ],
)  # fmt: skip
def test_bad_value_names_field_and_value(assignment):
    with pytest.raises(ConfigError) as error:
        make_config(parse_assignments([assignment]))
    assert str(error.value).startswith(f"{assignment}: ")


def test_all_bad_values_are_told_at_once():
    with pytest.raises(ConfigError, match=r"(?=.*lstm_depth=7: )(?=.*dropout=2: )"):
        make_config({"lstm_depth": 7, "dropout": 2})


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({"pretrained": True}, "EfficientNetV2"),
        ({"pretrained": True, "backbone": "efficientnetv2_s", "backbone_width": 0.5}, "backbone_width=1"),
        ({"classifier_pretrained": True}, "ImageNet weights, such as tf_efficientnet_lite0: small has none"),
        ({"training_images": "synthetic_only", "synthetic_ratio": 0}, "synthetic_ratio above 0"),
        ({"training_images": "synthetic_only", "oversampling": 2}, "synthetic_only needs oversampling=0"),
        ({"balance": "focal"}, "balance=focal needs synthetic_ratio=0, oversampling=0"),
        ({"balance": "synthetic", "synthetic_ratio": 0, "oversampling": 1}, "balance=synthetic needs"),
        ({"pretraining": "unlabelled", "gan_epochs": 1}, "gan_epochs of at least 2.*or set pretraining=none"),
        ({"critic": "batch_norm"}, "critic=batch_norm needs penalty_weight=0"),
        ({"critic": "projected"}, "critic=projected needs penalty_weight=0"),
        (
            {"critic": "projected", "penalty_weight": 0, "critic_features": "efficientnet_lite0"},
            "needs another feature_extractor: .* set critic_features=efficientnet_lite1, or feature_extractor=",
        ),
        ({"generator": "laplacian"}, "generator=laplacian and critic=laplacian need each other"),
        ({"critic": "laplacian", "penalty_weight": 0}, "generator=laplacian and critic=laplacian need each other"),
        (SYSTEMS["lapgan"] | {"penalty_weight": 1}, "critic=laplacian needs penalty_weight=0"),
        (SYSTEMS["lapgan"] | {"critic_augmentation": 1}, "penalty_weight=0, critic_augmentation=0 and augmentation_ta"),
        (SYSTEMS["lapgan"] | {"augmentation_target": 0.6}, "critic_augmentation=0 and augmentation_target=0"),
    ],
)
def test_settings_that_do_not_go_together(settings, needed):
    with pytest.raises(ConfigError, match=needed):
        make_config(settings)


@pytest.mark.parametrize("text", ["lstm_depth", "=2", "lstm_depth=", ""])
def test_assignment_without_field_or_value(text):
    with pytest.raises(ConfigError, match="field=value"):
        parse_assignments([text])


def test_text_becomes_the_fields_type():
    texts = ["lstm_depth=3", "image_size=64", "penalty_weight=1e1", "gan_flip=false", "backbone=efficientnetv2_s"]
    config = make_config(parse_assignments([*texts, "lstm_depth=4"]))
    found = (config.lstm_depth, config.image_size, config.penalty_weight, config.gan_flip, config.backbone)
    assert found == (4, 64, 10.0, False, "efficientnetv2_s")
    assert make_config(parse_assignments(["gaussians=4"])).gaussians == 4


@pytest.mark.parametrize(
    "base",
    [
        {},
        {"gan_objective": "relativistic", "penalty": "zero_centred", "penalty_weight": 1},
        {"weight_clip": 0.01, "penalty_weight": 0, "optimiser": "rmsprop"},
        {"generator": "style", "gan_objective": "non_saturating", "penalty_interval": 4},
    ],
)
def test_a_systems_method_is_its_own_whatever_its_study_sets(base):
    systems, usual = (system_configs(make_config(one), list(ALL_SYSTEMS)) for one in (base, {}))
    method = ("generator", "critic", "gan_objective", "penalty", "penalty_interval", "weight_clip", "optimiser")
    for name, config in systems.items():
        assert config.system == name
        assert {field: getattr(config, field) for field in method} == {
            field: getattr(usual[name], field) for field in method
        }


def test_a_search_of_another_objective_varies_backbone_and_depth_under_names_of_their_own():
    fields = {"gan_objective": "relativistic", "penalty": "zero_centred", "penalty_weight": 1}
    plain, deep = (make_config(fields | more) for more in ({"lstm_depth": 0}, {"backbone": "efficientnetv2_s"}))
    assert (plain.system, deep.system) == ("r3gan", "recurrent_relativistic")
    assert deep.in_words == "efficientnetv2_s lstm 2 gp 1"
    assert make_config({"weight_clip": 0.01, "penalty_weight": 0}).system == "recurrent_wasserstein"


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        make_config({}).lstm_depth = 3


def test_flat_and_every_field_a_column_of_its_type():
    columns = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    for name, value in make_config({}).model_dump().items():
        assert not isinstance(value, BaseModel | dict | list)
        assert TRIALS.field(name).type == columns[type(value)], name


def test_gan_key_follows_the_generator_side_data_and_code():
    config = make_config({})
    key = config.gan_key("data", "code")
    assert len(key) == 16 and set(key) <= set("0123456789abcdef")
    classifier_side = {"synthetic_ratio": 2.0, "classifier_lr": 1e-2, "dropout": 0.4, "classifier_epochs": 3}
    assert make_config(classifier_side).gan_key("data", "code") == key
    others = [make_config({"lstm_depth": 3}).gan_key("data", "code"), make_config({"seed": 1}).gan_key("data", "code")]
    others += [config.gan_key("other data", "code"), config.gan_key("data", "other code")]
    assert len({key, *others}) == 5


def test_gan_fields_are_the_trials_first():
    assert list(TrialConfig.model_fields)[: len(GanConfig.model_fields)] == list(GanConfig.model_fields)


def test_each_arm_and_each_part_of_the_data_has_a_name_of_its_own():
    arms = [{"synthetic_ratio": 0.0, "balance": balance} for balance in
            ("none", "oversampled", "class_weights", "focal", "synthetic")]  # fmt: skip
    arms += [{"synthetic_kept": kept, "training_images": images} for kept in (1.0, 0.5)
             for images in ("real_and_synthetic", "synthetic_only")]  # fmt: skip
    configs = [make_config(arm) for arm in arms]
    assert len({config.arm for config in configs}) == len(configs)
    assert len({config.classifier_key for config in configs}) == 1
    assert [config.uses_gan for config in configs] == [False] * 4 + [True] * 5
    fractions = [(1.0, 1.0), (0.5, 1.0), (1.0, 0.5), (0.5, 0.5)]
    parts = [make_config({"training_fraction": a, "positive_fraction": b, "seed": 3}) for a, b in fractions]
    assert [config.training_part for config in parts] == ["", "-0.5-3", "-1-0.5positive-3", "-0.5-0.5positive-3"]
    assert parts[3].part_in_words == ", 50% of the groups, 50% of the positive groups"
    pretrained = make_config({"training_fraction": 0.5, "pretraining": "unlabelled", "seed": 3})
    assert pretrained.training_part == parts[1].training_part and pretrained.training_groups == parts[1].training_groups
    assert pretrained.part_in_words == parts[1].part_in_words == ", 50% of the groups"
