# depthforge for NVIDIA GPUs: nodes that train or use learned translators.
#   docker build -f docker/cuda.Dockerfile -t depthforge-cuda:0.1.0 .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" --shm-size 2g -v "$PWD:/work" depthforge-cuda:0.1.0 \
#     synthesize /manifests/demo-dcl.yaml
# torch brings CUDA's libraries along (3 GB), so the base needs none; the driver is the machine's, which the NVIDIA
# container toolkit lets in. Without a C compiler: `training.compile: true` wants one. Without Open3D.

FROM python:3.11.14-slim-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build
RUN python -m venv /opt/depthforge
ENV PATH=/opt/depthforge/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
# torch first and on its own, so that nothing else chooses its build; the default build for Linux brings CUDA.
COPY docker/constraints.txt ./
# Every version is that of constraints.txt.
# hadolint ignore=DL3013
RUN pip install --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY depthforge depthforge
# The extra is what a node needs to be a head that takes jobs (`depthforge submit`).
# hadolint ignore=DL3013
RUN pip wheel --no-deps --wheel-dir dist . \
    && pip install --constraint constraints.txt "$(echo dist/depthforge-*.whl)[cluster]"

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="depthforge" \
      org.opencontainers.image.description="Clean synthetic depth in, sensor-real depth out, every label carried." \
      org.opencontainers.image.licenses="Apache-2.0"
# The first process of a container gets no SIGTERM unless it asks for it, and inherits Ray's orphans: tini passes the one
# on and reaps the others. wget is what KubeRay asks a node's health with.
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini=0.19.* wget=1.21.* \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/depthforge /opt/depthforge
# A login shell, in which KubeRay may start Ray, forgets PATH and finds what lies here.
RUN ln -s /opt/depthforge/bin/ray /opt/depthforge/bin/depthforge /usr/local/bin/
COPY manifests /manifests
# Any user, known or not, over a read-only root: all that is written lies in /tmp or in a volume.
ENV PATH=/opt/depthforge/bin:$PATH \
    HOME=/tmp \
    LOGNAME=depthforge \
    TMPDIR=/tmp \
    RAY_TMPDIR=/tmp \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    OMP_NUM_THREADS=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /work
USER 10001:10001
# A batch image serves nothing to ask; that it starts at all is what can be seen from outside.
HEALTHCHECK --interval=60s --timeout=30s --start-period=30s --retries=3 CMD ["depthforge", "--version"]
ENTRYPOINT ["tini", "--", "depthforge"]
CMD ["--help"]
