# SPDX-License-Identifier: Apache-2.0
"""Losses over classes: labels and their one-hot rows, weights, what is ignored, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import rosin as rs

DRAW = np.random.default_rng(4)
LOGITS = DRAW.normal(size=(6, 4)).astype(np.float32)
SHARES = softmax(LOGITS, -1)
LABELS = np.array([0, 3, 1, 1, 2, 0])
WEIGHTS = np.array([0.5, 0.0, 2.0, 1.0], np.float32)
LOSSES = {
    "crossentropy": (rs.crossentropy, SHARES),
    "logitcrossentropy": (rs.logitcrossentropy, LOGITS),
    "focal_loss": (rs.focal_loss, SHARES),
    "logitfocal_loss": (rs.logitfocal_loss, LOGITS),
}
every = pytest.mark.parametrize(("loss", "x"), LOSSES.values(), ids=LOSSES)


@every
@pytest.mark.parametrize("weights", [None, WEIGHTS, (0.5, 0.0, 2.0, 1.0)], ids=type)
def test_labels_are_their_one_hot_rows(loss, x, weights):
    one_hot = np.eye(4, dtype=np.float32)[LABELS]
    for reduction in (jnp.mean, None):
        options = {"weights": weights, "reduction": reduction}
        np.testing.assert_allclose(
            loss(x, LABELS, **options), loss(x, one_hot, **options), rtol=2e-6
        )


@every
def test_a_mean_counts_by_weight(loss, x):
    each = loss(x, LABELS, reduction=None)
    share = WEIGHTS[LABELS]
    np.testing.assert_allclose(loss(x, LABELS, weights=WEIGHTS, reduction=None), share * each)
    mean = (share * each).sum() / share.sum()
    np.testing.assert_allclose(loss(x, LABELS, weights=WEIGHTS), mean, rtol=1e-6)


@every
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_an_ignored_label_takes_no_part(loss, x, dtype):
    ignored = 7 if dtype == np.uint8 else -100
    labels = np.where(LABELS == 1, ignored, LABELS).astype(dtype)
    kept = labels != ignored
    got = loss(x, labels, ignore_index=ignored)
    np.testing.assert_allclose(got, loss(x[kept], labels[kept]), rtol=1e-6)
    np.testing.assert_allclose(got, loss(x, LABELS, ignore_index=1), rtol=1e-6)
    compiled = jax.jit(loss, static_argnames="ignore_index")
    np.testing.assert_allclose(compiled(x, labels, ignore_index=ignored), got, rtol=1e-6)
    np.testing.assert_allclose(loss(x, LABELS, mask=kept, ignore_index=900), got, rtol=1e-6)
    none = np.full_like(labels, ignored)
    value, slope = jax.value_and_grad(lambda x: loss(x, none, ignore_index=ignored))(x)
    assert value == 0
    assert not slope.any()


@every
def test_an_ignored_label_and_a_mask_go_together(loss, x):
    mask = np.array([True, True, True, False, True, False])
    got = loss(x, LABELS, mask=mask, ignore_index=3)
    np.testing.assert_allclose(got, loss(x[[0, 2, 4]], LABELS[[0, 2, 4]]), rtol=1e-6)


@every
def test_a_traced_label_that_is_no_class_is_nan(loss, x):
    labels = np.array([0, 4, 1, -1, 2, 0])
    for options in ({}, {"weights": WEIGHTS}):
        rows = jax.jit(lambda x, y, o=options: loss(x, y, reduction=None, **o))(x, labels)
        np.testing.assert_array_equal(np.isnan(rows), [False, True, False, True, False, False])


@every
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"weights": np.ones(3)}, rs.ShapeError),
        ({"weights": 2.0}, rs.ShapeError),
        ({"weights": [1.0, -1.0, 1.0, 1.0]}, rs.RangeError),
        ({"weights": [1.0, np.nan, 1.0, 1.0]}, rs.RangeError),
        ({"weights": np.ones(4, int)}, rs.DtypeError),
        ({"ignore_index": 0.5}, rs.StructureError),
        ({"ignore_index": True}, rs.StructureError),
        ({"mask": np.ones((6, 4), bool)}, rs.ShapeError),
    ],
)
def test_options_that_do_not_fit_are_refused(loss, x, options, kind):
    with pytest.raises(kind) as caught:
        loss(x, LABELS, **options)
    assert caught.value.subject == loss.__name__
    with pytest.raises(rs.StructureError) as caught:
        loss(x, np.eye(4, dtype=np.float32)[LABELS], ignore_index=1)
    assert "labels" in caught.value.expected


X43, Y4 = np.ones((4, 3), np.float32), np.array([0, 1, 2, 0])
MISTAKES = {
    "swapped": (lambda: rs.logitcrossentropy(Y4, X43), "swap the two arguments"),
    "labels of floating point": (
        lambda: rs.logitfocal_loss(X43, Y4.astype(np.float32)),
        "convert labels with target.astype(jnp.int32)",
    ),
    "a list of labels": (
        lambda: rs.crossentropy(X43, [0, 1, 2, 0]),
        "convert it with jnp.asarray(target)",
    ),
    "channels first": (
        lambda: rs.logitcrossentropy(np.ones((2, 3, 5), np.float32), np.zeros((2, 5), int)),
        "move the classes to the last axis with jnp.moveaxis(logits, 1, -1)",
    ),
}


@pytest.mark.parametrize(("call", "fix"), MISTAKES.values(), ids=MISTAKES)
def test_a_likely_mistake_is_told_how_to_be_mended(call, fix):
    with pytest.raises((rs.DtypeError, rs.ShapeError)) as caught:
        call()
    assert caught.value.fix == fix


@pytest.mark.parametrize("loss", [rs.focal_loss, rs.logitfocal_loss, rs.binary_focal_loss])
@pytest.mark.parametrize("gamma", [-1.0, np.nan, np.inf, "2"])
def test_a_focus_is_at_least_0(loss, gamma):
    with pytest.raises(rs.RangeError) as caught:
        loss(SHARES, SHARES, gamma=gamma)
    assert caught.value.expected.startswith("gamma")


@pytest.mark.parametrize("loss", [rs.crossentropy, rs.focal_loss, rs.kldivergence])
def test_a_class_that_does_not_occur_adds_nothing_even_where_it_is_impossible(loss):
    p, y = jnp.array([0.0, 0.25, 0.75]), jnp.array([0.0, 0.5, 0.5])
    value, slope = jax.value_and_grad(loss)(p, y)
    np.testing.assert_allclose(value, loss(p[1:], y[1:]), rtol=1e-6)
    assert slope[0] == 0
    assert np.isfinite(slope).all()
    value, slope = jax.jit(jax.value_and_grad(loss))(p, jnp.array([0.5, 0.0, 0.5]))
    assert value == np.inf
    assert slope[0] == -np.inf


@pytest.mark.parametrize("loss", [rs.logitfocal_loss, rs.logitkldivergence, rs.logitcrossentropy])
def test_an_impossible_class_that_does_not_occur_adds_nothing(loss):
    x, y = jnp.array([-jnp.inf, 1.0, 0.5]), jnp.array([0.0, 0.5, 0.5])
    value, slope = jax.value_and_grad(loss)(x, y)
    np.testing.assert_allclose(value, loss(x[1:], y[1:]), rtol=1e-6)
    assert slope[0] == 0
    np.testing.assert_allclose(slope[1:], jax.grad(loss)(x[1:], y[1:]), rtol=1e-5)


def test_a_divergence_is_never_negative_where_rows_sum_to_1():
    y = DRAW.dirichlet(np.ones(50), 200).astype(np.float32)
    for got in (
        rs.kldivergence(y, y, reduction=None),
        rs.kldivergence(y * (1 + 2e-7), y, reduction=None),
        rs.logitkldivergence(np.log(y), y, reduction=None),
        rs.logitkldivergence(np.log(y) + 3, y, reduction=None),
    ):
        assert (np.asarray(got) >= 0).all()
        assert (np.asarray(got) < 1e-5).all()
    half = np.array([0.25, 0.25], np.float32)  # what sums to less may be negative
    assert rs.kldivergence(2 * half, half) < 0


def test_probabilities_a_rounding_above_1_do_not_break_the_focus():
    above = jnp.array([1 + 2.0**-23, 0.0])
    value, slope = jax.value_and_grad(lambda p: rs.focal_loss(p, jnp.array(0), gamma=0.5))(above)
    assert value == 0
    assert np.isfinite(slope).all()
