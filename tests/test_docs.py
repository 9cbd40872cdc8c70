"""Documentation cannot rot: references equal the code, the README's commands run, every name is documented."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.results import load
from depthforge.cli.main import COMMANDS
from depthforge.manifest_schema import manifest_schema
from depthforge.registry import layouts, sensors, sources, tasks, translators
from depthforge.sensors.preset import preset_names
from tests.sources.simulator_tree import write_simulator

pytestmark = pytest.mark.usefixtures("built_in_plugins")


@pytest.fixture
def generate(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", repository / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "function"),
    [
        ("cli.md", "cli_reference"),
        ("manifest.md", "manifest_reference"),
        ("datasets.md", "datasets_reference"),
        ("performance.md", "performance_reference"),
    ],
)
def test_references_are_what_the_code_says(repository: Path, generate: ModuleType, page: str, function: str) -> None:
    assert (repository / "docs" / page).read_text() == getattr(generate, function)(), "run: make docs"


def test_every_benchmark_is_on_the_page_of_figures(repository: Path) -> None:
    page = (repository / "docs" / "performance.md").read_text()
    for path in (repository / "benchmarks").glob("bench_*.py"):
        assert f"`python -m benchmarks.{path.stem} " in page, path.stem


def test_every_results_file_is_sound_and_holds_no_path_of_a_machine(repository: Path) -> None:
    folder = repository / "benchmarks" / "results"
    assert list(load(folder)) == sorted(path.stem for path in folder.iterdir())
    for path in folder.iterdir():
        assert not re.search(r"(?<![\w.])/\w[\w.-]*/", path.read_text()), path.name


def test_the_readme_leads_to_the_figures_and_holds_none(repository: Path) -> None:
    section = (repository / "README.md").read_text().split("## Measured\n")[1].split("\n## ")[0]
    assert "](docs/performance.md)" in section
    assert not re.search(r"\d", section)


def test_every_command_and_plugin_is_named_in_the_readme(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    for name in COMMANDS:
        assert f"depthforge {name}" in text, name
    for names in (*(known.names() for known in (sources, translators, sensors, tasks, layouts)), preset_names()):
        for name in names:
            assert f"`{name}`" in text, name


def test_every_manifest_is_named_in_the_readme(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    for path in (repository / "manifests").rglob("*.yaml"):
        assert str(path.relative_to(repository)) in text


def test_every_preset_has_its_picture(repository: Path) -> None:
    page = (repository / "docs" / "sensors.md").read_text()
    for name in preset_names():
        assert f"](gallery/{name}.jpg)" in page, name
        assert (repository / "docs" / "gallery" / f"{name}.jpg").stat().st_size > 20_000


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.ray
def test_the_commands_and_the_loader_of_the_readme_run(repository: Path, tmp_path: Path) -> None:
    """Every line of the blocks marked `sh run` and `python run`, in order, in an empty directory."""
    text = (repository / "README.md").read_text()
    shutil.copytree(repository / "manifests", tmp_path / "manifests")
    scripts = Path(sys.executable).parent
    for block in _blocks(text, "sh run"):
        script = re.sub(r"^depthforge\b", str(scripts / "depthforge"), block, flags=re.MULTILINE)
        done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f"{shlex.quote(block)}\n{done.stdout}\n{done.stderr}"
    blocks = _blocks(text, "python run")
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simulator", "recording"])
def test_the_pages_on_your_own_data_run(repository: Path, tmp_path: Path, name: str) -> None:
    """Every block marked `run` of the two pages, in order, on a simulator's output and on a bag."""
    text = (repository / "docs" / f"own-{name}.md").read_text()
    if name == "simulator":
        write_simulator(tmp_path / "sim")
    for block in _blocks(text, f"sh run {name}"):
        script = re.sub(r"^depthforge\b", f"{sys.executable} -m depthforge", block, flags=re.MULTILINE)
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        done = subprocess.run(
            ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=240, env=environment
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    for block in _blocks(text, f"python run {name}"):
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
    assert (tmp_path / "corpora").is_dir()


def test_every_field_of_a_manifest_is_documented(repository: Path) -> None:
    """Also of the blocks within blocks: a model that the page does not know would go missing silently."""
    text = (repository / "docs" / "manifest.md").read_text()
    for name, block in manifest_schema()["$defs"].items():
        for field in block.get("properties", {}):
            assert f"| `{field}` |" in text, f"{name}.{field}"
