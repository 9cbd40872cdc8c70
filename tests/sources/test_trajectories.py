"""Lists of stamped poses: orders of the quaternion, stamps of many digits, and which frame has which line."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import DecodeError
from depthforge.sources.trajectories import associate, parse_stamped_poses, pose_of

HALF = 0.70710678


def test_a_line_of_tum_turns_x_to_y() -> None:
    text = f"# timestamp tx ty tz qx qy qz qw\n\n1305031102.175304 1 2 3 0 0 {HALF} {HALF}\n"
    [(stamp, matrix)] = parse_stamped_poses(text, "xyzw", where="groundtruth.txt")
    assert stamp == Decimal("1305031102.175304")
    np.testing.assert_allclose(matrix[:3, :3] @ (1, 0, 0), (0, 1, 0), atol=1e-8)
    np.testing.assert_array_equal(matrix[:3, 3], (1, 2, 3))
    [(_, other)] = parse_stamped_poses(text, "wxyz", where="groundtruth.txt")
    np.testing.assert_allclose(other[:3, :3] @ (1, 0, 0), (-1, 0, 0), atol=1e-8)


def test_a_line_of_euroc_has_commas_nanoseconds_and_more_columns() -> None:
    text = f"#timestamp,p,q,v\n1403636580838555648,1,2,3,{HALF},0,0,{HALF},9,9,9\n"
    [(stamp, matrix)] = parse_stamped_poses(text, "wxyz", where="data.csv")
    assert int(stamp) == 1403636580838555648
    np.testing.assert_allclose(matrix[:3, :3] @ (1, 0, 0), (0, 1, 0), atol=1e-8)


@pytest.mark.parametrize("line", ["0 1 2 3 0 0 0", "a 1 2 3 0 0 0 1", "0 1 2 x 0 0 0 1", "nan 1 2 3 0 0 0 1"])
def test_a_line_that_is_none_is_named(line: str) -> None:
    with pytest.raises(DecodeError, match="not a list of poses") as caught:
        parse_stamped_poses(f"# head\n0 0 0 0 0 0 0 1\n{line}\n", "xyzw", where="poses.txt")
    assert caught.value.where == "poses.txt, line 3"
    assert caught.value.found == line


def test_a_list_without_a_pose_is_an_error() -> None:
    with pytest.raises(DecodeError, match="without a pose"):
        parse_stamped_poses("# nothing\n", "xyzw", where="poses.txt")


def test_a_quaternion_of_zeros_or_nan_is_a_lost_pose() -> None:
    assert not pose_of((1, 2, 3), (0, 0, 0, 0), "xyzw")[:3, :3].any()
    assert np.isnan(pose_of((1, 2, np.nan), (0, 0, 0, 1), "xyzw")).all()


def stamps(*values: str) -> list[Decimal]:
    return [Decimal(value) for value in values]


def test_the_nearest_pair_goes_first_and_each_stamp_once() -> None:
    depth, poses = stamps("0.00", "0.03", "0.06"), stamps("0.061", "0.028", "0.005", "0.9")
    assert associate(depth, poses, Decimal("0.02")) == {0: 2, 1: 1, 2: 0}
    # 0.01 is nearer to the second, so the first has none left within the tolerance.
    assert associate(stamps("0.00", "0.012"), stamps("0.01"), Decimal("0.02")) == {1: 0}
    assert associate(stamps("0"), stamps("0.02"), Decimal("0.02")) == {0: 0}
    assert associate(stamps("0"), stamps("0.0200001"), Decimal("0.02")) == {}


def test_nanoseconds_are_told_apart() -> None:
    base = 1403636580838555648
    assert associate(stamps(str(base)), stamps(str(base + 200), str(base + 1)), Decimal(300)) == {0: 1}


@given(
    first=st.lists(st.integers(0, 60), unique=True),
    second=st.lists(st.integers(0, 60), unique=True),
    tolerance=st.integers(0, 10),
)
def test_pairs_are_one_to_one_within_the_tolerance_and_none_is_left(
    first: list[int], second: list[int], tolerance: int
) -> None:
    found = associate([Decimal(v) for v in first], [Decimal(v) for v in second], Decimal(tolerance))
    assert len(set(found.values())) == len(found)
    assert all(abs(first[i] - second[j]) <= tolerance for i, j in found.items())
    free_first = [v for i, v in enumerate(first) if i not in found]
    free_second = [v for j, v in enumerate(second) if j not in found.values()]
    assert all(abs(a - b) > tolerance for a in free_first for b in free_second)
