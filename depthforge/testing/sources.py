"""The battery for a source: what ``depthforge.sources.base.Source`` promises, as tests.

A plug-in author inherits it and says how to make one, over a data set of at least two frames::

    class TestMySource(SourceTests):
        @pytest.fixture
        def source(self, tmp_path):
            return MySource(MySource.Config(root=write_a_tiny_one(tmp_path)))

Reads at most ``num_frames`` frames in a test; a test takes as long as a few reads.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from depthforge.frame import Finding, Frame, FrameRef
from depthforge.registry import sources
from depthforge.sources.base import Source

__all__ = ["SourceTests", "arrays_of", "assert_frames_equal"]


def arrays_of(frame: Frame) -> dict[str, npt.NDArray[np.generic]]:
    """Return every array of a frame by name, absent ones left out."""
    named = {"depth_m": frame.depth_m, "valid": frame.valid, "rgb": frame.rgb, "T_world_cam": frame.T_world_cam}
    return {**{name: array for name, array in named.items() if array is not None}, **frame.labels}


def assert_frames_equal(actual: Frame, expected: Frame) -> None:
    """Raise AssertionError unless two frames agree in key, camera, and every bit of every array."""
    assert (actual.key, actual.camera) == (expected.key, expected.camera)
    found, wanted = arrays_of(actual), arrays_of(expected)
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name, strict=True)


class SourceTests:
    """Inherit, define the fixture ``source``, and set ``num_frames`` when reading is slow."""

    num_frames: ClassVar[int] = 4

    def first(self, source: Source) -> list[FrameRef]:
        """Return the first references of the listing."""
        refs = list(islice(source.frames(), self.num_frames))
        assert len(refs) >= 2, "the battery needs a data set of two frames or more"
        return refs

    def read(self, source: Source) -> Iterator[Frame]:
        """Yield the first frames with everything they carry."""
        for ref in self.first(source):
            yield source.read(ref, frozenset(source.labels))

    def test_is_found_by_its_name(self, source: Source) -> None:
        assert sources.get(source.name) is type(source)

    def test_states_a_licence_and_a_version(self, source: Source) -> None:
        assert source.licence.name
        assert source.adapter_version >= 1

    def test_keys_are_sorted_unique_and_of_three_parts(self, source: Source) -> None:
        keys = [ref.key for ref in source.frames()]
        assert all(before < after for before, after in pairwise(keys))
        assert all(len(key.split("/")) == 3 and all(key.split("/")) for key in keys)

    def test_nothing_is_left_to_prepare(self, source: Source) -> None:
        source.prepare()
        assert source.to_prepare() is None
        assert list(source.candidates()) == list(source.frames())

    def test_lists_the_same_twice(self, source: Source) -> None:
        assert list(source.frames()) == list(source.frames())

    def test_findings_are_findings_and_relative(self, source: Source) -> None:
        findings: list[object] = []
        list(source.frames(findings.append))
        for finding in findings:
            assert isinstance(finding, Finding)
            assert not PurePosixPath(finding.path).is_absolute()

    def test_locators_are_relative(self, source: Source) -> None:
        assert not any(PurePosixPath(ref.locator).is_absolute() for ref in source.frames())

    def test_depth_is_sound(self, source: Source) -> None:
        for frame in self.read(source):
            frame.require_sound()
            assert frame.camera.size == source.size
            assert not frame.depth_m[~frame.valid].any(), "an invalid pixel has depth 0"

    def test_keeps_the_key(self, source: Source) -> None:
        assert [frame.key for frame in self.read(source)] == [ref.key for ref in self.first(source)]

    def test_labels_fit_their_specs(self, source: Source) -> None:
        height, width = source.size
        for frame in self.read(source):
            for name, array in arrays_of(frame).items():
                if name not in ("depth_m", "valid"):
                    source.labels[name].require_fits(array, height, width, where=frame.key)

    def test_poses_are_rigid(self, source: Source) -> None:
        for frame in self.read(source):
            if frame.T_world_cam is not None:
                rotation = frame.T_world_cam[:3, :3]
                np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
                assert np.linalg.det(rotation) > 0, "a rotation, not a reflection"
                np.testing.assert_array_equal(frame.T_world_cam[3], [0, 0, 0, 1])

    def test_normals_face_the_camera(self, source: Source) -> None:
        for frame in self.read(source):
            if "normals" in frame.labels:
                normals = frame.labels["normals"].astype(np.float64)
                v, u = np.nonzero(normals.any(axis=-1))
                camera = frame.camera
                rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(len(u))], axis=-1)
                assert np.einsum("nc,nc->n", normals[v, u], rays).mean() < 0

    def test_returns_only_what_is_wanted(self, source: Source) -> None:
        ref = self.first(source)[0]
        everything = arrays_of(source.read(ref, frozenset(source.labels)))
        assert arrays_of(source.read(ref, frozenset())).keys() == {"depth_m", "valid"}
        for name in everything.keys() - {"depth_m", "valid"}:
            found = arrays_of(source.read(ref, frozenset({name})))
            assert found.keys() == {"depth_m", "valid", name}
            np.testing.assert_array_equal(found[name], everything[name], strict=True)

    def test_reading_is_pure(self, source: Source) -> None:
        first, second = self.first(source)[:2]
        wanted = frozenset(source.labels)
        before = source.read(first, wanted)
        kept = pickle.loads(pickle.dumps(before))
        for array in arrays_of(before).values():
            if array.flags.writeable:
                array[...] = 0
        source.read(second, wanted)
        assert_frames_equal(source.read(first, wanted), kept)

    def test_pickles_before_and_after_reading(self, source: Source) -> None:
        wanted = frozenset(source.labels)
        fresh = pickle.loads(pickle.dumps(source))
        ref = self.first(source)[-1]
        frame = source.read(ref, wanted)
        for copy in (fresh, pickle.loads(pickle.dumps(source))):
            assert_frames_equal(copy.read(ref, wanted), frame)
            assert list(islice(copy.frames(), self.num_frames)) == self.first(source)

    def test_threads_read_the_same(self, source: Source) -> None:
        wanted = frozenset(source.labels)
        refs = self.first(source)
        with ThreadPoolExecutor(4) as pool:
            frames = list(pool.map(lambda ref: source.read(ref, wanted), refs * 3))
        for ref, frame in zip(refs * 3, frames, strict=True):
            assert_frames_equal(frame, source.read(ref, wanted))

    def test_reads_again_after_close(self, source: Source) -> None:
        ref = self.first(source)[0]
        before = source.read(ref, frozenset(source.labels))
        source.close()
        assert_frames_equal(source.read(ref, frozenset(source.labels)), before)
