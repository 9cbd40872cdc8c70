"""Streets: geometry that can be computed by hand, traffic that never collides, and flow against the next frame."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.frame import Camera
from depthforge.geometry import invert_pose
from depthforge.labels.resize import resize_camera
from depthforge.labels.vocabularies import class_names
from depthforge.scenes.raycast import Scene, box, cast, cylinder
from depthforge.scenes.roadside import ROAD, SKY
from depthforge.scenes.street import CAMERA_HEIGHT_M, FRAME_S, MOST_VEHICLES, Street, Vehicle, build_street
from depthforge.scenes.sweep import sweep
from depthforge.scenes.vehicles import draw_model
from depthforge.scenes.world import World
from depthforge.seeding import frame_generator

CAMERA = resize_camera(Camera(725.0, 725.0, 620.5, 187.0, 1242, 375), 248, 75)
SEED = 2


def street(seed: int = SEED, num_frames: int = 20) -> Street:
    return build_street(frame_generator(seed, "street"), num_frames)


@pytest.fixture(scope="module")
def built() -> Street:
    return street()


@pytest.fixture(scope="module")
def world(built: Street) -> World:
    return built.world(5)


# --- vehicles --------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_box_of_a_vehicle_is_tight(seed: int) -> None:
    model = draw_model(frame_generator(seed, "model"))
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for shape, _ in model.parts:
        # The cube that a shape is cut from touches it on every side; a wheel lies on its side.
        reach = np.abs(shape.T_world_unit[:3, :3]).sum(axis=1)
        low = np.minimum(low, shape.T_world_unit[:3, 3] - reach)
        high = np.maximum(high, shape.T_world_unit[:3, 3] + reach)
    length, width, height = model.size
    np.testing.assert_allclose(low, [-length / 2, -width / 2, 0], atol=0.021)
    np.testing.assert_allclose(high, [length / 2, width / 2, height], atol=0.021)
    assert class_names("vkitti")[model.semantic] in ("Car", "Van", "Truck")


@pytest.mark.parametrize("seed", range(6))
def test_traffic_keeps_its_distance(seed: int) -> None:
    """Half a metre at least between any two in a lane, and before the camera's car, at every frame of a minute."""
    built = street(seed, num_frames=600)
    lanes: dict[float, list[Vehicle]] = {}
    for vehicle in built.vehicles:
        lanes.setdefault(vehicle.left_m, []).append(vehicle)
    assert len(built.vehicles) <= MOST_VEHICLES
    assert [vehicle.track for vehicle in built.vehicles] == list(range(len(built.vehicles)))
    assert sum(vehicle.moves for vehicle in built.vehicles) >= 5
    for left_m, lane in lanes.items():
        for frame in range(0, 600, 20):
            spans = sorted(
                (vehicle.along_m(FRAME_S * frame) - vehicle.model.size[0] / 2, vehicle.model.size[0])
                for vehicle in lane
            )
            for (start, length), (after, _) in pairwise(spans):
                assert after - start - length > 0.5
            if left_m < 0 and lane[0].moves:
                assert spans[0][0] - built.along_m(frame) > 4


# --- the world -------------------------------------------------------------------------------------------------------


def test_a_street_depends_on_its_generator_alone() -> None:
    first, second, other = street(), street(), street(seed=3)
    for frame in (7, 0):
        one, two = first.world(frame), second.world(frame)
        np.testing.assert_array_equal(one.scene.T_world_unit, two.scene.T_world_unit)
        np.testing.assert_array_equal(one.semantic, two.semantic)
        np.testing.assert_array_equal(first.camera_pose(frame), second.camera_pose(frame))
    assert len(first.world(0).scene) != len(other.world(0).scene)


def test_the_road_is_a_plane_below_the_camera(built: Street, world: World) -> None:
    hits = cast(world.scene, built.camera_pose(5), CAMERA)
    semantic = world.semantic[hits.shape]
    v, u = np.nonzero(semantic == ROAD)
    assert len(v) > 2000
    expected_m = CAMERA_HEIGHT_M * CAMERA.fy / (v - CAMERA.cy)
    # White lines are 5 mm thick.
    assert (np.abs(hits.depth_m[v, u] / expected_m - 1) < 0.004).all()
    assert (semantic[~hits.valid] == SKY).all()
    assert 0.02 < (~hits.valid).mean() < 0.4


def test_streets_show_what_streets_have() -> None:
    seen = set()
    for seed in range(4):
        built = street(seed)
        for frame in (0, 15):
            world = built.world(frame)
            hits = cast(world.scene, built.camera_pose(frame), CAMERA)
            seen |= set(np.unique(world.semantic[hits.shape]).tolist())
    missing = [name for number, name in enumerate(class_names("vkitti")) if number and number not in seen]
    assert set(missing) <= {"Misc"}


def test_the_camera_drives_along_level_and_its_partner_stands_to_the_right(built: Street) -> None:
    poses = np.stack([built.camera_pose(frame) for frame in range(20)])
    np.testing.assert_allclose(poses[:, 2, 3], CAMERA_HEIGHT_M)
    np.testing.assert_allclose(poses[:, 2, 1], -1.0)
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    np.testing.assert_allclose(steps, built.speed_mps * FRAME_S, rtol=0.03)
    ahead = np.einsum("nk,nk->n", np.diff(poses[:, :3, 3], axis=0), poses[:-1, :3, 2])
    np.testing.assert_allclose(ahead, steps, rtol=2e-3)
    right = built.camera_pose(3, right_m=0.532725)
    np.testing.assert_allclose((invert_pose(poses[3]) @ right)[:3, 3], [0.532725, 0, 0], atol=1e-12)
    turned = built.camera_pose(3, yaw_deg=30)
    forward = poses[3, :3, :3].T @ turned[:3, 2]
    np.testing.assert_allclose(forward, [-0.5, 0, np.sqrt(0.75)], atol=1e-12)


def test_tracks_are_the_vehicles_where_their_poses_are(built: Street, world: World) -> None:
    T_world_cam = built.camera_pose(5)
    hits = cast(world.scene, T_world_cam, CAMERA)
    tracks = built.tracks(world, hits)
    assert tracks.dtype == np.uint8
    numbers = np.unique(tracks[tracks > 0]).tolist()
    assert len(numbers) >= 3
    semantic = world.semantic[hits.shape]
    for number in numbers:
        vehicle = built.vehicles[number - 1]
        v, u = np.nonzero(tracks == number)
        assert (semantic[v, u] == vehicle.model.semantic).all()
        z = hits.depth_m[v, u].astype(np.float64)
        points = np.stack([(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z, np.ones(len(v))])
        inside = invert_pose(built.vehicle_pose(vehicle, 5)) @ T_world_cam @ points
        length, width, height = vehicle.model.size
        assert (np.abs(inside[0]) <= length / 2 + 0.02).all()
        assert (np.abs(inside[1]) <= width / 2 + 0.02).all()
        assert ((inside[2] >= -0.01) & (inside[2] <= height + 0.02)).all()


def test_a_long_street_shows_what_is_near_only() -> None:
    long = street(num_frames=400)
    short = street(num_frames=20)
    assert len(long.world(399).scene) < 4 * len(short.world(5).scene)
    first, last = long.world(0), long.world(399)
    # A thing keeps its number, whether its shapes are near or not.
    assert first.T_world_object.keys() == last.T_world_object.keys()


def test_light_changes_colour_and_nothing_else(built: Street, world: World) -> None:
    T = built.camera_pose(5)
    hits = cast(world.scene, T, CAMERA)
    day = built.colour(world, hits, T, CAMERA)
    dim = built.colour(world, hits, T, CAMERA, built.daylight._replace(lamp=(0.0, 0.0, 0.0)))
    assert day.shape == (*CAMERA.size, 3)
    assert 60 < day.mean() < 200
    assert day.astype(int).mean() - dim.mean() > 5


# --- flow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frame", "yaw_deg"), [(5, 0.0), (11, 30.0)])
def test_flow_leads_to_the_same_surface_in_the_next_frame(built: Street, frame: int, yaw_deg: float) -> None:
    before, after = built.world(frame), built.world(frame + 1)
    hits = cast(before.scene, built.camera_pose(frame, yaw_deg=yaw_deg), CAMERA)
    then = cast(after.scene, built.camera_pose(frame + 1, yaw_deg=yaw_deg), CAMERA)
    flow = built.flow(frame, before, hits, CAMERA, yaw_deg=yaw_deg)
    assert flow.dtype == np.float32
    assert np.isnan(flow[~hits.valid]).all()
    v, u = np.nonzero(hits.valid & np.isfinite(flow).all(axis=-1))
    to_u, to_v = np.rint(u + flow[v, u, 0]).astype(int), np.rint(v + flow[v, u, 1]).astype(int)
    inside = (to_u >= 0) & (to_u < CAMERA.width) & (to_v >= 0) & (to_v < CAMERA.height)
    v, u, to_v, to_u = v[inside], u[inside], to_v[inside], to_u[inside]
    assert inside.mean() > 0.7
    same_class = before.semantic[hits.shape[v, u]] == after.semantic[then.shape[to_v, to_u]]
    assert same_class.mean() > 0.93, "but for what is newly hidden and rounding at edges"
    moving = np.array([0, *(vehicle.moves for vehicle in built.vehicles)], bool)
    tracks, later = built.tracks(before, hits)[v, u], built.tracks(after, then)[to_v, to_u]
    on_moving = moving[tracks]
    if on_moving.any():
        assert (tracks[on_moving] == later[on_moving]).mean() > 0.85


def test_flow_of_the_road_is_that_of_a_plane(built: Street, world: World) -> None:
    hits = cast(world.scene, built.camera_pose(5), CAMERA)
    flow = built.flow(5, world, hits, CAMERA)
    v, u = 70, 124
    assert world.semantic[hits.shape[v, u]] == ROAD
    z = CAMERA_HEIGHT_M * CAMERA.fy / (v - CAMERA.cy)
    # Driving (almost) straight ahead by s: v' - cy = h fy / (z - s).
    s = built.speed_mps * FRAME_S
    expected = CAMERA_HEIGHT_M * CAMERA.fy / (z - s) + CAMERA.cy - v
    assert flow[v, u, 1] == pytest.approx(expected, rel=0.05)


# --- the laser -------------------------------------------------------------------------------------------------------


@given(azimuth=st.floats(-7, 7), elevation=st.floats(-1.2, -0.05))
@settings(max_examples=60, deadline=None)
def test_a_beam_meets_the_ground_where_it_should(azimuth: float, elevation: float) -> None:
    ground = Scene([box((1000, 1000, 1), (0, 0, -0.5))])
    T = np.eye(4)
    T[2, 3] = 1.73
    found = sweep(ground, T, np.array([azimuth]), np.array([elevation]), max_range_m=120)
    expected = 1.73 / np.sin(-elevation)
    assert found.range_m[0, 0] == pytest.approx(expected if expected <= 120 else 0)


def test_beams_go_round_to_the_left_from_ahead() -> None:
    posts = [cylinder(0.5, 4, (10 * np.cos(k * np.pi / 2), 10 * np.sin(k * np.pi / 2), 0)) for k in range(4)]
    azimuths = np.deg2rad([0, 90, 180, 270, 45, -90, 360])
    found = sweep(Scene(posts), np.eye(4), azimuths, np.array([0.0, 0.1]), max_range_m=50)
    assert found.shape[:, 0].tolist() == [0, 1, 2, 3, -1, 3, 0]
    np.testing.assert_allclose(found.range_m[:4, 0], 9.5)
    np.testing.assert_allclose(found.range_m[:4, 1], 9.5 / np.cos(0.1))
    assert found.range_m[4, 0] == 0
    # Turned by 90 degrees to the left, ahead is what was on the left.
    T = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert sweep(Scene(posts), T, azimuths, np.array([0.0]), max_range_m=50).shape[0, 0] == 1
    assert (sweep(Scene(posts), np.eye(4), azimuths, np.array([0.0]), max_range_m=9).shape == -1).all()


def test_a_sweep_agrees_with_a_camera_at_the_same_place(built: Street, world: World) -> None:
    T_world_cam = built.camera_pose(5)
    T = built.car_pose(5).copy()
    T[2, 3] = CAMERA_HEIGHT_M
    hits = cast(world.scene, T_world_cam, CAMERA)
    v, u = 40, 60
    x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
    azimuth, elevation = np.arctan2(-x, 1.0), np.arctan2(-y, np.hypot(x, 1.0))
    found = sweep(world.scene, T, np.array([azimuth]), np.array([elevation]), max_range_m=200)
    assert found.shape[0, 0] == hits.shape[v, u]
    assert found.range_m[0, 0] == pytest.approx(hits.depth_m[v, u] * np.sqrt(1 + x * x + y * y), rel=1e-5)
