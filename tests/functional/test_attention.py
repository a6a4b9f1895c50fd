# SPDX-License-Identifier: Apache-2.0
"""Attention: values, masks, groups, blocks, derivatives, memory."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError, StructureError
from rosin.functional import attention as home
from rosin.functional.attention import dot_product_attention
from rosin.functional.masks import make_causal_mask, make_padding_mask, make_window_mask

NAN, INF = np.nan, np.inf
KEY = jax.random.key(3)
REFERENCE = np.load(Path(__file__).parents[1] / "reference/attention.npz", allow_pickle=False)
RANDOM = np.random.default_rng(3)
Q, K, V, BIAS = (
    jnp.asarray(RANDOM.normal(size=shape), jnp.float32)
    for shape in [(2, 5, 4, 3), (2, 7, 2, 3), (2, 7, 2, 6), (1, 4, 5, 7)]
)
MASK = RANDOM.random((2, 1, 5, 7)) < 0.6
MASK[0, 0, 1] = False


def exact(q, k, v, bias=0.0, keep=True):
    """Attend in float64, one head at a time, with a loop over queries."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    (batch, time, heads, features), group = q.shape, q.shape[2] // k.shape[2]
    shape = (batch, heads, time, k.shape[1])
    bias, keep = np.broadcast_to(bias, shape), np.broadcast_to(keep, shape)
    y = np.zeros((batch, time, heads, v.shape[3]))
    for b, t, h in np.ndindex(batch, time, heads):
        seen = keep[b, h, t]
        if seen.any():
            s = k[b, seen, h // group] @ q[b, t, h] / np.sqrt(features) + bias[b, h, t, seen]
            e = np.exp(s - s.max())
            y[b, t, h] = e / e.sum() @ v[b, seen, h // group]
    return y


@pytest.fixture(params=["at once", "in blocks"])
def form(request, monkeypatch):
    """Attend to the small arrays of these tests in either form; five queries are two blocks."""
    if request.param == "in blocks":
        monkeypatch.setattr(home, "MOST_SCORES", 1)
        monkeypatch.setattr(home, "_LEAST_QUERIES", 3)


CASES = {
    "plain": ({}, {}),
    "causal": ({"causal": True}, {"keep": np.tri(5, 7, dtype=bool)}),
    "window": (
        {"window": (1, 2)},
        {"keep": np.tri(5, 7, 2, dtype=bool) & ~np.tri(5, 7, -2, dtype=bool)},
    ),
    "window and causal": (
        {"window": 1, "causal": True},
        {"keep": np.tri(5, 7, dtype=bool) & ~np.tri(5, 7, -2, dtype=bool)},
    ),
    "masked": ({"mask": MASK}, {"keep": MASK}),
    "masked by lengths": (
        {"mask": (np.arange(7) < np.reshape([4, 7], (2, 1)))[:, None, None]},
        {"keep": np.arange(7) < np.reshape([4, 7], (2, 1, 1, 1))},
    ),
    "mask of two axes": ({"mask": MASK[1, 0]}, {"keep": MASK[1]}),
    "biased": ({"bias": BIAS}, {"bias": BIAS}),
    "bias and mask": ({"bias": BIAS, "mask": MASK}, {"bias": BIAS, "keep": MASK}),
}


@pytest.mark.usefixtures("form")
def test_result_is_the_formula_written_again_in_numpy():
    @jax.jit
    def attended(q, k, v):
        return {name: dot_product_attention(q, k, v, **CASES[name][0]) for name in CASES}

    for name, y in attended(Q, K, V).items():
        expected = exact(Q, K, V, **CASES[name][1])
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6, err_msg=name)


TORCH = {
    "attention": {},
    "causal": {"causal": True},
    "scaled": {"scale": 0.2},
    "masked": {"mask": REFERENCE["masked/mask"]},
    "biased": {"bias": REFERENCE["biased/attn_mask"]},
    "grouped": {"causal": True},
}


@pytest.mark.usefixtures("form")
def test_values_and_gradients_are_those_of_pytorch():
    def turned(name, part):  # PyTorch has heads before time
        return jnp.asarray(REFERENCE[f"{name}/{part}"].swapaxes(1, 2))

    def graded(name, *inputs):
        shape = REFERENCE[f"{name}/y"].shape
        weights = jnp.cos(jnp.arange(np.prod(shape))).reshape(shape).swapaxes(1, 2)

        def loss(*inputs):
            y = dot_product_attention(*inputs, **TORCH[name])
            return (y * weights).sum(), y

        return jax.grad(loss, (0, 1, 2), has_aux=True)(*inputs)

    parts = ("query", "key", "value")
    with jax.enable_x64(True):
        inputs = {name: [turned(name, part) for part in parts] for name in TORCH}
        results = jax.jit(lambda inputs: {n: graded(n, *inputs[n]) for n in inputs})(inputs)
        for name, (gradients, y) in results.items():
            np.testing.assert_allclose(y, turned(name, "y"), rtol=1e-12, atol=1e-14)
            for part, gradient in zip(parts, gradients, strict=True):
                expected = turned(name, f"d{part}")
                np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-13)


def test_both_forms_have_the_same_derivatives(monkeypatch):
    def loss(q, k, v, bias):
        return (dot_product_attention(q, k, v, bias, mask=MASK, causal=True) ** 2).sum()

    def derivatives(*arguments):
        every = tuple(range(4))
        first = jax.grad(loss, every)
        _, forward = jax.jvp(loss, arguments, arguments)
        _, second = jax.jvp(first, arguments, arguments)  # forward over reverse
        third = jax.grad(lambda *a: (first(*a)[0] ** 2).sum(), every)(*arguments)
        return first(*arguments), forward, second, third

    with jax.enable_x64(True):
        arguments = [jnp.asarray(a, jnp.float64) for a in (Q, K, V, BIAS)]
        whole = jax.jit(derivatives)(*arguments)
        monkeypatch.setattr(home, "MOST_SCORES", 1)
        monkeypatch.setattr(home, "_LEAST_QUERIES", 2)
        cut = jax.jit(lambda *a: derivatives(*a))(*arguments)
        # Sums of float64 in another order.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), whole, cut)


def test_derivatives_are_those_of_finite_differences():
    with jax.enable_x64(True):
        q, k, v = (jnp.asarray(a[:1], jnp.float64) for a in (Q, K, V))
        function = jax.jit(lambda q, k, v: dot_product_attention(q, k, v, mask=MASK[:1]))
        check_grads(function, (q, k, v), order=2, modes=["rev"], rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("form")
def test_a_query_that_sees_no_key_gives_zeros_and_has_no_gradient():
    def loss(q, k, v):
        y = dot_product_attention(q, k, v, mask=MASK)
        return y.sum(), y

    gradients, y = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(Q, K, V)
    np.testing.assert_array_equal(y[0, 1], 0)
    np.testing.assert_array_equal(gradients[0][0, 1], 0)
    assert all(np.isfinite(g).all() for g in gradients)
    y = dot_product_attention(Q, K, V, jnp.full((5, 7), -INF))
    np.testing.assert_array_equal(y, 0)


@pytest.mark.usefixtures("form")
def test_what_is_masked_leaks_into_neither_value_nor_derivative():
    rows = jnp.array([True, True, True, True, False])[:, None]
    mask = make_padding_mask([4, 6], 7) & rows

    @jax.jit
    def summary(junk):
        def y(q, k, v):
            return dot_product_attention(q, k, v, mask=mask)

        def loss(q, k, v):
            return (y(q, k, v) ** 2).sum()

        k, v = (a.at[0, 4:].set(junk).at[1, 6].set(junk) for a in (K, V))
        arguments = (Q.at[:, 4].set(junk), k, v)
        gradient = jax.grad(loss, (0, 1, 2))
        return y(*arguments), gradient(*arguments), jax.jvp(gradient, arguments, (Q, K, V))[1]

    clean = summary(0.0)
    for junk in (NAN, INF, -INF):
        jax.tree.map(np.testing.assert_array_equal, summary(junk), clean)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))


@pytest.mark.usefixtures("form")
def test_nan_reaches_the_queries_that_see_it_and_no_others():
    for arguments in ((Q, K.at[:, 3].set(NAN), V), (Q, K, V.at[:, 3].set(NAN))):
        y = dot_product_attention(*arguments, causal=True)
        assert np.isfinite(y[:, :3]).all()
        assert np.isnan(y[:, 3:]).all()


def test_an_infinite_bias_picks_its_key():
    bias = jnp.zeros((5, 7)).at[:, 2].set(INF)
    y = dot_product_attention(Q, K, V, bias)
    np.testing.assert_array_equal(y, jnp.broadcast_to(V[:, 2:3].repeat(2, 2), y.shape))


def test_scores_are_the_weights_that_were_used():
    y, p = dot_product_attention(Q, K, V, mask=MASK, return_scores=True)
    assert p.shape == (2, 4, 5, 7)
    np.testing.assert_array_equal(p[~jnp.broadcast_to(MASK, p.shape)], 0)
    expected = jnp.where(MASK.any(-1), 1.0, 0.0)
    np.testing.assert_allclose(p.sum(-1), np.broadcast_to(expected, (2, 4, 5)), rtol=1e-6)
    values = V.repeat(2, 2)
    np.testing.assert_allclose(jnp.einsum("bhts,bshd->bthd", p, values), y, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("form")
def test_dropout_drops_weights_and_keeps_the_mean():
    q, k = jnp.zeros((1, 40, 1, 1)), jnp.zeros((1, 1000, 1, 1))
    y = dot_product_attention(q, k, jnp.ones((1, 1000, 1, 1)), dropout=0.3, key=KEY).ravel()
    # A mean of 1000 weights of 0 or 1 / 0.7; five standard errors.
    assert abs(y - 1).max() < 5 * np.sqrt(0.3 / 0.7 / 1000)
    assert len(set(y.tolist())) > 20
    same = dot_product_attention(Q, K, V, dropout=0.5, key=KEY)
    np.testing.assert_array_equal(same, dot_product_attention(Q, K, V, dropout=0.5, key=KEY))
    none = dot_product_attention(Q, K, V, dropout=0.0, key=KEY)
    np.testing.assert_array_equal(none, dot_product_attention(Q, K, V))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_computed_in_float32_and_differentiate(dtype):
    halves = [a.astype(dtype) for a in (Q, K, V)]
    wide = [a.astype(jnp.float32) for a in halves]

    def loss(q, k, v):
        return dot_product_attention(q, k, v, causal=True).astype(jnp.float32).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
    y = dot_product_attention(*halves, causal=True)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, dot_product_attention(*wide, causal=True).astype(dtype))
    for half, expected in zip(gradient(*halves), gradient(*wide), strict=True):
        assert half.dtype == dtype
        # Computed in float32 and rounded once.
        rounding = float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(half.astype(float), expected, rtol=rounding, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2])
def test_memory_grows_with_the_length_and_not_with_its_square(order):
    def bytes_at(time):
        shape = jax.ShapeDtypeStruct((1, time, 2, 8), jnp.float32)

        def loss(q, k, v):
            return dot_product_attention(q, k, v, causal=True).sum()

        def twice(q, k, v):
            return (jax.grad(loss)(q, k, v) ** 2).sum()

        gradient = jax.grad(loss if order == 1 else twice, (0, 1, 2))
        return (
            jax.jit(gradient)
            .lower(shape, shape, shape)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
        )

    short, long = bytes_at(4096), bytes_at(16384)
    assert long < 4 * short  # 16 times as many scores
    assert long < 0.25 * 4 * 2 * 16384**2  # a fraction of one array of them


@pytest.mark.parametrize("sizes", [(0, 5, 7), (2, 0, 7), (2, 5, 0)])
@pytest.mark.usefixtures("form")
def test_empty_axes_give_empty_or_zero_results(sizes):
    batch, time, key_time = sizes
    y = dot_product_attention(
        Q[:batch, :time], K[:batch, :key_time], V[:batch, :key_time], causal=True
    )
    assert y.shape == (batch, time, 4, 6)
    assert key_time > 0 or (y == 0).all()


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda: dot_product_attention(Q[0], K, V), ShapeError, "shape (batch, time, heads"),
        (lambda: dot_product_attention(Q, K[:1], V), ShapeError, "q (batch, time, heads"),
        (lambda: dot_product_attention(Q, K[..., :2], V), ShapeError, "q (batch, time, heads"),
        (lambda: dot_product_attention(Q, K, V[:, :3]), ShapeError, "q (batch, time, heads"),
        (lambda: dot_product_attention(Q[:, :, :3], K, V), ShapeError, "q (batch, time, heads"),
        (lambda: dot_product_attention(Q, K, V, mask=MASK[:, 0]), ShapeError, "mask of shape"),
        (lambda: dot_product_attention(Q, K, V, mask=MASK[..., :3]), ShapeError, "mask that"),
        (lambda: dot_product_attention(Q, K, V, BIAS[0]), ShapeError, "bias of shape"),
        (lambda: dot_product_attention(Q, K, V, mask=BIAS), DtypeError, "mask of booleans"),
        (lambda: dot_product_attention(Q, K, V, MASK), DtypeError, "bias of a floating"),
        (lambda: dot_product_attention(Q.astype(int), K, V), DtypeError, "q of a floating"),
        (lambda: dot_product_attention(Q, K, V, window=-1), RangeError, "window to be"),
        (lambda: dot_product_attention(Q, K, V, window=(1, 2, 3)), RangeError, "window to be"),
        (lambda: dot_product_attention(Q, K, V, scale=INF), RangeError, "scale to be"),
        (lambda: dot_product_attention(Q, K, V, dropout=1.5, key=KEY), RangeError, "dropout to"),
        (lambda: dot_product_attention(Q, K, V, dropout=0.5), StructureError, "a key for"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, expected):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.expected.startswith(expected)
    assert caught.value.subject == "dot_product_attention"


def test_masks_agree_with_the_arguments_that_make_them():
    for mask, options in (
        (make_causal_mask(5, 7), {"causal": True}),
        (make_window_mask(5, 7, before=2, after=1), {"window": (2, 1)}),
    ):
        masked = dot_product_attention(Q, K, V, mask=mask)
        np.testing.assert_array_equal(masked, dot_product_attention(Q, K, V, **options))
