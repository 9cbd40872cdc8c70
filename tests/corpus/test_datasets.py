from __future__ import annotations

import copy
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from depthforge.corpus.datasets import CorpusDataset, CorpusStream, Sample, stream_order
from depthforge.corpus.schema import CorpusSchema
from depthforge.encoding import DepthEncoding
from depthforge.errors import InputError, UnknownNameError
from tests.corpus.corpora import FIELDS, HEIGHT, WIDTH, build, clean_mm, make_frame, metres, noisy_mm, ref

EVERYTHING = ("depth_noisy", "depth_clean", *(spec.name for spec in FIELDS))


@pytest.fixture(scope="module", autouse=True)
def warm_fork_server() -> None:
    """Import torch once, and not for each worker that starts from nothing."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["depthforge.corpus.datasets", "pytest"])


def stream(corpus: Path, **options: Any) -> CorpusStream:
    return CorpusStream(corpus, "train", ("depth_noisy",), **{"seed": 0, "rank": 0, "world_size": 1, **options})


def keys(items: Any) -> list[str]:
    found: list[str] = []
    for item in items:
        found += [item["key"]] if isinstance(item["key"], str) else item["key"]
    return found


def loader_of(frames: CorpusStream, num_workers: int, start: str | None, persistent: bool) -> DataLoader[Sample]:
    return DataLoader(
        frames,
        batch_size=None,
        num_workers=num_workers,
        multiprocessing_context=start,
        persistent_workers=persistent,
        timeout=60 if num_workers else 0,
    )


def broken_off(frames: CorpusStream, loader: DataLoader[Sample], after: int) -> dict[str, Any]:
    """Return the state of a pass that ends after so many items."""
    for count, item in enumerate(loader, 1):
        if count == after:
            return frames.state_dict(item)
    raise AssertionError("the pass is too short")


def number_of(key: str) -> int:
    return int(key.rsplit("/", 1)[1])


def test_a_sample_is_tensors_in_metres_with_a_mask(corpus: Path) -> None:
    dataset = CorpusDataset(corpus, "train", EVERYTHING)
    sample = next(dataset[i] for i in range(len(dataset)) if dataset[i]["key"] == ref(5).key)
    frame = make_frame(5)
    assert sample["depth_noisy"].dtype == sample["depth_clean"].dtype == torch.float32
    np.testing.assert_array_equal(sample["depth_noisy"].numpy(), metres(noisy_mm(5))[None])
    np.testing.assert_array_equal(sample["depth_noisy_valid"].numpy(), (noisy_mm(5) > 0)[None])
    np.testing.assert_array_equal(sample["depth_clean"].numpy(), metres(clean_mm(5))[None])
    assert sample["rgb"].dtype == torch.uint8
    np.testing.assert_array_equal(sample["rgb"].numpy(), frame.rgb.transpose(2, 0, 1))  # type: ignore[union-attr]
    assert sample["semantic"].dtype == torch.int32
    np.testing.assert_array_equal(sample["semantic"].numpy(), frame.labels["semantic"])
    assert sample["object_id"].dtype == torch.int64
    np.testing.assert_array_equal(sample["object_id"].numpy(), frame.labels["object_id"])
    np.testing.assert_allclose(sample["normals"].numpy(), frame.labels["normals"].transpose(2, 0, 1) / 32767, atol=1e-7)
    np.testing.assert_array_equal(sample["K"].numpy(), frame.camera.K)
    np.testing.assert_array_equal(sample["T_world_cam"].numpy(), frame.T_world_cam)
    assert sample["has_rgb"]
    assert not dataset[3]["has_rgb"]
    assert not dataset[3]["rgb"].any()


def test_float32_depth_gives_the_same_tensors(tmp_path: Path, corpus: Path) -> None:
    schema = CorpusSchema(HEIGHT, WIDTH, FIELDS, DepthEncoding(dtype="float32"), shard_frames=4)
    other = CorpusDataset(build(tmp_path, schema=schema), "train")
    for mine, theirs in zip(CorpusDataset(corpus, "train"), other, strict=True):  # type: ignore[call-overload]
        torch.testing.assert_close(mine["depth_noisy"], theirs["depth_noisy"], rtol=2e-7, atol=0)
        assert torch.equal(mine["depth_noisy_valid"], theirs["depth_noisy_valid"])


@pytest.mark.parametrize("transform", [None, dict], ids=["plain", "with a transform"])
@pytest.mark.parametrize("fields", [("depth_noisy", "semantic"), EVERYTHING], ids=["images", "ragged too"])
def test_a_batch_is_its_samples_stacked(corpus: Path, fields: tuple[str, ...], transform: Any) -> None:
    dataset = CorpusDataset(corpus, "train", fields, transform)
    batch = next(iter(DataLoader(dataset, batch_size=6, collate_fn=dataset.collate)))
    samples = [dataset[i] for i in range(6)]
    assert batch["key"] == [sample["key"] for sample in samples]
    for name in fields:
        if name.startswith("object"):
            offsets = batch[f"{name}_offsets"].tolist()
            assert offsets == [0, *np.cumsum([len(sample[name]) for sample in samples])]
            assert torch.equal(batch[name], torch.cat([sample[name] for sample in samples]))
        else:
            assert torch.equal(batch[name], torch.stack([sample[name] for sample in samples]))


def test_threads_change_nothing(corpus: Path) -> None:
    one, many = (CorpusDataset(corpus, "train", EVERYTHING, num_threads=n).read_batch(range(9)) for n in (1, 4))
    assert one.keys() == many.keys()
    for name, value in one.items():
        assert value == many[name] if name == "key" else torch.equal(value, many[name])


def read_in_worker(sample: Sample) -> Sample:
    return {"key": sample["key"], "sum": sample["depth_noisy"].sum()}


@pytest.mark.parametrize(("method", "num_workers"), [("fork", 2), ("forkserver", 2), ("spawn", 1)])
def test_workers_of_every_kind_read_after_the_parent_has_read(corpus: Path, method: str, num_workers: int) -> None:
    dataset = CorpusDataset(corpus, "train", ("depth_noisy",), read_in_worker)
    expected = [float(dataset[i]["sum"]) for i in range(len(dataset))]
    loader = DataLoader(dataset, batch_size=4, num_workers=num_workers, multiprocessing_context=method, timeout=60)
    assert [float(value) for batch in loader for value in batch["sum"]] == expected


def test_a_threaded_dataset_survives_a_fork(corpus: Path) -> None:
    dataset = CorpusDataset(corpus, "train", ("depth_noisy",), num_threads=2)
    expected = dataset.read_batch(range(4))["depth_noisy"]
    loader = DataLoader(
        dataset, batch_size=4, num_workers=2, multiprocessing_context="fork", collate_fn=dataset.collate, timeout=60
    )
    assert torch.equal(next(iter(loader))["depth_noisy"], expected)


@pytest.mark.parametrize("shuffle", ["none", "blocks", "full"])
def test_an_order_is_a_function_of_seed_and_epoch(shuffle: Any) -> None:
    order = stream_order(100, shuffle, seed=1, epoch=2, block_frames=8)
    assert sorted(order.tolist()) == list(range(100))
    np.testing.assert_array_equal(order, stream_order(100, shuffle, seed=1, epoch=2, block_frames=8))
    if shuffle != "none":
        for seed, epoch in ((1, 3), (2, 2)):
            assert not np.array_equal(order, stream_order(100, shuffle, seed=seed, epoch=epoch, block_frames=8))
    if shuffle == "blocks":
        blocks = {tuple(sorted(order[i : i + 8].tolist())) for i in range(0, 100, 8)}
        assert {block for block in blocks if len(block) == 8} <= {
            tuple(range(i, i + 8)) for i in range(0, 96, 8)
        } | blocks
        runs = order // 8
        assert (np.diff(runs) != 0).sum() == 12  # each block is read as a whole


@pytest.mark.parametrize("shuffle", ["none", "blocks", "full"])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_items_do_not_depend_on_the_number_of_workers(corpus: Path, shuffle: Any, batch_size: int | None) -> None:
    frames = stream(corpus, shuffle=shuffle, batch_size=batch_size, block_frames=3)
    alone = list(DataLoader(frames, batch_size=None))
    frames = stream(corpus, shuffle=shuffle, batch_size=batch_size, block_frames=3)
    loader = DataLoader(frames, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    shared = list(loader)
    assert keys(alone) == keys(shared)
    assert [item["item"] for item in shared] == list(range(len(frames)))
    assert all(torch.equal(a["depth_noisy"], b["depth_noisy"]) for a, b in zip(alone, shared, strict=True))


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_every_rank_has_equally_many_frames(corpus: Path, world_size: int) -> None:
    total = len(CorpusDataset(corpus, "train"))
    for uneven, length in (("drop", total // world_size), ("wrap", -(-total // world_size))):
        ranks = [
            keys(stream(corpus, rank=rank, world_size=world_size, uneven=uneven, shuffle="full"))
            for rank in range(world_size)
        ]
        assert {len(part) for part in ranks} == {length}
        seen = [key for part in ranks for key in part]
        if uneven == "drop":
            assert len(set(seen)) == len(seen) == length * world_size
        else:
            assert len(set(seen)) == total


def test_ranks_together_follow_one_order(corpus: Path) -> None:
    whole = keys(stream(corpus, shuffle="full"))
    first, second = (keys(stream(corpus, shuffle="full", rank=rank, world_size=2)) for rank in (0, 1))
    assert [key for pair in zip(first, second, strict=True) for key in pair] == whole[: len(first) * 2]


def test_epochs_differ_and_repeat(corpus: Path) -> None:
    frames = stream(corpus, shuffle="full")
    zero = keys(frames)
    assert keys(frames) == zero
    frames.set_epoch(1)
    one = keys(frames)
    assert one != zero
    assert sorted(one) == sorted(zero)
    frames.set_epoch(0)
    assert keys(frames) == zero


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_an_epoch_goes_on_where_it_was_left(corpus: Path, num_workers: int, batch_size: int | None) -> None:
    options: dict[str, Any] = {"shuffle": "full", "batch_size": batch_size, "seed": 5}
    whole = stream(corpus, **options)
    whole.set_epoch(3)
    expected = [item["key"] for item in whole]
    first = stream(corpus, **options)
    first.set_epoch(3)
    taken = []
    state: dict[str, Any] = {}
    for item in DataLoader(first, batch_size=None, num_workers=num_workers, timeout=60 if num_workers else 0):
        taken.append(item["key"])
        if len(taken) == 2:
            state = pickle.loads(pickle.dumps(first.state_dict(item)))
            break
    second = stream(corpus, **options)
    second.load_state_dict(state)
    second.set_epoch(3)  # as a training loop does at the start of each epoch
    rest = [item["key"] for item in DataLoader(second, batch_size=None, num_workers=num_workers)]
    assert taken + rest == expected


def test_without_workers_the_stream_knows_its_own_position(corpus: Path) -> None:
    frames = stream(corpus)
    expected = keys(stream(corpus))
    iterator = iter(frames)
    assert [next(iterator)["key"], next(iterator)["key"]] == expected[:2]
    other = stream(corpus)
    other.load_state_dict(frames.state_dict())
    assert keys(other) == expected[2:]


def test_persistent_workers_follow_set_epoch(corpus: Path) -> None:
    frames = stream(corpus, shuffle="full", batch_size=2)
    loader = DataLoader(frames, batch_size=None, num_workers=2, persistent_workers=True, timeout=60)
    zero = keys(loader)
    frames.set_epoch(1)
    one = keys(loader)
    alone = stream(corpus, shuffle="full", batch_size=2)
    assert zero == keys(alone)
    alone.set_epoch(1)
    assert one == keys(alone)


@pytest.mark.parametrize(
    ("num_workers", "start", "persistent"),
    [
        (0, None, False),
        (1, "fork", True),
        (2, "fork", False),
        (2, "fork", True),
        (1, "forkserver", False),
        (2, "forkserver", True),
    ],
)
def test_only_the_first_pass_after_loading_is_the_rest_of_the_epoch(
    corpus: Path, num_workers: int, start: str | None, persistent: bool
) -> None:
    whole = stream(corpus, shuffle="full", batch_size=3)
    zero = keys(whole)
    whole.set_epoch(1)
    one = keys(whole)
    frames = stream(corpus, shuffle="full", batch_size=3)
    frames.load_state_dict({**frames.state_dict(), "next_item": 1})
    loader = loader_of(frames, num_workers, start, persistent)
    frames.set_epoch(0)
    assert keys(loader) == zero[3:]
    assert keys(loader) == zero
    if start == "forkserver" and not persistent:
        return  # each pass starts a Python of its own
    frames.set_epoch(0)
    assert keys(loader) == zero
    frames.set_epoch(1)
    assert keys(loader) == one
    assert keys(loader) == one


@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_a_pass_that_is_broken_off_can_be_saved_and_loaded_again(
    corpus: Path, num_workers: int, persistent: bool
) -> None:
    frames = stream(corpus, shuffle="full")
    expected = keys(frames)
    frames = stream(corpus, shuffle="full")
    loader = loader_of(frames, num_workers, "fork" if num_workers else None, persistent)
    state = broken_off(frames, loader, after=4)
    frames.load_state_dict(state)
    state = broken_off(frames, loader, after=5)
    assert state["next_item"] == 9
    assert keys(loader) == expected, "what was broken off is no position of the next pass"
    frames.load_state_dict(state)
    assert keys(loader) == expected[9:]
    assert keys(loader) == expected


def test_passes_of_one_torch_seed_are_told_apart(corpus: Path) -> None:
    frames = stream(corpus)
    frames.load_state_dict({**frames.state_dict(), "next_item": 7})
    lengths = []
    for _ in range(2):
        torch.manual_seed(0)
        lengths.append(len(keys(loader_of(frames, 2, "fork", persistent=False))))
    assert lengths == [len(frames) - 7, len(frames)]


def test_another_number_of_workers_starts_a_whole_pass(corpus: Path) -> None:
    frames = stream(corpus)
    expected = keys(frames)
    frames.load_state_dict({**stream(corpus).state_dict(), "next_item": 7})
    assert keys(loader_of(frames, 1, "fork", persistent=False)) == expected[7:]
    assert keys(loader_of(frames, 2, "fork", persistent=False)) == expected
    assert keys(frames) == expected


def test_the_position_of_workers_is_known_by_their_items_alone(corpus: Path) -> None:
    frames = stream(corpus)
    item = list(loader_of(frames, 2, "fork", persistent=False))[4]
    with pytest.raises(InputError, match="last item"):
        frames.state_dict()
    assert frames.state_dict(item)["next_item"] == 5


def test_a_position_is_of_the_epoch_of_its_item(corpus: Path) -> None:
    frames = stream(corpus)
    frames.set_epoch(3)
    item = next(iter(frames))
    frames.set_epoch(4)
    state = frames.state_dict(item)
    assert (state["epoch"], state["next_item"]) == (3, 1)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda frames: pickle.loads(pickle.dumps(frames))])
def test_a_copied_stream_reaches_its_persistent_workers(corpus: Path, copied: Any) -> None:
    frames = copied(stream(corpus, shuffle="full"))
    loader = loader_of(frames, 1, "fork", persistent=True)
    zero = keys(loader)
    frames.set_epoch(1)
    assert sorted(one := keys(loader)) == sorted(zero)
    assert one != zero


def test_a_position_of_something_else_is_refused(corpus: Path) -> None:
    state = stream(corpus, shuffle="full").state_dict()
    for changed in ({"shuffle": "none"}, {"shuffle": "full", "seed": 1}, {"shuffle": "full", "batch_size": 4}):
        with pytest.raises(InputError, match="the saved position is of another"):
            stream(corpus, **changed).load_state_dict(state)


@pytest.mark.parametrize(
    "options", [{"rank": 2, "world_size": 2}, {"rank": -1}, {"shuffle": "some"}, {"uneven": "pad"}, {"block_frames": 0}]
)
def test_a_split_that_makes_no_sense_is_refused(corpus: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        stream(corpus, **options)


def test_fewer_frames_than_ranks_are_refused_unless_wrapped(corpus: Path) -> None:
    with pytest.raises(InputError, match="enough frames"):
        stream(corpus, rank=0, world_size=100)
    assert len(keys(stream(corpus, rank=99, world_size=100, uneven="wrap"))) == 1


def test_unknown_fields_and_splits_are_refused(corpus: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown field"):
        CorpusDataset(corpus, "train", ("depth_nosy",))
    with pytest.raises(UnknownNameError, match="unknown split"):
        CorpusDataset(corpus, "test")
