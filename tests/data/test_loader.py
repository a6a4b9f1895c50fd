# SPDX-License-Identifier: Apache-2.0
"""The loader: batches, epochs, its state, resuming, refusals."""

import json
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin.data.order
from rosin.core.random import seed as ambient_seed
from rosin.data.loader import DataLoader
from rosin.data.order import shuffled
from rosin.errors import RangeError, ShapeError, StateError, StructureError

N = 10
X = np.arange(N)
PLACE = {"version": 1, "seed": 3, "length": N, "batch_size": 4, "shuffle": True, "partial": True}


class Pair(NamedTuple):
    x: Any
    label: Any


def loader_of(data=X, batch_size=4, *, shuffle=True, seed=3, **options):
    return DataLoader(data, batch_size=batch_size, shuffle=shuffle, seed=seed, **options)


def lists(batches):
    return [batch.tolist() for batch in batches]


def place(loader):
    return loader.epoch, loader.step


# --- batches --------------------------------------------------------------------------


def test_batches_come_in_order_and_the_last_may_be_smaller():
    loader = DataLoader(X, batch_size=4)
    assert lists(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3


def test_without_partial_the_rest_is_left_out():
    loader = DataLoader(X, batch_size=4, partial=False)
    assert lists(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(loader) == 2


def test_by_default_a_batch_is_one_observation_in_order():
    assert lists(DataLoader(X)) == [[i] for i in range(N)]


def test_a_batch_larger_than_the_data_is_all_of_it():
    assert lists(DataLoader(X, batch_size=99)) == [X.tolist()]


def test_batches_have_the_structure_of_the_data():
    data = Pair(np.arange(2 * N).reshape(N, 2), {"label": jnp.arange(N) * 10})
    batch = next(iter(loader_of(data)))
    assert type(batch) is Pair
    assert batch.x.shape == (4, 2)
    np.testing.assert_array_equal(batch.label["label"], batch.x[:, 0] // 2 * 10)


def test_float64_arrives_as_float32():
    (batch,) = DataLoader(np.full(3, 1 / 3), batch_size=3)
    assert batch.dtype == np.float32


def test_batches_are_new_memory_each_time_and_the_data_is_left_alone():
    data = np.arange(64, dtype=np.float32)
    loader = DataLoader(data, batch_size=32)
    batches = [*loader, *loader]
    for i, batch in enumerate(batches):
        assert not np.shares_memory(batch, data)
        assert not any(np.shares_memory(batch, other) for other in batches[:i])
        batch[:] = -1
    np.testing.assert_array_equal(data, np.arange(64))


def test_batches_handed_to_jax_are_not_changed_by_later_ones():
    data = np.arange(4096, dtype=np.float32)
    handed = [jax.device_put(batch) for batch in DataLoader(data, batch_size=1024)]
    np.testing.assert_array_equal(jnp.concatenate(handed), data)


class Squares:
    """A source that keeps what it is asked for."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return N

    def __getitem__(self, indices):
        self.asked.append(indices)
        return {"square": indices**2}


def test_a_source_is_asked_for_a_batch_of_int64_indices_at_once():
    source = Squares()
    batches = list(DataLoader(source, batch_size=4))
    assert [rows.dtype for rows in source.asked] == [np.int64] * 3
    assert lists(source.asked) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches[2]["square"].tolist() == [64, 81]


# --- the order ------------------------------------------------------------------------


def test_a_shuffled_epoch_is_the_permutation_of_its_seed_and_number():
    loader = loader_of()
    for epoch in range(3):
        expected = shuffled(0, N, length=N, seed=3, stream=epoch)
        np.testing.assert_array_equal(np.concatenate(list(loader)), expected)


def test_each_epoch_has_an_order_of_its_own_and_each_seed():
    loader = loader_of(np.arange(100))
    epochs = [np.concatenate(list(loader)).tolist() for _ in range(3)]
    epochs.append(np.concatenate(list(loader_of(np.arange(100), seed=4))).tolist())
    assert all(sorted(epoch) == list(range(100)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


def test_an_epoch_in_order_is_the_same_each_time():
    loader = DataLoader(X, batch_size=4)
    assert lists(loader) == lists(loader)


def test_without_a_seed_it_is_drawn_from_the_ambient_stream_once():
    with ambient_seed(7):
        a, b = DataLoader(X, shuffle=True), DataLoader(X, shuffle=True)
    with ambient_seed(7):
        again = DataLoader(X, shuffle=True)
    assert a.state["seed"] == again.state["seed"] != b.state["seed"]
    list(a)
    assert a.state["seed"] == again.state["seed"]


def test_nothing_is_drawn_where_a_seed_is_given_or_not_needed(monkeypatch):
    monkeypatch.delattr(rosin.data.order, "draw_seed")
    assert loader_of(seed=5).state["seed"] == 5
    assert DataLoader(X).state["seed"] == 0


# --- epochs and steps -----------------------------------------------------------------


def test_the_position_counts_the_batches_handed_out():
    loader = loader_of()
    assert place(loader) == (0, 0)
    assert [place(loader) for _ in loader] == [(0, 1), (0, 2), (0, 3)]
    assert place(loader) == (1, 0)
    assert [place(loader) for _ in loader] == [(1, 1), (1, 2), (1, 3)]
    assert place(loader) == (2, 0)


def test_epoch_and_step_cannot_be_assigned():
    loader = loader_of()
    for name in ("epoch", "step", "state"):
        with pytest.raises(AttributeError):
            setattr(loader, name, 1)


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_after_a_break_the_next_loop_is_the_next_epoch_from_its_start(taken):
    loader, whole = loader_of(), loader_of()
    list(islice(loader, taken))
    assert place(loader) == (0, taken)
    list(whole)
    assert lists(loader) == lists(whole)
    assert place(loader) == (2, 0)


def test_an_iterator_that_was_never_asked_uses_up_nothing():
    loader = loader_of()
    iter(loader)
    iter(loader)
    assert place(loader) == (0, 0)
    assert lists(loader) == lists(loader_of())


def test_a_second_loop_ends_the_first():
    loader = loader_of()
    first = iter(loader)
    next(first)
    second = iter(loader)
    with pytest.raises(StateError) as caught:
        next(first)
    assert caught.value.expected == "one loop at a time over a loader"
    assert "second DataLoader" in caught.value.fix
    fresh = loader_of()
    list(fresh)
    assert lists(second) == lists(fresh)  # the first one's end did not disturb it
    assert place(loader) == (2, 0)


def test_an_iterator_at_its_end_does_not_move_a_loader_that_began_anew():
    loader = loader_of()
    first = iter(loader)
    list(islice(first, 3))
    iter(loader)
    with pytest.raises(StateError):
        next(first)
    assert place(loader) == (1, 0)


def test_a_loader_beside_itself_is_refused():
    loader = loader_of()
    pairs = zip(loader, loader, strict=True)
    with pytest.raises(StateError):
        next(pairs)


def test_two_loaders_over_the_same_data_are_independent():
    pairs = list(zip(loader_of(), loader_of(), strict=True))
    assert all((a == b).all() for a, b in pairs)


def test_an_error_of_the_source_comes_through_and_its_batch_does_not_count():
    class Broken(Squares):
        def __getitem__(self, indices):
            if 5 in indices:
                raise OSError("disk")
            return indices

    loader = DataLoader(Broken(), batch_size=4)
    with pytest.raises(OSError, match="disk"):
        list(loader)
    assert place(loader) == (0, 1)


# --- state and restore ----------------------------------------------------------------


def test_the_state_is_plain_numbers_that_survive_json():
    loader = loader_of()
    next(iter(loader))
    assert loader.state == {**PLACE, "epoch": 0, "step": 1}
    assert {type(value) for value in loader.state.values()} == {int, bool}
    assert json.loads(json.dumps(loader.state)) == loader.state
    typed = DataLoader(X, batch_size=np.int32(4), shuffle=True, seed=np.uint8(3))
    assert {type(value) for value in typed.state.values()} == {int, bool}


def test_a_state_is_a_snapshot():
    loader = loader_of()
    state = loader.state
    list(loader)
    assert state == {**PLACE, "epoch": 0, "step": 0}
    state["step"] = 99
    assert loader.step == 0


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("stop", range(9))
def test_resuming_gives_exactly_the_batches_that_were_to_come(stop, shuffle, partial):
    def epochs(loader, states):
        while loader.epoch < 3:
            for batch in loader:
                states.append(loader.state)
                yield batch.tolist()

    def loader(seed):
        return loader_of(shuffle=shuffle, partial=partial, seed=seed)

    first, states = loader(3), []
    states.append(first.state)
    whole = list(epochs(first, states))
    stop = min(stop, len(whole))
    resumed = loader(8)
    resumed.restore(states[stop])
    assert place(resumed) == (states[stop]["epoch"], states[stop]["step"])
    assert list(epochs(resumed, [])) == whole[stop:]


def test_resuming_at_the_last_batch_finishes_the_epoch_without_another():
    loader = loader_of()
    states = [loader.state for _ in loader]
    other = loader_of()
    other.restore(states[-1])
    assert lists(other) == []
    assert place(other) == (1, 0)
    assert lists(other) == lists(loader)


def test_only_the_first_loop_after_restore_continues():
    loader = loader_of()
    loader.restore({**PLACE, "epoch": 5, "step": 1})
    assert len(list(islice(loader, 1))) == 1
    assert place(loader) == (5, 2)
    assert len(list(loader)) == 3
    assert place(loader) == (7, 0)


def test_a_loop_that_was_broken_off_can_be_continued():
    loader = loader_of()
    begun = lists(islice(loader, 2))
    loader.restore(loader.state)
    assert begun + lists(loader) == lists(loader_of())


def test_restore_ends_the_running_loop():
    loader = loader_of()
    running = iter(loader)
    next(running)
    loader.restore(loader.state)
    with pytest.raises(StateError, match="restore"):
        next(running)
    assert place(loader) == (0, 1)


def test_a_late_step_of_large_data_is_reached_without_going_through_the_others():
    class Huge(Squares):
        def __len__(self):
            return 10**12

    source = Huge()
    loader = DataLoader(source, batch_size=100, shuffle=True, seed=3)
    loader.restore({**loader.state, "epoch": 2, "step": 9 * 10**9})
    next(iter(loader))
    assert len(source.asked) == 1
    start = 9 * 10**11
    expected = shuffled(start, start + 100, length=10**12, seed=3, stream=2)
    np.testing.assert_array_equal(source.asked[0], expected)


def test_numpy_numbers_restore_as_plain_ones():
    state = {key: np.asarray(value)[()] for key, value in {**PLACE, "epoch": 1, "step": 2}.items()}
    assert isinstance(state["shuffle"], np.bool_)
    loader = loader_of()
    loader.restore(state)
    assert {type(value) for value in loader.state.values()} == {int, bool}


WRONG_VALUES = {
    "another version": ("version", 2, "expected 1, got 2"),
    "a version that is true": ("version", True, "expected 1, got True"),
    "data of another length": ("length", 11, "expected 10, got 11"),
    "another batch size": ("batch_size", 5, "expected 4, got 5"),
    "no shuffle": ("shuffle", False, "expected True, got False"),
    "a shuffle that is a number": ("shuffle", 1, "expected True, got 1"),
    "no partial": ("partial", False, "expected True, got False"),
    "a negative seed": ("seed", -1, "a whole number from 0 to 9223372036854775807, got -1"),
    "a large seed": ("seed", 2**63, "got 9223372036854775808"),
    "a seed of text": ("seed", "3", "got '3'"),
    "no seed": ("seed", None, "got None"),
    "a negative epoch": ("epoch", -1, "got -1"),
    "a fractional epoch": ("epoch", 1.0, "got 1.0"),
    "a large epoch": ("epoch", 2**63, "got 9223372036854775808"),
    "a negative step": ("step", -1, "a whole number from 0 to 3, got -1"),
    "a step beyond the epoch": ("step", 4, "a whole number from 0 to 3, got 4"),
    "a step that is true": ("step", True, "got True"),
    "a step of an array": ("step", np.zeros(2), "got float64[2]"),
    "a length of an array": ("length", np.zeros(2), "got float64[2]"),
}


@pytest.mark.parametrize(("name", "value", "detail"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_a_state_with_a_wrong_value_is_refused_and_changes_nothing(name, value, detail):
    loader = loader_of(seed=8)
    next(iter(loader))
    before = loader.state
    with pytest.raises(RangeError) as caught:
        loader.restore({**PLACE, "epoch": 4, "step": 2, name: value})
    assert caught.value.expected == "a state of a loader with this length and these arguments"
    assert caught.value.got == f"one that differs in {name}"
    assert caught.value.details[0].startswith(f"{name}: expected ")
    assert caught.value.details[0].endswith(detail)
    assert caught.value.subject == repr(loader)
    assert loader.state == before
    assert len(list(loader)) == 3  # and the next loop is a fresh epoch


def test_all_that_is_wrong_with_a_state_is_told_at_once():
    state = {**PLACE, "length": 11, "batch_size": 5, "epoch": -1, "step": 0}
    with pytest.raises(RangeError) as caught:
        loader_of().restore(state)
    assert caught.value.got == "one that differs in length, batch_size, epoch"
    assert len(caught.value.details) == 3


def test_a_state_lacks_no_key_and_has_no_other():
    loader = loader_of()
    with pytest.raises(StructureError) as caught:
        loader.restore({**loader.state, "sede": 3})
    assert caught.value.got == "sede"
    assert "'seed' is the nearest" in caught.value.fix
    state = loader.state
    del state["seed"], state["step"]
    with pytest.raises(StructureError) as caught:
        loader.restore(state)
    assert caught.value.got == "one without seed, step"
    assert "version, seed, length" in caught.value.expected
    with pytest.raises(StructureError, match="keys of a state"):
        loader.restore({**loader.state, 3: 4})


@pytest.mark.parametrize("state", [None, 3, "state", [("version", 1)]])
def test_a_state_is_a_mapping(state):
    with pytest.raises(StructureError, match="state to be of class Mapping"):
        loader_of().restore(state)


# --- arguments ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "4", None])
def test_a_batch_size_that_is_no_whole_number_of_at_least_one_is_refused(size):
    with pytest.raises(RangeError) as caught:
        DataLoader(X, batch_size=size)
    assert caught.value.subject == "DataLoader"
    assert caught.value.expected == "batch_size to be a whole number of at least 1"


def test_a_batch_size_that_would_yield_nothing_is_refused():
    assert len(DataLoader(X, batch_size=N, partial=False)) == 1
    with pytest.raises(RangeError) as caught:
        DataLoader(X, batch_size=N + 1, partial=False)
    assert caught.value.expected == "batch_size of at most 10, the number of observations"
    assert caught.value.got == "11"
    assert caught.value.fix == "pass batch_size=10, or partial=True"


@pytest.mark.parametrize("name", ["shuffle", "partial"])
@pytest.mark.parametrize("value", [1, None, "yes"])
def test_shuffle_and_partial_are_booleans(name, value):
    with pytest.raises(StructureError, match=f"{name} to be of class bool"):
        DataLoader(X, **{name: value})


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_seed_out_of_range_is_refused(seed, shuffle):
    with pytest.raises(RangeError, match="seed to be a whole number"):
        DataLoader(X, shuffle=shuffle, seed=seed)


def test_bad_data_is_refused_in_the_name_of_the_loader():
    with pytest.raises(ShapeError) as caught:
        DataLoader((np.zeros(3), np.zeros(4)))
    assert caught.value.subject == "DataLoader"
    assert caught.value.details == ("data[0]: 3 observations", "data[1]: 4 observations")


# --- printing -------------------------------------------------------------------------


def test_printing_shows_the_call_that_builds_the_loader():
    assert repr(DataLoader(X)) == "DataLoader(int64[10], batch_size=1)"
    shown = "DataLoader((int64[10], {'x': int64[10]}), batch_size=4, shuffle=True, seed=3"
    assert repr(loader_of((X, {"x": X}))) == shown + ")"
    assert repr(loader_of((X, {"x": X}), partial=False)) == shown + ", partial=False)"
    assert repr(DataLoader(Squares())).startswith("DataLoader(<")
