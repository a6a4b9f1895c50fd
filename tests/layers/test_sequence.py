# SPDX-License-Identifier: Apache-2.0
"""Recurrence over cells of any kind, and Bidirectional."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from tests.programs import size

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(0, 1, (3, 5, 2)).astype(np.float32)
LENGTHS = [5, 2, 4]
MASK = np.arange(5) < np.array(LENGTHS)[:, None]


class Leaky(rs.Module):
    """A user's cell: its state is a dict, its output something else."""

    weight: rs.Array
    rate: rs.Array

    def __call__(self, x, state):
        mean = (1 - self.rate) * state["mean"] + self.rate * (x @ self.weight)
        return jnp.tanh(mean).sum(axis=-1), {"mean": mean, "steps": state["steps"] + 1}

    def initial_state(self, batch_shape=()):
        return {"mean": jnp.zeros((*batch_shape, 4)), "steps": jnp.zeros(batch_shape, jnp.int32)}


class Noisy(rs.Module):
    """A cell with a Dropout and a BatchNorm inside."""

    inner: rs.RNNCell
    dropout: rs.Dropout
    norm: rs.BatchNorm

    def __call__(self, x, state):
        y, state = self.inner(self.norm(x), state)
        return self.dropout(y), state


def leaky():
    return Leaky(jax.random.normal(KEY, (2, 4)), jnp.full(4, 0.3))


def noisy():
    return Noisy(rs.RNNCell(2, 4, key=KEY), rs.Dropout(0.5, key=KEY), rs.BatchNorm(2))


def leaky_by_hand(cell, x):
    mean, outputs = np.zeros(4), []
    for step in x:
        mean = (1 - 0.3) * mean + 0.3 * (step @ np.asarray(cell.weight))
        outputs.append(np.tanh(mean).sum())
    return np.array(outputs), mean


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_a_cell_of_your_own_goes_through_ragged_sequences(reverse):
    cell = leaky()
    layer = rs.Recurrence(cell, reverse=reverse, return_state=True)
    y, last = jax.jit(lambda m, x: m(x, lengths=np.array(LENGTHS)))(layer, X)
    assert y.shape == (3, 5)
    np.testing.assert_array_equal(last["steps"], LENGTHS)
    for row, length in enumerate(LENGTHS):
        x = X[row, :length]
        expected, mean = leaky_by_hand(cell, x[::-1] if reverse else x)
        np.testing.assert_allclose(
            y[row, :length], expected[::-1] if reverse else expected, rtol=1e-5
        )
        assert not y[row, length:].any()
        np.testing.assert_allclose(last["mean"][row], mean, rtol=1e-5)


@pytest.mark.parametrize("build", [rs.RNNCell, rs.LSTMCell, rs.GRUCell, rs.GRUv3Cell])
def test_the_fused_path_and_step_by_step_agree(build):
    cell = build(2, 4, key=KEY)
    fused = rs.Recurrence(cell, return_state=True)
    stepped = rs.Recurrence(Wrapped(cell), return_state=True)
    y, last = fused(X, lengths=LENGTHS)
    z, end = stepped(X, lengths=LENGTHS)
    np.testing.assert_allclose(y, z, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), last, end)
    backward = rs.Recurrence(Wrapped(cell), reverse=True)(X, lengths=LENGTHS)
    np.testing.assert_allclose(
        rs.Recurrence(cell, reverse=True)(X, lengths=LENGTHS), backward, rtol=1e-5, atol=1e-6
    )


class Wrapped(rs.Module):
    """Hides what a cell is, so that it is taken step by step."""

    cell: rs.Module

    def __call__(self, x, state):
        return self.cell(x, state)

    def initial_state(self, batch_shape=()):
        return self.cell.initial_state(batch_shape)


def test_a_function_needs_a_state_to_begin_with():
    layer = rs.Recurrence(lambda x, total: (x + total, x + total))
    np.testing.assert_allclose(layer(X, jnp.zeros((3, 2))), X.cumsum(axis=1), rtol=1e-5, atol=1e-6)
    with pytest.raises(rs.StructureError) as caught:
        layer(X)
    assert caught.value.expected == "a state to begin with"


def test_a_state_without_the_batch_serves_all_of_it():
    layer = rs.Recurrence(leaky(), return_state=True)
    one = {"mean": np.full(4, 0.5, np.float32), "steps": 7}
    each = {"mean": np.full((3, 4), 0.5, np.float32), "steps": np.full(3, 7)}
    y, last = layer(X, one)
    np.testing.assert_array_equal(y, layer(X, each)[0])
    np.testing.assert_array_equal(last["steps"], [12, 12, 12])


# --- recording -------------------------------------------------------------------------


def test_what_a_cell_records_goes_from_step_to_step():
    layer = rs.Recurrence(noisy())
    state = jnp.zeros((3, 4))
    y, after = rs.recording(lambda m: m(X, state), layer)

    def by_hand(m):
        total, outputs = state, []
        for t in range(5):
            y, total = m.cell(X[:, t], total)
            outputs.append(y)
        return jnp.stack(outputs, 1)

    expected, expected_after = rs.recording(by_hand, layer)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert after.cell.dropout.key == expected_after.cell.dropout.key
    assert after.cell.dropout.key != layer.cell.dropout.key
    np.testing.assert_allclose(
        after.cell.norm.running_mean, expected_after.cell.norm.running_mean, rtol=1e-5
    )
    masks = np.asarray(y == 0)
    assert len({masks[:, t].tobytes() for t in range(5)}) > 1


def test_recorded_state_comes_back_with_the_gradient_and_the_model_trains():
    layer = rs.Recurrence(noisy(), return_state=True)
    state = jnp.zeros((3, 4))
    _, grads, after = rs.withgradient(lambda m: (m(X, state)[0] ** 2).mean(), layer)
    assert after.return_state
    assert grads.cell.inner.weight.any()
    assert after.cell.norm.running_mean.any()


def test_the_program_does_not_grow_with_time():
    def loss(model, x):
        return (model(x, jnp.zeros((3, 4))) ** 2).sum()

    def taken(model, x):
        return rs.withgradient(loss, model, x)

    short, long = (np.zeros((3, time, 2), np.float32) for time in (5, 50))
    layer = rs.Recurrence(noisy())
    assert size(taken, layer, short) == size(taken, layer, long)


# --- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "kind", "expected"),
    [
        (lambda x, s: x + s, rs.StructureError, "the cell to return a pair"),
        (lambda x, s: (x, s[:, :1]), rs.ShapeError, "a state like that of the cell, float32[3,1]"),
        (lambda x, s: (x, (s, s)), rs.ShapeError, "(float32[3,2], float32[3,2])"),
        (lambda x, s: (x, s.astype(jnp.float16)), rs.ShapeError, "float16[3,2]"),
        (lambda x, s: (x.sum(), s), rs.ShapeError, "the batch axes (3,) first"),
    ],
)
def test_what_a_cell_returns_is_checked(cell, kind, expected):
    model = rs.Chain(rs.Recurrence(cell))
    with pytest.raises(kind) as caught:
        jax.jit(lambda x: model(x, jnp.zeros((3, 2))))(X)
    assert expected in caught.value.expected
    assert caught.value.where == ".layers[0]"


def test_a_state_unlike_the_first_state_is_refused():
    layer = rs.Recurrence(leaky())
    for state in (jnp.zeros(4), {"mean": jnp.zeros(3), "steps": 0}):
        with pytest.raises(rs.ShapeError) as caught:
            layer(X, state)
        assert "float32[3,4]" in caught.value.expected


def test_an_error_inside_the_cell_says_where_it_is():
    model = rs.Chain(rs.Recurrence(Wrapped(rs.GRUCell(2, 3, key=KEY))))
    with pytest.raises(rs.ShapeError) as caught:
        model(X[..., :1])
    assert caught.value.where == ".layers[0].cell.cell"


@pytest.mark.parametrize("build", [rs.Recurrence, lambda c: rs.Bidirectional(c, c)])
def test_what_cannot_be_called_is_refused(build):
    with pytest.raises(rs.StructureError, match="callable"):
        build(3)
    with pytest.raises(rs.StructureError, match="build it"):
        build(rs.GRUCell)


# --- two directions --------------------------------------------------------------------


def test_both_directions_begin_at_the_ends_of_each_sequence():
    forward, backward = rs.GRUCell(2, 3, key=KEY), rs.GRUCell(2, 3, key=jax.random.key(1))
    layer = rs.Bidirectional(forward, backward, return_state=True)
    y, (first, second) = layer(X, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        x = X[row, :length]
        a, end = rs.Recurrence(forward, return_state=True)(x)
        b, other = rs.Recurrence(backward, return_state=True)(x[::-1])
        expected = jnp.concatenate([a, b[::-1]], axis=-1)
        np.testing.assert_allclose(y[row, :length], expected, rtol=1e-5, atol=1e-6)
        assert not y[row, length:].any()
        np.testing.assert_allclose(first[row], end, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(second[row], other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        (jnp.add, lambda a, b: a + b),
        (jnp.multiply, lambda a, b: a * b),
        (lambda a, b: (a + b) / 2 + 1, lambda a, b: (a + b) / 2 + 1),
    ],
)
def test_merge_says_how_the_outputs_are_put_together(merge, expected):
    parts = rs.GRU(2, 3, layers=2, key=KEY), rs.LSTM(2, 3, key=KEY)
    y = rs.Bidirectional(*parts, merge=merge)(X, lengths=LENGTHS)
    a = parts[0](X, lengths=LENGTHS)
    flipped = np.zeros_like(X)
    for row, length in enumerate(LENGTHS):
        flipped[row, :length] = X[row, :length][::-1]
    b = np.zeros_like(a)
    for row, length in enumerate(LENGTHS):
        b[row, :length] = parts[1](flipped, lengths=LENGTHS)[row, :length][::-1]
    np.testing.assert_allclose(
        y, np.where(MASK[..., None], expected(a, b), 0), rtol=1e-5, atol=1e-6
    )


def test_states_go_in_as_they_came_out():
    layer = rs.Bidirectional(
        rs.LSTMCell(2, 3, key=KEY), rs.GRUCell(2, 3, key=KEY), return_state=True
    )
    _, last = layer(X)
    y, _ = layer(X, last)
    assert y.shape == (3, 5, 6)
    with pytest.raises(rs.StructureError) as caught:
        layer(X, last[0] + (last[1],))
    assert caught.value.expected == "a state with 2 parts, one for each direction"


def test_sizes_are_filled_in_from_an_example():
    model = rs.Chain(
        rs.RNN(rs.auto, 8, layers=2, bidirectional=True),
        rs.Bidirectional(rs.RNNCell(rs.auto, 3), rs.GRUCell(rs.auto, 5)),
    )
    built = rs.autosize(model, (2, 7, 3))
    assert built[0].layers[1].forward.cell.in_size == 16
    assert built[1].backward.cell.in_size == 16
    assert rs.outputsize(built, (2, 7, 3)) == (2, 7, 8)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (rs.Recurrence(rs.GRUCell(2, 3, key=KEY)), "Recurrence(GRUCell(2, 3))"),
        (
            rs.Recurrence(jnp.add, reverse=True, return_state=True),
            "Recurrence(add, reverse=True, return_state=True)",
        ),
        (
            rs.Bidirectional(rs.GRUCell(2, 3, key=KEY), rs.GRU(2, 3, key=KEY)),
            "Bidirectional(GRUCell(2, 3), GRU(2, 3))",
        ),
        (
            rs.Bidirectional(rs.GRUCell(2, 3, key=KEY), rs.GRU(2, 3, key=KEY), merge=jnp.add),
            "Bidirectional(GRUCell(2, 3), GRU(2, 3), merge=add)",
        ),
    ],
)
def test_layers_print_as_the_call_that_builds_them(layer, text):
    assert repr(layer) == text
