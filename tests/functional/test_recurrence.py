# SPDX-License-Identifier: Apache-2.0
"""The recurrences over time: formulas, derivatives of all orders, masks, program size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.flatten_util import ravel_pytree

import rosin as rs
from rosin.functional import recurrence
from tests.programs import size

BATCH, TIME, IN, HIDDEN = 3, 5, 2, 4
DRAW = np.random.default_rng(0)


def normal(*shape):
    return DRAW.normal(0, 0.7, shape)


X = normal(BATCH, TIME, IN)
STATE = normal(BATCH, HIDDEN)
MEMORY = normal(BATCH, HIDDEN)
WEIGHTS = {
    "rnn": (normal(IN, HIDDEN), normal(HIDDEN, HIDDEN), normal(HIDDEN)),
    "lstm": (normal(IN, 4 * HIDDEN), normal(HIDDEN, 4 * HIDDEN), normal(4 * HIDDEN)),
    "gru": (
        normal(IN, 3 * HIDDEN),
        normal(HIDDEN, 3 * HIDDEN),
        normal(3 * HIDDEN),
        normal(HIDDEN),
    ),
    "gruv3": (
        normal(IN, 3 * HIDDEN),
        normal(HIDDEN, 2 * HIDDEN),
        normal(HIDDEN, HIDDEN),
        normal(3 * HIDDEN),
    ),
}
NAMES = list(WEIGHTS)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 1]], bool)
every_recurrence = pytest.mark.parametrize("name", NAMES)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step_rnn(x, state, w, u, b):
    return (np.tanh(x @ w + state[0] @ u + b),)


def step_lstm(x, state, w, u, b):
    h, c = state
    i, f, g, o = np.split(x @ w + h @ u + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def step_gru(x, state, w, u, b, d):
    (h,) = state
    xr, xz, xn = np.split(x @ w + b, 3, axis=-1)
    hr, hz, hn = np.split(h @ u, 3, axis=-1)
    z = sigmoid(xz + hz)
    n = np.tanh(xn + sigmoid(xr + hr) * (hn + d))
    return ((1 - z) * n + z * h,)


def step_gruv3(x, state, w, u, v, b):
    (h,) = state
    xr, xz, xn = np.split(x @ w + b, 3, axis=-1)
    hr, hz = np.split(h @ u, 2, axis=-1)
    z = sigmoid(xz + hz)
    n = np.tanh(xn + (sigmoid(xr + hr) * h) @ v)
    return ((1 - z) * n + z * h,)


STEPS = {"rnn": step_rnn, "lstm": step_lstm, "gru": step_gru, "gruv3": step_gruv3}


def first_state(name):
    return (STATE, MEMORY) if name == "lstm" else (STATE,)


def by_hand(name, x, mask, *, reverse):
    """Compute outputs and last state example by example and step by step."""
    y = np.zeros((*x.shape[:2], HIDDEN))
    last = []
    for row in range(len(x)):
        state = tuple(s[row] for s in first_state(name))
        for t in range(x.shape[1])[:: -1 if reverse else 1]:
            if mask[row, t]:
                state = STEPS[name](x[row, t], state, *WEIGHTS[name])
                y[row, t] = state[0]
        last.append(state)
    return y, [np.stack(part) for part in zip(*last, strict=True)]


def run(name, x, weights=None, state=None, **options):
    state = first_state(name) if state is None else state
    given = tuple(map(jnp.asarray, state)) if name == "lstm" else jnp.asarray(state[0])
    weights = WEIGHTS[name] if weights is None else weights
    weights = [jnp.asarray(w) for w in weights]
    y, last = getattr(recurrence, name)(jnp.asarray(x), *weights, state=given, **options)
    return y, list(last) if name == "lstm" else [last]


@every_recurrence
@pytest.mark.parametrize(
    ("mask", "reverse"), [(np.ones_like(MASK), False), (MASK, True)], ids=["full", "ragged"]
)
def test_outputs_and_last_state_are_the_formula_written_again(name, reverse, mask):
    y, last = by_hand(name, X, mask, reverse=reverse)
    with jax.enable_x64(True):
        given = None if mask.all() else jnp.asarray(mask)
        ours, ours_last = run(name, X, mask=given, reverse=reverse)
        np.testing.assert_allclose(ours, y, rtol=1e-12, atol=1e-14)
        for a, b in zip(ours_last, last, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def derivatives(loss, arguments):
    """Return first and second derivatives along one direction, and what differences give.

    Forward mode; reverse mode; forward over reverse; reverse over reverse.
    """
    point, rebuild = ravel_pytree(arguments)
    along = jnp.cos(jnp.arange(point.size, dtype=point.dtype))

    @jax.jit
    def taken(point):
        def value(point):
            return loss(*rebuild(point))

        gradient = jax.grad(value)
        _, slope = jax.jvp(value, (point,), (along,))
        _, curve = jax.jvp(gradient, (point,), (along,))
        return (
            value(point),
            gradient(point),
            slope,
            curve,
            jax.grad(lambda p: gradient(p) @ along)(point),
        )

    # A step of 1e-5 errs by about 1e-10 in curvature and 1e-11 in rounding.
    step = 1e-5
    (up, up_gradient, *_), (down, down_gradient, *_) = (
        taken(point + s * along) for s in (step, -step)
    )
    _, gradient, slope, curve, again = taken(point)
    measured = (up - down) / (2 * step), (up_gradient - down_gradient) / (2 * step)
    return (slope, gradient @ along, curve, again), measured


def expect_derivatives(loss, arguments):
    (slope, by_reverse, curve, again), (rise, bend) = derivatives(loss, arguments)
    np.testing.assert_allclose(slope, rise, rtol=1e-6)
    np.testing.assert_allclose(by_reverse, slope, rtol=1e-10)
    np.testing.assert_allclose(curve, bend, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(again, curve, rtol=1e-9, atol=1e-10)


@every_recurrence
def test_first_and_second_derivatives_both_ways_are_those_of_differences(name):
    def loss(x, weights, state):
        y, last = run(name, x, weights, state, mask=jnp.asarray(MASK), reverse=True)
        return sum((p * jnp.cos(jnp.arange(p.size)).reshape(p.shape)).sum() for p in [y, *last])

    with jax.enable_x64(True):
        expect_derivatives(loss, jax.tree.map(jnp.asarray, (X, WEIGHTS[name], first_state(name))))


@every_recurrence
def test_the_gradient_is_that_of_a_plain_scan(name):
    def plain(x, weights, state):
        step = jax.tree_util.Partial(PLAIN_STEPS[name], weights)
        _, y = jax.lax.scan(step, state, jnp.moveaxis(x, 1, 0))
        return (jnp.moveaxis(y, 0, 1) ** 3).sum()

    def ours(x, weights, state):
        return (run(name, x, weights, state)[0] ** 3).sum()

    @jax.jit
    def both(*arguments):
        return jax.grad(ours, (0, 1, 2))(*arguments), jax.grad(plain, (0, 1, 2))(*arguments)

    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (X, WEIGHTS[name], first_state(name)))
        for a, b in zip(*map(jax.tree.leaves, both(*arguments)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def plain(step):
    def scanned(weights, state, x):
        new = step(x, state, *weights)
        return new, new[0]

    return scanned


def with_jax(step):
    """Take a step written for NumPy to JAX."""
    source = dict(step.__globals__) | {"np": jnp, "sigmoid": jax.nn.sigmoid}
    return type(step)(step.__code__, source)


PLAIN_STEPS = {name: plain(with_jax(step)) for name, step in STEPS.items()}


def test_an_activation_need_not_be_elementwise():
    def ours(x, weights):
        return (recurrence.rnn(x, *weights, activation=jax.nn.softmax)[0] ** 3).sum()

    def plain(x, weights):
        w, u, b = weights
        h, total = jnp.zeros((BATCH, HIDDEN)), 0.0
        for t in range(x.shape[1]):
            h = jax.nn.softmax(x[:, t] @ w + h @ u + b)
            total += (h**3).sum()
        return total

    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (X[:, :3], WEIGHTS["rnn"]))
        both = jax.jit(lambda *a: (jax.grad(ours, (0, 1))(*a), jax.grad(plain, (0, 1))(*a)))
        for a, b in zip(*map(jax.tree.leaves, both(*arguments)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@every_recurrence
def test_padding_reaches_neither_outputs_nor_gradients(name):
    poisoned = np.where(MASK[..., None], X, np.nan).astype("f4")
    weights = [w.astype("f4") for w in WEIGHTS[name]]
    state = tuple(s.astype("f4") for s in first_state(name))

    def loss(x, weights, state):
        y, last = run(name, x, weights, state, mask=jnp.asarray(MASK))
        return (y**2).sum() + sum((part**3).sum() for part in last)

    taken = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    value, (dx, dweights, dstate) = taken(poisoned, weights, state)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((dweights, dstate)))
    assert not dx[~MASK].any()
    assert dx[MASK].all()


@every_recurrence
def test_the_program_does_not_grow_with_time(name):
    weights = [w.astype("f4") for w in WEIGHTS[name]]

    def loss(x, weights):
        return (run(name, x, weights)[0] ** 2).sum()

    short, long = (np.zeros((BATCH, time, IN), "f4") for time in (5, 50))
    gradient = jax.value_and_grad(loss, (0, 1))
    assert size(gradient, short, weights) == size(gradient, long, weights)


@every_recurrence
def test_the_weight_gradient_is_one_product_after_the_backward_pass(name):
    def loss(weights):
        return (run(name, X.astype("f4"), weights)[0] ** 2).sum()

    weights = [w.astype("f4") for w in WEIGHTS[name]]
    jaxpr = jax.make_jaxpr(jax.grad(loss))(weights).jaxpr
    square = (HIDDEN, WEIGHTS[name][1].shape[1])

    def carried(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "scan":
                first = equation.params["num_consts"]
                held = equation.invars[first : first + equation.params["num_carry"]]
                yield from (variable.aval.shape for variable in held)
            for inner in jaxprs_in_params(equation.params):
                yield from carried(inner)

    shapes = list(carried(jaxpr))
    assert (BATCH, HIDDEN) in shapes
    assert square not in shapes


@every_recurrence
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16], ids=["float16", "bfloat16"])
def test_half_types_keep_their_state_and_sums_in_float32(name, dtype):
    long = np.tile(X, (1, 40, 1))
    halves = [jnp.asarray(w, dtype) for w in WEIGHTS[name]]
    y, last = run(name, jnp.asarray(long, dtype), halves)
    exact, exact_last = run(
        name, jnp.asarray(long, dtype).astype("f4"), [w.astype("f4") for w in halves]
    )
    assert y.dtype == dtype
    assert {part.dtype for part in last} == {jnp.dtype(jnp.float32)}
    np.testing.assert_array_equal(y, exact.astype(dtype))
    for a, b in zip(last, exact_last, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_saturated_gates_stay_finite_with_finite_derivatives():
    weights = [np.float32(1e4) * w.astype("f4") for w in WEIGHTS["lstm"]]

    def loss(weights):
        return (run("lstm", 1e4 * X.astype("f4"), weights)[0] ** 2).sum()

    value, grads = jax.jit(jax.value_and_grad(loss))(weights)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in grads)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *((name, (BATCH, 0, IN)) for name in NAMES),
        ("lstm", (0, TIME, IN)),
        ("gru", (TIME, IN)),
        ("rnn", (2, 3, TIME, IN)),
    ],
)
def test_any_leading_axes_and_no_steps_at_all(name, shape):
    weights = [w.astype("f4") for w in WEIGHTS[name]]
    state = [s[0].astype("f4") for s in first_state(name)]

    def loss(weights):
        y, last = run(name, np.ones(shape, "f4"), weights, state)
        return (y**2).sum() + sum((part**2).sum() for part in last), (y, last)

    grads, (y, last) = jax.jit(jax.grad(loss, has_aux=True))(weights)
    assert y.shape == (*shape[:-1], HIDDEN)
    assert {part.shape for part in last} == {(*shape[:-2], HIDDEN)}
    if not shape[-2]:
        np.testing.assert_allclose(last[0], np.broadcast_to(state[0], last[0].shape))
        assert not any(g.any() for g in grads)


def test_a_second_eager_call_compiles_nothing():
    weights = [jnp.asarray(w, jnp.float32) for w in WEIGHTS["lstm"]]
    x = jnp.asarray(X, jnp.float32)
    recurrence.lstm(x, *weights)
    before = recurrence.sweep.fun._cache_size()
    recurrence.lstm(x, *weights)
    assert recurrence.sweep.fun._cache_size() == before


@pytest.mark.parametrize(
    ("build", "kind", "expected"),
    [
        (lambda w, u, b: (X[0, 0], w, u, b), rs.ShapeError, "(..., time, features)"),
        (lambda w, u, b: (X[..., :1], w, u, b), rs.ShapeError, "shape (..., 2)"),
        (lambda w, u, b: (X, w[:, :-1], u, b), rs.ShapeError, "weight of shape (2, 16)"),
        (lambda w, u, b: (X, w, u[:, :-1], b), rs.ShapeError, "recurrent_weight of shape (4, 16)"),
        (lambda w, u, b: (X, w, u, b[1:]), rs.ShapeError, "bias of shape (16,)"),
        (lambda w, u, b: (X, w, u, b, STATE), rs.StructureError, "a pair (h, c)"),
        (lambda w, u, b: (X, w, u, b, (STATE[:2], STATE)), rs.ShapeError, "(3, 4) or (4,)"),
        (lambda w, u, b: (X > 0, w, u, b), rs.DtypeError, "floating-point"),
        (lambda w, u, b: (X + 1j, w, u, b), rs.DtypeError, "real"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(build, kind, expected):
    with pytest.raises(kind) as caught:
        recurrence.lstm(*(jax.tree.map(jnp.asarray, a) for a in build(*WEIGHTS["lstm"])))
    assert expected in caught.value.expected
    assert caught.value.fix
