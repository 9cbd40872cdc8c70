"""The nightly job: valid for Kubernetes to the last field, and held to one user, one run and one volume to write."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from depthforge.cli.main import read_options
from depthforge.errors import CorpusMismatchError, IncompleteError, InputError, IntegrityError, RealismDriftError
from tests.conftest import REPOSITORY

# The oldest release that the file is meant for: podFailurePolicy and timeZone are on by default in it.
KUBERNETES = "1.29"


@pytest.fixture
def job() -> dict[str, Any]:
    value = yaml.safe_load((REPOSITORY / "pipelines" / "nightly.yaml").read_text())
    assert isinstance(value, dict)
    return value


@pytest.fixture
def pod(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_it_is_a_valid_cronjob(job: dict[str, Any]) -> None:
    """Against the schemas that Kubernetes publishes, with fields that they do not know refused."""
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(job, KUBERNETES, strict=True)
    job["spec"]["jobTemplate"]["spec"]["backoffLimits"] = 3
    with pytest.raises(validator.ValidationError, match="backoffLimits"):
        validator.validate(job, KUBERNETES, strict=True)


def test_one_run_at_a_time_and_no_retry_of_what_would_end_the_same(job: dict[str, Any]) -> None:
    spec = job["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    rule = spec["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]
    final = {kind.exit_code for kind in (InputError, CorpusMismatchError, IntegrityError, RealismDriftError)}
    assert final <= set(rule["onExitCodes"]["values"])
    assert IncompleteError.exit_code not in rule["onExitCodes"]["values"]
    assert rule["onExitCodes"]["containerName"] == "depthforge"


def test_nobody_is_root_and_only_volumes_are_written(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never", "podFailurePolicy asks for it"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not container["image"].endswith(":latest")
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    assert {name for name, mount in mounts.items() if not mount.get("readOnly")} == {"corpora", "tmp", "shm"}


def test_the_command_is_one_that_depthforge_takes(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    name, *arguments = container["args"]
    workers = math.ceil(float(container["resources"]["limits"]["cpu"]))
    filled = [argument.replace("$(WORKERS)", str(workers)) for argument in arguments]
    values = read_options(name, filled)
    assert name == "nightly"
    assert (values["workers"], str(values["out"])) == (4, "/corpora/nightly")
    assert str(values["manifest"]) == "/etc/depthforge/manifest.yaml"
    assert any(variable["name"] == "WORKERS" for variable in container["env"])
