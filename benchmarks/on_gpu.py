"""All that wants a GPU, in one command: the checks of ``gpu_checks`` and the figures of ``gpu_speed``, as one table.

python -m benchmarks.on_gpu [--json] [--quick] [--only PART ...] [--device cuda]

At most six minutes, from a checkout that need not be installed, with a Python that has torch and

    pip install numpy pydantic pyyaml safetensors

and, for the part ``corpus`` alone,

    pip install google-crc32c numba numcodecs opencv-python-headless pyarrow scipy xxhash

No Ray. What is missing is said with that command. Data are made up on the spot. Each part runs in a process of its
own, within a time of its own: one that fails, hangs or breaks the GPU is a row of the table, and the others go on.
Parts that compile come last, so that they are what a slow machine leaves out. The exit code is 1 where a row is not ok,
2 where something is missing. Without CUDA the very same runs on the CPU at tiny sizes, and speed is not judged.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.timing import machine, print_table

if TYPE_CHECKING:
    from benchmarks.gpu_checks import Row

WHOLE_S: Final = 350.0
MARK: Final = "row: "
"""Before each row that a part prints, told apart from whatever libraries print."""

# Module to distribution: imported as the one, installed as the other.
REQUIRED: Final = {
    "numpy": "numpy",
    "torch": "torch",
    "pydantic": "pydantic",
    "yaml": "pyyaml",
    "safetensors": "safetensors",
}
FOR_CORPUS: Final = {
    "google_crc32c": "google-crc32c",
    "numba": "numba",
    "numcodecs": "numcodecs",
    "cv2": "opencv-python-headless",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "xxhash": "xxhash",
}


@dataclass(frozen=True)
class Part:
    """What one process runs: rows of a device and of whether sizes are tiny, in at most ``limit_s``."""

    rows: Callable[[str, bool], Iterable[Row]]
    limit_s: float
    needs: Mapping[str, str]


def missing(modules: Mapping[str, str]) -> list[str]:
    """Return the distributions to install, of those modules that are not there."""
    return [name for module, name in modules.items() if importlib.util.find_spec(module) is None]


def _conversion(device: str, tiny: bool) -> Iterable[Row]:
    from benchmarks.gpu_checks import METHODS, PRECISIONS, check_conversion

    sizes: dict[str, Any] = {"width": 4, "size": (64, 80), "frames": 3} if tiny else {"size": (240, 320)}
    for method in METHODS:
        for precision in PRECISIONS:
            yield from check_conversion(method, device, precision=precision, **sizes)


def _steps(device: str, tiny: bool) -> Iterable[Row]:
    from benchmarks.gpu_checks import ADVERSARIAL, METHODS, PRECISIONS, check_training

    sizes: dict[str, Any] = {"width": 4, "batch": 2, "side": 32} if tiny else {"batch": 2}
    for method in METHODS:
        for precision in PRECISIONS:
            yield from check_training(method, device, precision=precision, **sizes)
        if method in ADVERSARIAL:
            yield from check_training(method, device, gan="wgangp", **sizes)


def _resume(device: str, tiny: bool) -> Iterable[Row]:
    from benchmarks.gpu_checks import METHODS, check_resume

    for method in METHODS:
        yield from check_resume(method, device, **({"width": 4, "side": 32} if tiny else {}))


def _corpus(device: str, tiny: bool) -> Iterable[Row]:
    from benchmarks.gpu_checks import check_corpus

    sizes: dict[str, Any] = {"width": 4, "size": (48, 64), "frames": 6} if tiny else {}
    yield from check_corpus(device, **sizes)


def _inference(device: str, tiny: bool) -> Iterable[Row]:
    from benchmarks.gpu_speed import holes, inference

    yield from inference(device, compiled=False, **(_TINY_FRAMES if tiny else {}))
    yield from holes(device, **({"size": (32, 48), "batch": 2, "repeats": 1} if tiny else {}))


def _inference_compiled(device: str, tiny: bool) -> Iterable[Row]:
    from benchmarks.gpu_checks import check_conversion
    from benchmarks.gpu_speed import inference

    yield from inference(device, compiled=True, **(_TINY_FRAMES if tiny else {}))
    if device == "cuda":
        yield from check_conversion("dcl", device, precision="tf32", size=(240, 320), compile=True)


def _training(device: str, tiny: bool) -> Iterable[Row]:
    from benchmarks.gpu_speed import training

    yield from training(device, compiled=False, **(_TINY_CROPS if tiny else {}))


def _training_compiled(device: str, tiny: bool) -> Iterable[Row]:
    from benchmarks.gpu_speed import training

    yield from training(device, compiled=True, **(_TINY_CROPS if tiny else {}))


_TINY_FRAMES: Final[dict[str, Any]] = {"width": 4, "size": (32, 48), "batch": 2, "repeats": 1}
_TINY_CROPS: Final[dict[str, Any]] = {"width": 4, "side": 32, "batch": 2, "repeats": 1, "steps": 1}

PARTS: Final = {
    "conversion": Part(_conversion, 90, {}),
    "steps": Part(_steps, 75, {}),
    "resume": Part(_resume, 45, {}),
    "corpus": Part(_corpus, 60, FOR_CORPUS),
    "inference": Part(_inference, 45, {}),
    "training": Part(_training, 60, {}),
    "inference compiled": Part(_inference_compiled, 120, {}),
    "training compiled": Part(_training_compiled, 200, {}),
}
QUICK: Final = tuple(name for name in PARTS if "compiled" not in name)


def run_part(name: str, device: str, tiny: bool, limit_s: float) -> list[dict[str, Any]]:
    """Run a part in a process of its own; return its rows, one that says why behind them where it did not end well."""
    lacking = missing(PARTS[name].needs)
    if lacking:
        return [_failed(name, f"not run: pip install {' '.join(lacking)}")]
    if limit_s <= 0:
        return [_failed(name, f"not run: {WHOLE_S:.0f} s are over")]
    command = [sys.executable, "-m", "benchmarks.on_gpu", "--part", name, "--device", device, *["--quick"] * tiny]
    start = time.monotonic()
    # A session of its own: a compiler's processes end with it, which would hold the pipes open.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
        start_new_session=True,
    )
    try:
        out, said = process.communicate(timeout=limit_s)
        why = _last_line(said) if process.returncode else ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, said = process.communicate()
        why = f"not ended after {limit_s:.3g} s"
    rows = [json.loads(line.removeprefix(MARK)) for line in out.splitlines() if line.startswith(MARK)]
    if why or not rows:
        rows.append(_failed(name, why or "no figure"))
    for line in said.splitlines():
        if "Warning:" in line:
            print(line, file=sys.stderr)
    print(f"{name}: {len(rows)} rows in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return rows


def _failed(name: str, why: str) -> dict[str, Any]:
    return {"what": name, "value": why, "peer": "", "bar": "ends", "ok": False}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "the process died"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts and print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print all rows as JSON")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, and nothing that compiles")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--device", choices=["cuda", "cpu"], help="default: cuda where torch has it")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    lacking = missing(REQUIRED)
    if lacking:
        print(f"missing: {', '.join(lacking)}\n  {sys.executable} -m pip install {' '.join(lacking)}", file=sys.stderr)
        return 2
    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.part:
        torch.set_num_threads(min(torch.get_num_threads(), 16))
        for row in PARTS[options.part].rows(device, options.quick):
            print(MARK + json.dumps(row.to_json()), flush=True)
        return 0

    tiny = options.quick or device == "cpu"
    end = time.monotonic() + WHOLE_S
    chosen = options.only or (QUICK if tiny else tuple(PARTS))
    found = {}
    for name in chosen:
        found[name] = run_part(name, device, tiny, min(PARTS[name].limit_s, end - time.monotonic()))
    rows = [row for part in found.values() for row in part]
    unmet = [row for row in rows if row["ok"] is False]
    where = torch.cuda.get_device_name() if device == "cuda" else "no GPU: the CPU, at tiny sizes; speed is not judged"
    if options.json:
        print(json.dumps({"machine": machine(), "device": where, "torch": torch.__version__, "parts": found}, indent=2))
    else:
        print(f"{machine()}; torch {torch.__version__}; {where}")
        said = {True: "yes", False: "NO", None: "-"}
        table = [[row["what"], row["value"], row["peer"], row["bar"], said[row["ok"]]] for row in rows]
        print_table("On a GPU", table, ["check or figure", "value", "peer", "bar", "ok"])
        print(f"\n{len(rows)} rows, {len(unmet)} not ok")
    return 1 if unmet else 0


if __name__ == "__main__":
    sys.exit(main())
