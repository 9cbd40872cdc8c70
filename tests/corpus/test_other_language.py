"""The page of the format is enough: a reader in another language, written from it, finds the same values."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.encoding import Codec
from tests.corpus.corpora import SCHEMA, build

READER = Path(__file__).with_name("reader.js")
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="Node is not installed")
@pytest.mark.parametrize("name", ["fast", "none", "small", "zstd"])
def test_a_reader_in_javascript_finds_the_same_values(tmp_path: Path, name: str) -> None:
    assert NODE is not None
    codec = Codec(name=name)  # type: ignore[arg-type]
    if name in ("small", "zstd"):
        probe = [NODE, "-e", "process.exit(require('zlib').zstdDecompressSync ? 0 : 1)"]
        if subprocess.run(probe).returncode:
            pytest.skip("this Node has no zstd")
    root = build(tmp_path, schema=replace(SCHEMA, codec=codec))
    reader = CorpusReader(root)
    fields = [spec.name for spec in reader.schema.stored]
    done = subprocess.run([NODE, str(READER), str(root), *fields], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {reader.key(position) for position in range(len(reader))}
    for position in range(len(reader)):
        theirs = found[reader.key(position)]
        for field in fields:
            spec = reader.spec(field)
            values = np.ascontiguousarray(reader.stored(field, position))
            if theirs[field] is None:  # no chunk: every value is the fill value
                assert (values == spec.missing).all() or np.isnan(values).all()
            else:
                assert hashlib.sha256(values.tobytes()).hexdigest() == theirs[field], (field, position)
