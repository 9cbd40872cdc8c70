from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, product

import numpy as np
import pytest
from pydantic import ValidationError

from depthforge.errors import MissingDataError
from depthforge.frame import FrameRef
from depthforge.geometry import back_project, decode_normals, invert_pose, normals_from_depth
from depthforge.scenes import furniture, objects
from depthforge.scenes.pieces import Palette, Piece
from depthforge.scenes.raycast import cast
from depthforge.scenes.room import Room, build_room
from depthforge.seeding import frame_generator
from depthforge.sensors.structured_light import StructuredLight
from depthforge.sources.procedural import Procedural, ProceduralConfig
from depthforge.testing.sources import SourceTests, assert_frames_equal

SMALL = ProceduralConfig(num_scenes=3, frames_per_scene=4, width=160, height=120, focal_px=150)
EVERYTHING = frozenset({"rgb", "T_world_cam", "normals", "semantic", "instance", "object_id", "object_pose"})
ON_THE_FLOOR = {
    name: getattr(module, name)
    for module in (furniture, objects)
    for name in module.__all__
    if not name.startswith("add_") and name not in ("mirror", "pendant", "picture", "wall_shelf")
}


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [build_room(frame_generator(seed, "a room")) for seed in range(12)]


class TestProcedural(SourceTests):
    @pytest.fixture
    def source(self) -> Procedural:
        return Procedural(SMALL)


def test_keys_name_room_and_frame() -> None:
    refs = list(Procedural(SMALL).frames())
    assert [refs[0].key, refs[-1].key] == ["procedural/room-000000/000000", "procedural/room-000002/000003"]
    assert refs[0].scene == "procedural/room-000000"
    assert len(refs) == 12


def test_the_default_camera_is_interiornets() -> None:
    camera = ProceduralConfig().camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.size) == (600, 600, 320, 240, (480, 640))


def test_a_frame_depends_on_the_configuration_and_its_key_alone() -> None:
    refs = list(Procedural(SMALL).frames())
    forwards = Procedural(SMALL)
    expected = {ref.key: forwards.read(ref, EVERYTHING) for ref in refs}
    with ThreadPoolExecutor(4) as pool:
        for frame in pool.map(lambda ref: forwards.read(ref, EVERYTHING), refs[::-1]):
            assert_frames_equal(frame, expected[frame.key])
    alone = Procedural(SMALL).read(refs[-1], EVERYTHING)
    assert_frames_equal(alone, expected[refs[-1].key])


def test_seeds_and_rooms_differ() -> None:
    ref = FrameRef("procedural/room-000000/000000", "0/0")
    depths = [Procedural(SMALL.model_copy(update={"seed": seed})).read(ref, frozenset()).depth_m for seed in (0, 1)]
    other = Procedural(SMALL).read(FrameRef("procedural/room-000001/000000", "1/0"), frozenset()).depth_m
    assert not np.array_equal(depths[0], depths[1])
    assert not np.array_equal(depths[0], other)


def test_the_first_room_is_pinned() -> None:
    """Should this change, raise ``Procedural.adapter_version``: the same configuration now makes other frames."""
    source = Procedural(SMALL)
    room, _ = source.room(0)
    frame = source.read(next(source.frames()), EVERYTHING)
    assert frame.rgb is not None
    found = room.kind, len(room.scene), round(float(frame.depth_m.mean()), 3), round(float(frame.rgb.mean()))
    assert found == ("Dining_room", 277, 2.673, 124)


def test_normals_are_those_of_the_depth() -> None:
    source = Procedural(SMALL)
    for ref in list(source.frames())[::5]:
        frame = source.read(ref, frozenset({"normals"}))
        derived = normals_from_depth(frame.depth_m, frame.valid, frame.camera, max_jump=0.02)
        stored = decode_normals(frame.labels["normals"].astype(np.int16))
        agreement = np.einsum("hwc,hwc->hw", derived, stored)[derived.any(axis=2)]
        assert np.median(agreement) > 0.9999
        assert np.mean(agreement > 0.99) > 0.85, "the rest are creases"
        assert not stored[~frame.valid].any()


def test_object_poses_put_objects_where_their_pixels_are() -> None:
    source = Procedural(SMALL)
    checked = 0
    for ref in source.frames():
        frame = source.read(ref, EVERYTHING)
        points = back_project(frame.depth_m, frame.camera)
        assert frame.labels["object_id"].tolist() == sorted(frame.labels["object_id"].tolist())
        for number, T_cam_object in zip(frame.labels["object_id"], frame.labels["object_pose"], strict=True):
            seen = points[frame.labels["instance"] == number].astype(np.float64)
            T = invert_pose(T_cam_object)
            local = seen @ T[:3, :3].T + T[:3, 3]
            assert len(local) > 0
            assert np.linalg.norm(local, axis=1).max() < 3.3, "every thing is within 3.3 m of its origin"
            checked += 1
    assert checked > 50


def test_labels_agree_with_each_other() -> None:
    source = Procedural(SMALL)
    for ref in list(source.frames())[::4]:
        frame = source.read(ref, EVERYTHING)
        semantic, instance = frame.labels["semantic"], frame.labels["instance"]
        np.testing.assert_array_equal(instance > 0, frame.valid)
        for number in np.unique(instance[frame.valid]):
            assert len(np.unique(semantic[instance == number])) == 1
        assert semantic.max() <= 40


def test_depth_range_is_cut() -> None:
    near, far = 1.5, 2.5
    source = Procedural(SMALL.model_copy(update={"min_depth_m": near, "max_depth_m": far}))
    whole = Procedural(SMALL)
    ref = next(whole.frames())
    frame, full = source.read(ref, frozenset()), whole.read(ref, frozenset())
    np.testing.assert_array_equal(frame.valid, (full.depth_m >= near) & (full.depth_m <= far))


def test_a_frame_that_is_not_there() -> None:
    with pytest.raises(MissingDataError, match="no such frame"):
        Procedural(SMALL).read(FrameRef("procedural/room-000009/000000", "9/0"), frozenset())


@pytest.mark.parametrize("bad", [{"num_scenes": 0}, {"min_depth_m": 5, "max_depth_m": 4}, {"rooms": 3}])
def test_bad_configurations_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ProceduralConfig(**bad)


def _corners(piece: Piece) -> np.ndarray:
    cube = np.array([(*corner, 1) for corner in product((-1, 1), repeat=3)]).T
    shapes = [(thing.T @ shape.T_world_unit @ cube)[:3].T for thing in piece.things for shape, _ in thing.parts]
    return np.concatenate(shapes)


@pytest.mark.parametrize("name", ON_THE_FLOOR)
def test_furniture_keeps_to_its_footprint(name: str) -> None:
    """Placement keeps footprints 6 cm apart, so what keeps to its own never touches its neighbour."""
    for seed in range(10):
        piece = ON_THE_FLOOR[name](Palette(np.random.default_rng(seed)))
        corners = _corners(piece)
        assert np.abs(corners[:, 0]).max() <= piece.width / 2 + 0.03
        assert np.abs(corners[:, 1]).max() <= piece.depth / 2 + 0.03
        assert -0.005 <= corners[:, 2].min() < 0.03
        assert corners[:, 2].max() <= piece.height + 0.1


def test_things_have_a_pose_that_stands(rooms: list[Room]) -> None:
    for room in rooms:
        for T in room.T_world_object.values():
            np.testing.assert_array_equal(T[:3, 2], [0, 0, 1])
            assert -0.01 <= T[2, 3] <= room.size[2]


def test_footprints_do_not_overlap_and_stay_inside(rooms: list[Room]) -> None:
    for room in rooms:
        half = np.array(room.size[:2]) / 2
        # The door's swing, which comes first, may be as wide as the corner is near.
        assert (np.abs(room.footprints[1:].reshape(-1, 2)) <= half + 1e-9).all()
        for a, b in combinations(room.footprints, 2):
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


def test_rooms_are_furnished_and_various(rooms: list[Room]) -> None:
    assert len({room.kind for room in rooms}) >= 4
    assert len({room.size for room in rooms}) == len(rooms)
    for room in rooms:
        assert 60 <= len(room.scene) <= 500
        assert len(room.T_world_object) >= 8
        assert {1, 2, 8, 9, 22} <= set(room.semantic.tolist()), "wall, floor, door, window, ceiling"
        assert room.semantic[-1] == room.instance[-1] == 0
    assert len(set(np.concatenate([room.semantic for room in rooms]).tolist())) >= 24


def test_walks_keep_their_distance_and_see_something() -> None:
    config = ProceduralConfig(num_scenes=6, frames_per_scene=21, width=64, height=48, focal_px=60)
    source = Procedural(config)
    views, close, crowded = 0, 0, 0
    for scene in range(config.num_scenes):
        room, path = source.room(scene)
        eyes = path[:, :2, 3]
        assert ((path[:, 2, 3] > 0.7) & (path[:, 2, 3] < 1.75)).all()
        assert (np.abs(eyes) < np.array(room.size[:2]) / 2 - 0.4).all()
        inside = ((eyes[:, None] > room.footprints[:, :2]) & (eyes[:, None] < room.footprints[:, 2:])).all(axis=2)
        assert not inside.any()
        for pose in path[::5]:
            hits = cast(room.scene, pose, config.camera)
            views += 1
            close += float(np.median(hits.depth_m)) < 0.8
            crowded += len(np.unique(room.instance[hits.shape])) >= 4
    assert close == 0
    assert crowded > 0.9 * views


def test_steps_of_a_long_walk_are_small() -> None:
    config = ProceduralConfig(num_scenes=1, frames_per_scene=500, width=64, height=48, focal_px=60)
    _, path = Procedural(config).room(0)
    step = np.linalg.norm(np.diff(path[:, :3, 3], axis=0), axis=1)
    assert step.max() < 0.35
    forward = path[:, :3, 2]
    turn_deg = np.degrees(np.arccos(np.clip((forward[1:] * forward[:-1]).sum(axis=1), -1, 1)))
    assert np.quantile(turn_deg, 0.95) < 15


def test_some_rooms_have_holes_and_most_pixels_have_depth() -> None:
    config = ProceduralConfig(num_scenes=8, frames_per_scene=6, width=64, height=48, focal_px=60)
    source = Procedural(config)
    holes = [1 - source.read(ref, frozenset()).valid.mean() for ref in source.frames()]
    assert max(holes) > 0.01
    assert np.mean(holes) < 0.15


def test_colour_follows_the_geometry() -> None:
    source = Procedural(SMALL)
    frame = source.read(list(source.frames())[1], EVERYTHING)
    assert frame.rgb is not None
    grey = frame.rgb.mean(axis=2)
    assert 60 < grey.mean() < 225
    assert grey.std() > 15
    instance = frame.labels["instance"].astype(np.int32)
    edge = np.zeros(grey.shape, bool)
    edge[:, 1:] = instance[:, 1:] != instance[:, :-1]
    steps = np.abs(np.diff(grey, axis=1, prepend=grey[:, :1]))
    assert steps[edge].mean() > 3 * steps[~edge].mean()


def test_a_sensor_makes_the_same_rooms_noisy() -> None:
    options = {"num_scenes": 1, "frames_per_scene": 2, "width": 96, "height": 72, "focal_px": 90.0}
    clean, scans = (
        Procedural(ProceduralConfig(**options, **more))
        for more in ({}, {"sensor": StructuredLight(focal_length_px=90, patch_share=0.1, patch_size_m=0.3)})
    )
    ref = next(iter(clean.frames()))
    one, other = (source.read(ref, frozenset({"normals"})) for source in (clean, scans))
    other.require_sound()
    both = one.valid & other.valid
    assert both.mean() > 0.3
    assert not np.array_equal(one.depth_m[both], other.depth_m[both])
    assert np.median(np.abs(one.depth_m[both] - other.depth_m[both]) / one.depth_m[both]) < 0.05
    np.testing.assert_array_equal(one.labels["normals"], other.labels["normals"])
    for wanted in (frozenset[str](), frozenset({"T_world_cam"})):
        np.testing.assert_array_equal(scans.read(ref, wanted).depth_m, other.depth_m)
