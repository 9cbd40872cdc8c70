"""What a RayJob may hold, by KubeRay's API reference (ray.io/v1); pods are Kubernetes' own."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["RAY_JOB"]


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_FLAG: Final = {"type": "boolean"}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}
_POD: Final = {"type": "object", "required": ["spec"]}

_HEAD: Final = _object(
    ("template", "rayStartParams"),
    rayStartParams=_TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    enableIngress=_FLAG,
    headService={"type": "object"},
    resources=_TEXTS,
    labels=_TEXTS,
    template=_POD,
)
_WORKERS: Final = _object(
    ("groupName", "rayStartParams", "template"),
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    numOfHosts={"type": "integer", "minimum": 1},
    idleTimeoutSeconds=_COUNT,
    suspend=_FLAG,
    scaleStrategy={"type": "object"},
    rayStartParams=_TEXTS,
    resources=_TEXTS,
    labels=_TEXTS,
    template=_POD,
)
_CLUSTER: Final = _object(
    ("headGroupSpec",),
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    enableInTreeAutoscaling=_FLAG,
    autoscalerOptions=_object(
        image=_TEXT,
        imagePullPolicy=_TEXT,
        idleTimeoutSeconds=_COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        version={"enum": ["v1", "v2"]},
        resources={"type": "object"},
        env={"type": "array"},
        envFrom={"type": "array"},
        volumeMounts={"type": "array"},
        securityContext={"type": "object"},
    ),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
    gcsFaultToleranceOptions={"type": "object"},
    headServiceAnnotations=_TEXTS,
    suspend=_FLAG,
    managedBy=_TEXT,
)
RAY_JOB: Final = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=_object(name=_TEXT, generateName=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS),
    spec=_object(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=_TEXT,
        entrypointNumCpus={"type": "number"},
        entrypointNumGpus={"type": "number"},
        entrypointResources=_TEXT,
        runtimeEnvYAML=_TEXT,
        jobId=_TEXT,
        metadata=_TEXTS,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        submitterConfig=_object(backoffLimit=_COUNT),
        submitterPodTemplate=_POD,
        backoffLimit=_COUNT,
        activeDeadlineSeconds=_COUNT,
        shutdownAfterJobFinishes=_FLAG,
        ttlSecondsAfterFinished=_COUNT,
        deletionStrategy={"type": "object"},
        clusterSelector=_TEXTS,
        suspend=_FLAG,
        managedBy=_TEXT,
        rayClusterSpec=_CLUSTER,
    ),
)
