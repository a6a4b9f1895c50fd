# SPDX-License-Identifier: Apache-2.0
"""The cells: one step, the state they hand on, and what Flux pins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(0, 1, (5, 3, 2)).astype(np.float32)  # time first
CELLS = [rs.RNNCell, rs.LSTMCell, rs.GRUCell, rs.GRUv3Cell]
every_cell = pytest.mark.parametrize("build", CELLS)


def moved(cell):
    """Move all parameters off their start values."""
    flat, rebuild = rs.destructure(cell)
    return rebuild(flat + 0.1 * jnp.cos(jnp.arange(flat.size)))


@every_cell
def test_the_output_is_the_state(build):
    y, state = build(2, 4, key=KEY)(X[0])
    np.testing.assert_array_equal(y, state[0] if build is rs.LSTMCell else state)


@every_cell
def test_the_default_state_is_zeros_and_a_vector_serves_the_whole_batch(build):
    cell = moved(build(2, 4, key=KEY))
    y, _ = cell(X[0])
    pair = (lambda s: (s, s)) if build is rs.LSTMCell else (lambda s: s)
    for state in (cell.initial_state(), cell.initial_state((3,)), pair(np.zeros(4, "f4"))):
        np.testing.assert_array_equal(cell(X[0], state)[0], y)
    one, _ = cell(X[0, 0])
    np.testing.assert_allclose(one, y[0], rtol=1e-6, atol=1e-7)


def loop(cell, x):
    state, outputs = cell.initial_state(x.shape[1:-1]), []
    for step in x:
        y, state = cell(step, state)
        outputs.append(y)
    return jnp.stack(outputs)


def comprehension(cell, x):
    state = cell.initial_state(x.shape[1:-1])
    return jnp.stack([(y, state := new)[0] for y, new in (cell(step, state) for step in x)])


def scanned(cell, x):
    def step(state, x):
        y, state = cell(x, state)
        return state, y

    return jax.lax.scan(step, cell.initial_state(x.shape[1:-1]), x)[1]


def lifted(cell, x):
    return jnp.moveaxis(rs.Recurrence(cell)(jnp.moveaxis(x, 0, 1)), 1, 0)


@pytest.mark.parametrize("build", [rs.LSTMCell, rs.GRUCell])
def test_every_way_to_write_the_loop_has_the_same_values_and_gradients(build):
    cell = moved(build(2, 4, trainable_state=True, key=KEY))

    @jax.jit
    def taken(cell, x):
        def loss(cell, x, way):
            y = way(cell, x)
            return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum()

        ways = (loop, comprehension, scanned, lifted)
        return [
            jax.value_and_grad(lambda *a, way=way: loss(*a, way), (0, 1))(cell, x) for way in ways
        ]

    first, *others = taken(cell, X[:3])
    for other in others:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), other, first
        )


@every_cell
def test_half_types_hand_on_a_state_in_float32(build):
    cell = rs.f16(build(2, 4, trainable_state=True, key=KEY))
    y, state = cell(X[0].astype(np.float16))
    assert y.dtype == jnp.float16
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32)}
    _, following = cell(X[1].astype(np.float16), state)
    assert jax.tree.structure(following) == jax.tree.structure(state)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: rs.RNNCell(2, 4, key=KEY), "RNNCell(2, 4)"),
        (lambda: rs.RNNCell(2, 4, rs.relu, bias=False, key=KEY), "RNNCell(2, 4, relu, bias=False)"),
        (lambda: rs.LSTMCell(2, 4, forget_bias=1.0, key=KEY), "LSTMCell(2, 4)"),
        (
            lambda: rs.GRUCell(2, 4, trainable_state=True, key=KEY),
            "GRUCell(2, 4, trainable_state=True)",
        ),
    ],
)
def test_a_cell_prints_as_the_call_that_builds_it(build, text):
    assert repr(build()) == text


@every_cell
@pytest.mark.parametrize("sizes", [(0, 2), (3, -1), (2.5, 2), (True, 2)])
def test_sizes_that_are_not_positive_whole_numbers_are_refused(build, sizes):
    with pytest.raises(rs.RangeError, match="at least 1"):
        build(*sizes, key=KEY)


@every_cell
def test_an_input_or_state_that_does_not_fit_is_refused(build):
    cell = build(2, 4, key=KEY)
    with pytest.raises(rs.ShapeError) as caught:
        cell(X[0, :, :1])
    assert caught.value.expected == "shape (..., 2)"
    wrong = np.zeros((2, 4), np.float32)
    with pytest.raises(rs.ShapeError) as caught:
        cell(X[0], (wrong, wrong) if build is rs.LSTMCell else wrong)
    assert caught.value.expected == "a state of shape (3, 4) or (4,)"
    with pytest.raises(rs.StructureError):
        cell(X[0], wrong if build is rs.LSTMCell else (wrong, wrong))


def test_an_infinite_forget_bias_is_refused():
    with pytest.raises(rs.RangeError):
        rs.LSTMCell(2, 4, forget_bias=float("inf"), key=KEY)


def test_an_initialiser_of_another_shape_is_refused():
    with pytest.raises(rs.ShapeError):
        rs.GRUCell(2, 4, init=lambda key, shape: jnp.ones(shape[::-1]), key=KEY)
