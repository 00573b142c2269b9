import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

import study.cluster.resources
from study.cluster.resources import Machine, autoscaled_machines, named_machines

ROOT = Path(__file__).resolve().parents[3]
RENTED, NAMED = "cluster.yaml", "cluster.local.yaml"
BUILD = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(params=[RENTED, NAMED])
def config(request):
    return load(request.param)


@pytest.fixture
def rented():
    return load(RENTED)


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


# ---- both


def test_ray_accepts_it(config):
    validate_config(prepare_config(config))


def test_ray_refuses_a_misspelt_field(config):
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(prepare_config(config | {"idle_timeout": 10}))


@pytest.mark.parametrize("commands", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_ray_starts_in_token_mode_and_reports_to_nobody(config, commands):
    (start,) = [command for command in config[commands] if "ray start" in command]
    exported = set(" ".join(re.findall(r"export ([^;]*);", start.partition("ray start")[0])).split())
    assert {"RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0"} <= exported


def test_token_is_shipped_and_private_before_ray_starts(config):
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in config["initialization_commands"])


def test_dashboard_listens_on_loopback_and_the_autoscaler_is_on(config):
    start = config["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in start
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start


def test_what_is_shipped_installs_and_holds_no_results(config):
    shipped = {local for remote, local in config["file_mounts"].items() if "dfu-gan-study" in remote}
    packages = {pattern.rstrip("*") for pattern in BUILD["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages | {"pyproject.toml", "requirements-no-deps.txt", BUILD["project"]["readme"]} <= shipped
    assert not shipped & {".", "./", "runs", "data", ".venv"}
    assert not {"runs/", "data/"} & set(config["rsync_exclude"]), "photographs may lie in such a folder"


def test_no_version_is_pinned_outside_pyproject(config):
    commands = [command for name, value in config.items() if name.endswith("commands") for command in value]
    assert not re.search(r"[=~<>!]=\s*\d", " ".join(commands).replace("sys.version_info >= (3, 11)", ""))
    installed = [command for command in commands if "pip install" in command]
    assert installed and all("~/dfu-gan-study" in command for command in installed)


def test_commands_are_valid_shell(config):
    for name, commands in config.items():
        if name.endswith("commands"):
            for command in commands:
                subprocess.run(["bash", "-n", "-c", command], check=True)


def test_every_placeholder_is_marked(config):
    """Placeholders stand on a line marked EDIT, or a few lines below such a comment."""
    text = (ROOT / (RENTED if config["provider"]["type"] == "aws" else NAMED)).read_text(encoding="utf-8").splitlines()
    placeholder = re.compile(r"0{8}|192\.168\.|dfu-gan-study-head|ssh_user: study|ssh_private_key|region:")
    for number, line in enumerate(text):
        if placeholder.search(line) and not line.startswith("#"):
            assert any("EDIT" in near for near in text[max(0, number - 4) : number + 1]), line


# ---- cluster.yaml: rented machines


def test_head_is_on_demand_without_gpu_and_workers_are_spot_from_zero(rented):
    nodes = rented["available_node_types"]
    assert set(nodes) == {"head", "gpu_worker"}
    head, worker = nodes[rented["head_node_type"]], nodes["gpu_worker"]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert worker["resources"]["GPU"] == 1
    assert (worker["min_workers"], worker["max_workers"]) == (0, rented["max_workers"])
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert rented["idle_timeout_minutes"] <= 30


def test_every_node_is_private_and_names_its_own_group_subnet_and_image(rented):
    assert rented["provider"]["use_internal_ips"] is True
    for node in rented["available_node_types"].values():
        assert {"SecurityGroupIds", "SubnetIds", "ImageId"} <= set(node["node_config"])
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])


def test_only_the_head_may_do_anything_with_aws(rented):
    nodes = rented["available_node_types"]
    # Without one Ray makes a role for the head that may do everything with EC2 and S3.
    assert "IamInstanceProfile" in nodes["head"]["node_config"]
    assert "IamInstanceProfile" not in nodes["gpu_worker"]["node_config"]


def test_workers_ask_whether_the_spot_market_wants_them_back(rented):
    assert "export DFU_PREEMPTION_URL=http://169.254.169.254;" in rented["worker_start_ray_commands"][-1]


def test_shared_storage_is_mounted_on_every_node(rented):
    commands = rented["initialization_commands"]
    assert any("mount -t nfs4" in command and "/mnt/study" in command for command in commands)


def test_policy_allows_no_wildcard():
    """The policy of docs/cluster.md: no wildcard action, and what changes something is bound to this cluster."""
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    (policy,) = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action]
        reads = all(action.startswith("ec2:Describe") for action in actions)
        assert reads or statement["Resource"] != "*" or "Condition" in statement


# ---- what the head of a running cluster reads from its file


@pytest.fixture
def on_head_of(tmp_path, monkeypatch):
    def write(config: dict) -> None:
        (tmp_path / "bootstrap.yaml").write_text(yaml.safe_dump(prepare_config(config)), encoding="utf-8")
        monkeypatch.setattr(study.cluster.resources, "BOOTSTRAP_CONFIG", tmp_path / "bootstrap.yaml")

    return write


def test_rented_machines_are_counted_as_many_as_may_be_rented(on_head_of, rented):
    on_head_of(rented)
    assert autoscaled_machines() == [Machine(8, 1.0)] * 8 and named_machines() is None


def test_named_machines_are_waited_for(on_head_of):
    on_head_of(load(NAMED))
    assert autoscaled_machines() is None and named_machines() == 3


def test_elsewhere_there_is_no_cluster(tmp_path, monkeypatch):
    monkeypatch.setattr(study.cluster.resources, "BOOTSTRAP_CONFIG", tmp_path / "none.yaml")
    assert autoscaled_machines() is None and named_machines() is None
