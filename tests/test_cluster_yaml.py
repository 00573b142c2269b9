import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "cluster.yaml").read_text()


@pytest.fixture
def config():
    return yaml.safe_load(TEXT)


def test_ray_accepts_it(config):
    validate_config(prepare_config(config))


def test_ray_refuses_a_misspelt_field(config):
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(prepare_config(config | {"idle_timeout": 10}))


def test_head_is_on_demand_without_gpu_and_workers_are_spot_from_zero(config):
    nodes = config["available_node_types"]
    assert set(nodes) == {"head", "gpu_worker"}
    head, worker = nodes[config["head_node_type"]], nodes["gpu_worker"]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert worker["resources"]["GPU"] == 1
    assert (worker["min_workers"], worker["max_workers"]) == (0, config["max_workers"])
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert config["idle_timeout_minutes"] <= 30


def test_every_node_names_its_own_security_group_subnet_and_image(config):
    for node in config["available_node_types"].values():
        assert {"SecurityGroupIds", "SubnetIds", "ImageId"} <= set(node["node_config"])


@pytest.mark.parametrize("commands", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_ray_starts_in_token_mode(config, commands):
    (start,) = [command for command in config[commands] if "ray start" in command]
    assert start.index("export RAY_AUTH_MODE=token;") < start.index("ray start")


def test_token_is_shipped_and_private_before_ray_starts(config):
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in config["initialization_commands"])


def test_dashboard_listens_on_loopback_and_the_autoscaler_is_on(config):
    start = config["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in start
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start
    assert "include-dashboard" not in TEXT  # without it the workers of stopped trials are never freed


def test_shared_storage_is_mounted_on_every_node(config):
    assert any("mount -t nfs4" in command and "/mnt/study" in command for command in config["initialization_commands"])


def test_what_is_shipped_installs_and_holds_no_results(config):
    shipped = {local for remote, local in config["file_mounts"].items() if "dfu-gan-study" in remote}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {*build["tool"]["setuptools"]["packages"], "pyproject.toml", build["project"]["readme"]} <= shipped
    assert not shipped & {".", "./", "runs", "data", ".venv"}
    assert {"runs/", "data/", ".venv/"} <= set(config["rsync_exclude"])


def test_no_version_is_pinned_outside_pyproject(config):
    commands = [command for name, value in config.items() if name.endswith("commands") for command in value]
    assert not re.search(r"[=~<>!]=\s*\d", " ".join(commands).replace("sys.version_info >= (3, 11)", ""))
    assert any("pip install" in command and "-e ~/dfu-gan-study" in command for command in commands)


def test_commands_are_valid_shell(config):
    for name, commands in config.items():
        if name.endswith("commands"):
            for command in commands:
                subprocess.run(["bash", "-n", "-c", command], check=True)
