"""The RayJob and its schedule: valid to the last field, one user, one version everywhere, a command that is one."""

from __future__ import annotations

import copy
import shlex
from typing import Any

import jsonschema
import pytest
import yaml

from depthforge.cli.main import read_options
from tests.conftest import REPOSITORY
from tests.pipelines.kuberay_schema import RAY_JOB

KUBERNETES = "1.29"
FOLDER = REPOSITORY / "pipelines"


@pytest.fixture
def job() -> dict[str, Any]:
    value = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    assert isinstance(value, dict)
    return value


@pytest.fixture
def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The head and every group of workers."""
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


@pytest.fixture
def schedule() -> dict[str, dict[str, Any]]:
    """What is applied to have one every night, by kind."""
    return {value["kind"]: value for value in yaml.safe_load_all((FOLDER / "rayjob-scheduled.yaml").read_text())}


def test_it_is_a_valid_rayjob(job: dict[str, Any]) -> None:
    jsonschema.validate(job, RAY_JOB)
    for path in (("spec",), ("spec", "rayClusterSpec"), ("spec", "rayClusterSpec", "headGroupSpec")):
        wrong = copy.deepcopy(job)
        place = wrong
        for name in path:
            place = place[name]
        place["backofLimit"] = 1
        with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
            jsonschema.validate(wrong, RAY_JOB)


def test_its_pods_are_valid(groups: list[dict[str, Any]]) -> None:
    """Against the schemas that Kubernetes publishes, with fields that they do not know refused."""
    validator = pytest.importorskip("kubernetes_validate")
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]}
        validator.validate(pod, KUBERNETES, strict=True)
        pod["spec"]["containers"][0]["volumeMount"] = []
        with pytest.raises(validator.ValidationError, match="volumeMount"):
            validator.validate(pod, KUBERNETES, strict=True)


def test_the_schedule_is_valid_and_may_create_jobs_alone(schedule: dict[str, dict[str, Any]]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    assert list(schedule) == ["ServiceAccount", "Role", "RoleBinding", "CronJob"]
    for value in schedule.values():
        validator.validate(value, KUBERNETES, strict=True)
    assert schedule["Role"]["rules"] == [{"apiGroups": ["ray.io"], "resources": ["rayjobs"], "verbs": ["create"]}]
    pod = schedule["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    names = {value["metadata"]["name"] for kind, value in schedule.items() if kind != "CronJob"}
    assert names == {pod["serviceAccountName"]} == {schedule["RoleBinding"]["roleRef"]["name"]}


def test_nobody_is_root_and_only_volumes_are_written(
    groups: list[dict[str, Any]], schedule: dict[str, dict[str, Any]]
) -> None:
    scheduler = schedule["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for pod in [*(group["template"]["spec"] for group in groups), scheduler]:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert ":" in container["image"]
        assert not container["image"].endswith(":latest")
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


def test_every_node_has_one_ray_and_sees_the_same_paths(job: dict[str, Any], groups: list[dict[str, Any]]) -> None:
    lines = (REPOSITORY / "docker" / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned["ray"]
    mounts = [group["template"]["spec"]["containers"][0]["volumeMounts"] for group in groups]
    assert all(each == mounts[0] for each in mounts)
    assert groups[0]["rayStartParams"]["num-cpus"] == "0"
    for group in groups[1:]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert group["rayStartParams"]["num-cpus"] == limits["cpu"]


def test_the_command_is_one_that_depthforge_takes(job: dict[str, Any]) -> None:
    program, name, *arguments = shlex.split(job["spec"]["entrypoint"])
    values = read_options(name, arguments)
    assert (program, name) == ("depthforge", "synthesize")
    assert values["address"] == "auto", "the cluster that the job runs in"
    assert values["out"].is_absolute()
