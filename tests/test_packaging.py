"""What is declared as needed is what the code imports, and every bound is either tested or has its reason."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Only where the name differs from that of the package to install.
_PACKAGE_OF_MODULE: Final = {
    "OpenEXR": "openexr",
    "cv2": "opencv-python-headless",
    "google_crc32c": "google-crc32c",
    "open3d": "open3d-cpu",
    "ruamel": "ruamel-yaml",
    "yaml": "pyyaml",
}
# What the package imports and `pip install depthforge` does not bring, and why not.
_NOT_BROUGHT: Final = {
    "obstore": "the cloud extra: object stores alone",
    "open3d-cpu": "the open3d extra: system libraries and 700 MB, for meshes alone",
    "openexr": "the formats extra: depth as OpenEXR alone",
    "pycocotools": "the export extra: masks of COCO alone",
    "rosbags": "the ros extra: recordings of ROS alone",
    "tifffile": "the formats extra, with imagecodecs (80 MB): TIFF that OpenCV cannot read alone",
    "pytest": "depthforge.testing: whoever runs the contract tests runs them with pytest",
}
_RUNTIME_EXTRAS: Final = ("cloud", "export", "formats", "open3d", "ros")
_READER: Final = {"google-crc32c", "numcodecs", "numpy", "pyarrow", "pydantic"}


@pytest.fixture
def project(repository: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    return project


def by_name(lines: list[str]) -> dict[str, Requirement]:
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def listed(path: Path) -> dict[str, Requirement]:
    return by_name([line for line in path.read_text().splitlines() if line and not line.startswith("#")])


def lower_bound(requirement: Requirement) -> str:
    (bound,) = (specifier.version for specifier in requirement.specifier if specifier.operator == ">=")
    return bound


def imports(tree: ast.AST, *, inside_function: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the top-level name of every absolute import, and whether it runs only when a function is called."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], inside_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module is not None
            yield node.module.partition(".")[0], inside_function
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from imports(node, inside_function=inside_function or is_function)


@cache
def imported_packages(repository: Path) -> dict[str, dict[str, bool]]:
    """Return for every third-party package the modules that import it: {package: {module: only in functions}}."""
    packages: dict[str, dict[str, bool]] = {}
    for path in sorted((repository / "depthforge").rglob("*.py")):
        module = path.relative_to(repository).as_posix()
        for name, is_lazy in imports(ast.parse(path.read_text())):
            if name != "depthforge" and name not in sys.stdlib_module_names:
                modules = packages.setdefault(_PACKAGE_OF_MODULE.get(name, name), {})
                modules[module] = modules.get(module, True) and is_lazy
    return packages


def test_runtime_dependencies_are_what_the_code_imports(repository: Path, project: dict[str, Any]) -> None:
    assert set(by_name(project["dependencies"])) == set(imported_packages(repository)) - set(_NOT_BROUGHT)


def test_what_is_not_brought_is_imported_only_where_it_is_used(repository: Path) -> None:
    packages = imported_packages(repository)
    for package in set(_NOT_BROUGHT) - {"pytest"}:
        assert all(packages.get(package, {}).values()), f"{package} at the top of one of {list(packages[package])}"
    assert all(module.startswith("depthforge/testing/") for module in packages["pytest"])


def test_the_oldest_versions_are_the_lower_bounds(repository: Path, project: dict[str, Any]) -> None:
    lines = project["dependencies"] + [
        line for extra in _RUNTIME_EXTRAS for line in project["optional-dependencies"][extra]
    ]
    expected = {name: f"=={lower_bound(requirement)}" for name, requirement in by_name(lines).items()}
    found = listed(repository / "requirements/oldest.txt")
    assert {name: str(requirement.specifier) for name, requirement in found.items()} == expected


def test_the_readers_requirements_are_lower_bounds_of_the_package(repository: Path, project: dict[str, Any]) -> None:
    declared = by_name(project["dependencies"])
    found = listed(repository / "requirements/reader.txt")
    assert {name: str(requirement.specifier) for name, requirement in found.items()} == {
        name: f">={lower_bound(declared[name])}" for name in _READER
    }


def test_every_upper_bound_has_its_reason_on_the_line_above(repository: Path, project: dict[str, Any]) -> None:
    lines = (repository / "pyproject.toml").read_text().splitlines()
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (Requirement(line) for group in groups for line in group):
        if all(specifier.operator in {">=", "!="} for specifier in requirement.specifier):
            continue
        places = [number for number, line in enumerate(lines) if line.strip().startswith(f'"{requirement.name}')]
        assert places, f"{requirement}: a requirement with an upper bound has a line of its own"
        for place in places:
            assert lines[place - 1].strip().startswith("#"), f"{requirement}: no reason above line {place + 1}"


def test_a_package_that_is_named_twice_has_one_bound(project: dict[str, Any]) -> None:
    bounds: dict[str, set[str]] = {}
    for group in (project["dependencies"], *project["optional-dependencies"].values()):
        for name, requirement in by_name(group).items():
            bounds.setdefault(name, set()).add(str(requirement.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}
