# SPDX-License-Identifier: Apache-2.0
"""Losses: values, reductions, half types, labels, gradients, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError, StructureError
from rosin.functional.losses import logitbinarycrossentropy, logitcrossentropy, mse

pytestmark = pytest.mark.optimised  # digits are counted

DRAW = np.random.default_rng(0)
LOGITS = DRAW.normal(size=(2, 3, 5)).astype(np.float32) * 3
LABELS = np.array([[4, 0, 2], [1, 1, 3]])
PROBABILITIES = DRAW.dirichlet(np.ones(5), (2, 3)).astype(np.float32)
YES = DRAW.uniform(size=(2, 3, 5)).astype(np.float32)


def minus_log_softmax(x):
    x = np.asarray(x, np.float64)
    return np.log(np.exp(x).sum(-1, keepdims=True)) - x


def cross_entropy(x, y):
    return (np.asarray(y, np.float64) * minus_log_softmax(x)).sum(-1)


def binary(x, y):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return y * np.log1p(np.exp(-x)) + (1 - y) * np.log1p(np.exp(x))


def test_mse_is_the_formula_for_real_and_complex_numbers():
    expected = ((LOGITS.astype(np.float64) - YES) ** 2).mean()
    np.testing.assert_allclose(mse(LOGITS, YES), expected, rtol=1e-6)
    assert mse(jnp.zeros(1, jnp.complex64), jnp.array([1 + 1j])) == 2
    assert mse(jnp.zeros(1, jnp.complex64), jnp.array([1 + 1j])).dtype == jnp.float32


def test_cross_entropy_of_probabilities_is_the_formula():
    got = logitcrossentropy(LOGITS, PROBABILITIES, reduction=None)
    np.testing.assert_allclose(got, cross_entropy(LOGITS, PROBABILITIES), rtol=1e-5)
    mean = logitcrossentropy(LOGITS, PROBABILITIES)
    np.testing.assert_allclose(mean, np.mean(got), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32])
def test_cross_entropy_of_labels_is_that_of_their_one_hot_rows(dtype):
    got = logitcrossentropy(LOGITS, LABELS.astype(dtype), reduction=None)
    np.testing.assert_allclose(got, cross_entropy(LOGITS, np.eye(5)[LABELS]), rtol=1e-5)


def test_more_classes_than_a_narrow_dtype_can_count():
    logits = DRAW.normal(size=(2, 300)).astype(np.float32)
    labels = np.array([127, 3], np.int8)
    got = logitcrossentropy(logits, labels, reduction=None)
    np.testing.assert_allclose(got, cross_entropy(logits, np.eye(300)[labels]), rtol=1e-5)


@pytest.mark.parametrize("target", [LABELS, PROBABILITIES], ids=["labels", "probabilities"])
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_label_smoothing_spreads_a_share_evenly(target, smoothing):
    got = logitcrossentropy(LOGITS, target, reduction=None, label_smoothing=smoothing)
    y = np.eye(5)[LABELS] if target is LABELS else PROBABILITIES
    expected = cross_entropy(LOGITS, (1 - smoothing) * y + smoothing / 5)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_binary_cross_entropy_is_the_formula():
    got = logitbinarycrossentropy(LOGITS, YES, reduction=None)
    np.testing.assert_allclose(got, binary(LOGITS, YES), rtol=1e-5)


ALL = {
    "mse": lambda **kw: mse(LOGITS, YES, **kw),
    "labels": lambda **kw: logitcrossentropy(LOGITS, LABELS, **kw),
    "probabilities": lambda **kw: logitcrossentropy(LOGITS, PROBABILITIES, **kw),
    "binary": lambda **kw: logitbinarycrossentropy(LOGITS, YES, **kw),
}


@pytest.mark.parametrize("name", ALL)
def test_the_reduction_is_any_function_or_none(name):
    kept = ALL[name](reduction=None)
    assert kept.shape == ((2, 3) if name in {"labels", "probabilities"} else (2, 3, 5))
    np.testing.assert_allclose(ALL[name](), np.mean(kept), rtol=1e-6)
    np.testing.assert_allclose(ALL[name](reduction=jnp.sum), np.sum(kept), rtol=1e-6)
    np.testing.assert_allclose(ALL[name](reduction=jnp.max), np.max(kept), rtol=1e-6)
    with pytest.raises(StructureError):
        ALL[name](reduction="mean")


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_computed_in_float32_and_their_gradient_is_half(dtype):
    logits = jnp.asarray(LOGITS, dtype)
    for loss, given in [
        (mse, YES),
        (logitcrossentropy, LABELS),
        (logitcrossentropy, PROBABILITIES),
        (logitbinarycrossentropy, YES),
    ]:
        target = given if given is LABELS else jnp.asarray(given, dtype)
        wide = given if given is LABELS else np.asarray(target, np.float32)
        got, gradient = jax.value_and_grad(loss)(logits, target)
        expected, wide_gradient = jax.value_and_grad(loss)(np.asarray(logits, np.float32), wide)
        assert (got.dtype, gradient.dtype) == (jnp.float32, dtype)
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        np.testing.assert_array_equal(gradient, wide_gradient.astype(dtype))


def test_a_half_sum_does_not_overflow():
    logits = jnp.zeros((1, 70_000), jnp.float16)
    loss = logitcrossentropy(logits, np.array([3]))
    np.testing.assert_allclose(loss, np.log(70_000), rtol=1e-6)
    large = jnp.full(3, 300, jnp.float16)  # whose square is no float16
    assert mse(large, -large) == 360_000


@pytest.mark.parametrize(
    ("loss", "arguments"),
    [
        (mse, [LOGITS, YES]),
        (logitcrossentropy, [LOGITS, PROBABILITIES]),
        (logitbinarycrossentropy, [LOGITS, YES]),
    ],
)
def test_gradients_in_both_arguments_match_finite_differences(loss, arguments):
    with jax.enable_x64(True):
        arguments = [np.asarray(a[0, :2], np.float64) for a in arguments]
        check_grads(loss, arguments, order=2, rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_for_labels_match_finite_differences(smoothing):
    loss = functools.partial(logitcrossentropy, target=LABELS[0], label_smoothing=smoothing)
    with jax.enable_x64(True):
        check_grads(loss, [np.asarray(LOGITS[0], np.float64)], order=2, rtol=1e-4)


def test_a_single_row_and_a_single_logit_need_no_batch():
    np.testing.assert_allclose(logitcrossentropy(np.zeros(2, np.float32), 1), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(logitbinarycrossentropy(0.0, 1.0), np.log(2), rtol=1e-6)
    assert mse(1.0, 3.0) == 4


def test_one_class_is_certain():
    assert logitcrossentropy(np.full((2, 1), 3, np.float32), np.array([0, 0])) == 0
    assert logitcrossentropy(np.full((2, 1), 3, np.float32), np.ones((2, 1), np.float32)) == 0


@pytest.mark.parametrize(
    ("labels", "got"), [([0, 5], "labels from 0 to 5"), ([-1, 2], "labels from -1 to 2")]
)
def test_a_known_label_that_is_no_class_is_refused(labels, got):
    for given in (np.array(labels), jnp.array(labels)):
        with pytest.raises(RangeError) as caught:
            logitcrossentropy(LOGITS[0, :2], given)
        assert caught.value.got == got
        assert caught.value.expected.startswith("labels of at least 0 and below 5")


def test_a_known_label_is_looked_at_inside_a_trace_too():
    labels = jnp.array([0, 5])
    with pytest.raises(RangeError):
        jax.jit(lambda x: logitcrossentropy(x, labels))(LOGITS[0, :2])


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint32])
def test_a_traced_label_that_is_no_class_is_nan_and_never_clamped(dtype):
    labels = np.array([1, 5, 0, -1]).astype(dtype)
    logits = np.concatenate([LOGITS[0], LOGITS[1, :1]])
    rows = jax.jit(functools.partial(logitcrossentropy, reduction=None))(logits, labels)
    np.testing.assert_array_equal(np.isnan(rows), [False, True, False, True])
    gradient = jax.jit(jax.grad(logitcrossentropy))(logits, labels)
    np.testing.assert_array_equal(np.isnan(gradient).all(-1), [False, True, False, True])


def test_vmap_over_rows_is_the_batch():
    rows = jax.vmap(logitcrossentropy)(LOGITS[0], LABELS[0])
    np.testing.assert_allclose(
        rows, logitcrossentropy(LOGITS[0], LABELS[0], reduction=None), rtol=1e-6
    )
    rows = jax.vmap(logitcrossentropy)(LOGITS[0], PROBABILITIES[0])
    np.testing.assert_allclose(
        rows, logitcrossentropy(LOGITS[0], PROBABILITIES[0], reduction=None), rtol=1e-6
    )


@pytest.mark.parametrize("loss", [mse, logitcrossentropy, logitbinarycrossentropy])
@pytest.mark.parametrize("shape", [(4,), (3, 1), (1, 4), (4, 3), ()])
def test_unequal_shapes_are_not_broadcast(loss, shape):
    with pytest.raises(ShapeError) as caught:
        loss(jnp.ones((3, 4)), jnp.ones(shape))
    assert caught.value.subject == loss.__name__
    assert caught.value.expected.endswith("of equal shape")


def test_numbers_of_the_shape_of_labels_are_no_labels():
    with pytest.raises(DtypeError, match="labels of an integer dtype"):
        logitcrossentropy(jnp.ones((3, 4)), jnp.ones(3))


@pytest.mark.parametrize("shape", [(3, 4), (4,), (1, 3), ()])
def test_labels_have_the_shape_of_the_rows(shape):
    with pytest.raises(ShapeError) as caught:
        logitcrossentropy(jnp.ones((3, 4)), np.zeros(shape, int))
    assert caught.value.expected.startswith("labels of shape (3,)")


@pytest.mark.parametrize("shape", [(), (2, 0)])
def test_logits_without_a_class_are_refused(shape):
    with pytest.raises(ShapeError) as caught:
        logitcrossentropy(jnp.ones(shape), jnp.ones(shape), reduction=None)
    assert "at least one class" in caught.value.expected


@pytest.mark.parametrize("target", ["same", "labels"])
@pytest.mark.parametrize("loss", [mse, logitcrossentropy, logitbinarycrossentropy])
def test_an_empty_batch_has_no_mean_but_has_no_losses_either(loss, target):
    if target == "labels" and loss is not logitcrossentropy:
        return
    x = jnp.ones((0, 4))
    y = np.zeros(0, int) if target == "labels" else x
    with pytest.raises(ShapeError) as caught:
        loss(x, y)
    assert caught.value.subject == loss.__name__
    assert loss(x, y, reduction=None).size == 0


@pytest.mark.parametrize(
    ("loss", "x", "y"),
    [
        (mse, np.arange(3), np.ones(3)),
        (mse, np.ones(3), np.arange(3)),
        (logitcrossentropy, np.ones((2, 3), int), np.array([0, 1])),
        (logitcrossentropy, np.ones((2, 3)), np.ones((2, 3), bool)),
        (logitcrossentropy, np.ones((2, 3), complex), np.ones((2, 3))),
        (logitbinarycrossentropy, np.ones(3), np.arange(3)),
        (logitbinarycrossentropy, np.ones(3, complex), np.ones(3)),
    ],
)
def test_other_dtypes_are_refused(loss, x, y):
    with pytest.raises(DtypeError) as caught:
        loss(x, y)
    assert caught.value.subject == loss.__name__


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, np.nan, "0"])
def test_a_smoothing_that_is_no_share_is_refused(smoothing):
    with pytest.raises(RangeError) as caught:
        logitcrossentropy(LOGITS, LABELS, label_smoothing=smoothing)
    assert caught.value.expected.startswith("label_smoothing")
