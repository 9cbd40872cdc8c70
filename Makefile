# `make demo` and `make test` set up all they need in .venv, from nothing.
.PHONY: demo test test-slow test-oldest test-newest lint format docs clean

demo: .venv/.installed-core
	.venv/bin/depthforge synthesize manifests/demo.yaml

# Three processes with a thread each, of which one mostly waits for Ray; a file stays in one, since its fixtures are shared.
PYTEST = python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: .venv/.installed-dev
	OMP_NUM_THREADS=1 .venv/bin/$(PYTEST) -m "not slow"

# Clusters whose nodes come and go, jobs, kills, the steps of the image: most of their time is Ray's, starting processes.
test-slow: .venv/.installed-dev
	OMP_NUM_THREADS=1 .venv/bin/$(PYTEST) -m slow -n 2

# The same with the oldest versions of everything that pyproject.toml allows, and with the newest of today.
test-oldest test-newest: test-%:
	.ci/install $*
	OMP_NUM_THREADS=1 .venv-$*/bin/$(PYTEST)

lint: .venv/.installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/.installed-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: .venv/.installed-dev
	.venv/bin/python docs/generate.py

clean:
	rm -rf .venv .venv-oldest .venv-newest build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/.installed-%: pyproject.toml .ci/install
	.ci/install $*
