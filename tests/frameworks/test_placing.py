"""Tensors of a capture on the CPU: what they hold, what they share, and the memory that is used again."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import hypertuner  # noqa: E402
from hypertuner.errors import CheckpointError  # noqa: E402
from hypertuner.frameworks.torch.placing import place  # noqa: E402
from hypertuner.frameworks.torch.staging import Memory, Staging  # noqa: E402

DTYPES = (torch.float32, torch.bfloat16, torch.int64, torch.bool)


@st.composite
def views(draw):
    """(which base it is of, offset, shape, stride, dtype): what a tensor sees of one of three storages."""
    base = draw(st.integers(0, 2))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    stride = tuple(draw(st.permutations([1, 5, 25][: len(shape)])))
    return base, draw(st.integers(0, 40)), shape, stride, draw(st.sampled_from(DTYPES))


def made(bases, described):
    tensors = []
    for base, offset, shape, stride, dtype in described:
        tensors.append(torch.as_strided(bases[base].view(dtype), shape, stride, offset))
    return tensors


def bases_of(sizes):
    return [torch.randint(0, 2, (size * 8,), dtype=torch.uint8) for size in sizes]


def sharing(tensors):
    """Which of them share memory: pairs of numbers. torch.save keeps one storage a dtype."""
    found = set()
    for one, first in enumerate(tensors):
        for other, second in enumerate(tensors):
            if first.numel() and second.numel() and first.dtype == second.dtype:
                there = first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
                if there and overlap(first, second):
                    found.add((one, other))
    return found


def overlap(first, second):
    def span(tensor):
        start = tensor.data_ptr()
        reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        return start, start + (reach + 1) * tensor.element_size()

    (start, end), (begin, stop) = span(first), span(second)
    return start < stop and begin < end


@given(
    st.lists(st.tuples(st.tuples(*[st.integers(160, 220)] * 3), st.lists(views(), max_size=6)), min_size=1, max_size=4),
    st.booleans(),
)
def test_every_capture_holds_what_the_tensors_held_and_shares_what_they_shared(captures, copy):
    pool = Staging()
    for sizes, described in captures:
        for _ in range(2):  # the second one finds the first one's plan
            bases = bases_of(sizes)
            tensors = made(bases, described)
            wanted = [tensor.clone() for tensor in tensors]
            stage = pool.stage()
            placed = place(tensors, stage, copy=copy)
            if copy:
                for base in bases:
                    base.fill_(1)
            stage.finish()
            assert len(placed) == len(tensors)
            for one, other in zip(placed, wanted, strict=True):
                assert one.dtype == other.dtype and one.shape == other.shape
                assert torch.equal(one, other)
            assert sharing(placed) == sharing(tensors)
            assert [one.stride() for one in placed if one.numel() > 1] == [
                one.stride() for one in tensors if one.numel() > 1
            ]
            stage.release()


def test_tensors_that_are_tied_later_are_tied_in_the_next_capture():
    pool = Staging()
    first, second = torch.ones(300), torch.zeros(300)
    for pair in ((first, second), (first, first), (second, first)):
        stage = pool.stage()
        one, other = place(pair, stage, copy=True)
        is_tied = one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
        assert is_tied == (pair[0] is pair[1])
        assert torch.equal(one, pair[0]) and torch.equal(other, pair[1])
        stage.release()


@pytest.mark.parametrize("copy", [True, False])
def test_a_model_that_is_gone_is_not_kept_in_memory_for_the_next_capture(copy):
    numpy = pytest.importorskip("numpy")
    pool, array = Staging(), numpy.ones(4000)
    held = weakref.ref(array)
    stage = pool.stage()
    tensor = torch.from_numpy(array)
    placed = place([tensor, tensor[:3].to_sparse(), torch.empty(0)], stage, copy=copy)
    stage.finish()
    stage.release()
    del array, tensor, placed
    gc.collect()
    assert held() is None


def test_memory_is_cut_anew_out_of_what_is_there():
    memory = Memory(locked=False)
    first = memory.cut([100_000, 50_000])
    assert [(region.memory, region.start) for region in memory.cut([100_000, 50_000])] == [
        (region.memory, region.start) for region in first
    ]
    more = memory.cut([100_000, 50_000, 7_000_000, 1])
    assert (more[0].memory, more[1].memory) == (first[0].memory, first[0].memory)
    storages = [region.at(0, region.nbytes) for region in more]
    for number, storage in enumerate(storages):
        storage.fill_(number)
    assert [set(storage.tolist()[:: max(1, storage.nbytes() // 100)]) for storage in storages] == [{0}, {1}, {2}, {3}]


def test_memory_that_cannot_be_had_is_said_with_what_to_do():
    with pytest.raises(CheckpointError, match=r"(?s)no memory for a copy of 1.2e\+09 GB.*background=False"):
        Memory(locked=False).cut([1 << 60])


class OwnState(torch.nn.Linear):
    def state_dict(self):
        return {f"own.{name}": tensor.detach() for name, tensor in super().state_dict().items()}


def hooked() -> torch.nn.Module:
    net = torch.nn.Linear(2, 3)
    net._register_state_dict_hook(
        lambda module, state, *_: state.update({"weight": torch.from_numpy(state["weight"].numpy() + 1)})
    )
    return net


@pytest.mark.parametrize("make", [lambda: OwnState(2, 3), hooked], ids=["state_dict of its own", "hook"])
def test_a_model_whose_state_is_made_in_its_own_way_is_saved_as_it_says(storage, make):
    net = make()
    with hypertuner.new_run(name="r"):
        hypertuner.Saver(net).save(step=0)
    saved, wanted = torch.load(storage / "r/model.pt")["state_dict"], net.state_dict()
    assert saved.keys() == wanted.keys()
    assert all(torch.equal(saved[name], wanted[name]) for name in wanted)


def test_memory_that_cannot_be_prepared_is_no_trouble_until_it_is_needed():
    pool = Staging()
    pool.prepare([1 << 60], 0)  # a thread that died of it would be a warning, which fails the test
    stage = pool.stage()
    assert torch.equal(place([torch.ones(3)], stage, copy=True)[0], torch.ones(3))
