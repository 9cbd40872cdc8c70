"""Reading a corpus takes numpy, numcodecs, google-crc32c, pyarrow and pydantic; everything else is blocked here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import CorpusSchema
from depthforge.encoding import Codec, DepthEncoding
from tests.corpus.corpora import FIELDS, HEIGHT, WIDTH, build

CORE = ("numpy", "numcodecs", "google_crc32c", "pyarrow", "pydantic")
# What pydantic itself stands on.
CORE_NEEDS = ("pydantic_core", "annotated_types", "typing_extensions", "typing_inspection")
# What torch imports of what it requires.
TORCH = ("torch", "torchgen", "functorch", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec")

BLOCKED = """
import sys

class Blocker:
    ours = {"depthforge", *sys.stdlib_module_names, *ALLOWED}

    def find_spec(self, name, path=None, target=None):
        # Python's own table of how it was built is in no list of its modules.
        if name.partition(".")[0] not in self.ours and not name.startswith("_sysconfigdata"):
            # Reads like what Python says of a package that is not installed.
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run_blocked(code: str, *arguments: object, allowed: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process that finds no third-party package but the core and those ``allowed``."""
    head = BLOCKED.replace("ALLOWED", repr((*CORE, *CORE_NEEDS, *allowed)))
    return subprocess.run(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )


def require_done(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small corpus in each codec and depth encoding."""
    roots = {}
    for name, level in (("zstd", 1), ("fast", 9), ("small", 3), ("none", 0)):
        for dtype in ("uint16", "float32"):
            schema = CorpusSchema(HEIGHT, WIDTH, FIELDS, DepthEncoding(dtype=dtype), Codec(name=name, level=level), 4)
            roots[f"{name}-{dtype}"] = build(tmp_path_factory.mktemp("core"), 5, schema, rejected=())
    return roots


READ = """
import numpy as np
from depthforge.corpus import CorpusReader

reader = CorpusReader(sys.argv[1])
arrays = {}
for position in range(len(reader)):
    frame = reader.read(position)
    named = {name: getattr(frame, name) for name in DEPTHS}
    for name, array in {**named, **frame.labels}.items():
        arrays[f"{frame.key}:{name}"] = array
np.savez(sys.argv[2], **arrays)
"""
DEPTHS = ("clean_depth_m", "clean_valid", "noisy_depth_m", "noisy_valid")


def test_frames_of_every_codec_are_read_with_the_core_alone(corpora: dict[str, Path], tmp_path: Path) -> None:
    head = f"DEPTHS, pairs = {DEPTHS}, sys.argv[1:]\nwhile pairs:\n    sys.argv[1:], pairs = pairs[:2], pairs[2:]"
    code = "\n".join([head, *(f"    {line}" for line in READ.strip().splitlines())])
    pairs = [part for name, root in corpora.items() for part in (root, tmp_path / f"{name}.npz")]
    require_done(run_blocked(code, *pairs))
    for name, root in corpora.items():
        reader, num_arrays = CorpusReader(root), 0
        with np.load(tmp_path / f"{name}.npz") as found:
            for position in range(len(reader)):
                frame = reader.read(position)
                for field, array in {**{name: getattr(frame, name) for name in DEPTHS}, **frame.labels}.items():
                    assert found[f"{frame.key}:{field}"].tobytes() == array.tobytes(), (name, frame.key, field)
                    num_arrays += 1
            assert num_arrays == len(found.files) > 5 * 10


STREAM = """
from torch.utils.data import DataLoader
from depthforge.corpus import CorpusDataset, CorpusStream

if __name__ == "__main__":
    keys = []
    dataset = CorpusDataset(sys.argv[1], "train", ("depth_noisy", "rgb", "object_pose"))
    for batch in DataLoader(dataset, batch_size=2, collate_fn=dataset.collate, num_workers=1, timeout=60):
        assert batch["depth_noisy"].shape[1:] == (1, HEIGHT, WIDTH)
        keys += batch["key"]
    stream = CorpusStream(sys.argv[1], "train", ("depth_clean",), seed=0, rank=0, world_size=1, batch_size=2)
    again = [key for batch in DataLoader(stream, batch_size=None, num_workers=1, timeout=60) for key in batch["key"]]
    assert keys == again and keys, (keys, again)
"""


def test_the_datasets_take_torch_besides(corpora: dict[str, Path]) -> None:
    code = f"HEIGHT, WIDTH = {HEIGHT}, {WIDTH}\n{STREAM}"
    require_done(run_blocked(code, corpora["zstd-uint16"], allowed=TORCH))


def test_what_is_missing_is_named(corpora: dict[str, Path], tmp_path: Path) -> None:
    result = run_blocked("from depthforge.corpus import CorpusDataset")
    assert "MissingDependencyError" in result.stderr
    assert "torch is not installed" in result.stderr
    assert "pip install torch" in result.stderr


def test_an_array_that_only_zarr_reads_says_so(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(tmp_path / "a"), shape=(4, 4), dtype="uint16", chunks=(2, 2))[...] = 1
    code = """
from depthforge.corpus.shard import ShardArray
from depthforge.storage import open_storage
ShardArray(open_storage(sys.argv[1]), "a").read_row(0)
"""
    result = run_blocked(code, tmp_path)
    assert "MissingDependencyError" in result.stderr
    assert "pip install zarr" in result.stderr


@pytest.mark.parametrize("name", ["depthforge.corpus", "depthforge.corpus.reader", "depthforge.storage"])
def test_importing_loads_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numba", "cv2", "ray", "zarr", "yaml", "xxhash", "torch", "scipy", "click"} & set(loaded)
