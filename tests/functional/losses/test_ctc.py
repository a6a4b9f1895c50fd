# SPDX-License-Identifier: Apache-2.0
"""CTC: every alignment, ragged batches, what cannot be aligned, confident and impossible rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import rosin as rs
from tests.loss_table import likelihood, read

pytestmark = pytest.mark.optimised  # digits are counted

DRAW = np.random.default_rng(2)
LOGITS = 2 * DRAW.normal(size=(4, 3))
SEQUENCES = [(), (0,), (1,), (0, 1), (0, 0), (1, 0, 1), (0, 1, 0, 1), (0, 0, 1)]
each = functools.partial(rs.ctc_loss, reduction=None)
compiled = jax.jit(each, static_argnames="blank")


@jax.jit
def both(logits, labels, label_lengths, logit_lengths):
    lengths = {"label_lengths": label_lengths, "logit_lengths": logit_lengths}
    return jax.value_and_grad(functools.partial(rs.ctc_loss, **lengths))(logits, labels)


def both_of(logits, labels, steps=4):
    """Compute loss and gradient with padded labels, so that all cases are one program."""
    padded = np.array([*labels, *[0] * (4 - len(labels))])
    return both(logits.astype(np.float32), padded, len(labels), steps)


@jax.jit
def curvature(logits, labels, count, steps):
    return jax.jvp(lambda x: both(x, labels, count, steps)[1], (logits,), (logits,))[1]


def brute(logits, labels, blank=2):
    return -np.log(likelihood(softmax(logits, -1), tuple(labels), blank))


@pytest.mark.parametrize("labels", SEQUENCES, ids=str)
@pytest.mark.parametrize("blank", [0, 2])
def test_the_loss_adds_up_all_alignments(labels, blank):
    labels = np.array([(k + 1 if blank == 0 else k) for k in labels], int)
    with jax.enable_x64(True):
        got = float(compiled(LOGITS, labels, blank=blank))
    np.testing.assert_allclose(got, brute(LOGITS, labels, blank), rtol=1e-13)


def test_all_label_sequences_together_are_certain():
    shares = softmax(LOGITS, -1)
    paths = np.stack(np.meshgrid(*[range(3)] * 4), -1).reshape(-1, 4)
    found = {read(tuple(map(int, path)), 2) for path in paths}
    total = sum(likelihood(shares, labels, 2) for labels in found)
    np.testing.assert_allclose(total, 1)
    with jax.enable_x64(True):
        padded = np.array([[*labels, *[0] * (4 - len(labels))] for labels in sorted(found)])
        lengths = np.array([len(labels) for labels in sorted(found)])
        many = np.broadcast_to(LOGITS, (len(found), 4, 3))
        losses = np.asarray(compiled(many, padded, label_lengths=lengths))
    np.testing.assert_allclose(np.exp(-losses).sum(), 1, rtol=1e-13)


BATCH = DRAW.normal(size=(3, 5, 4)).astype(np.float32)
WORDS = np.array([[0, 1, 2], [2, 2, -7], [1, 99, 3]])  # what does not count may be anything
STEPS, LENGTHS = np.array([5, 4, 2]), np.array([3, 2, 1])


def test_a_ragged_batch_is_its_sequences():
    ragged = np.where(np.arange(5)[:, None] < STEPS[:, None, None], BATCH, np.nan)
    options = {"logit_lengths": STEPS, "label_lengths": LENGTHS}
    loss, gradient = jax.jit(jax.value_and_grad(functools.partial(rs.ctc_loss, **options)))(
        ragged, WORDS
    )
    losses = compiled(ragged, WORDS, **options)
    alone = [
        float(each(x[:n], y[:m])) for x, y, n, m in zip(BATCH, WORDS, STEPS, LENGTHS, strict=True)
    ]
    np.testing.assert_allclose(losses, alone, rtol=1e-6)
    np.testing.assert_allclose(loss, np.mean(alone), rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient)[np.isnan(ragged)].any()


def test_axes_in_front_are_batches():
    x = np.stack([BATCH, BATCH[::-1]])
    words = np.broadcast_to(np.array([0, 2]), (2, 3, 2))
    losses = compiled(x, words)
    assert losses.shape == (2, 3)
    np.testing.assert_allclose(losses[1], losses[0][::-1], rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "steps"),
    [((0, 0), 2), ((0, 1, 0), 2), ((0, 0, 0), 4), ((0,), 0), ((0, 1), 1)],
    ids=str,
)
def test_what_no_alignment_fits_costs_infinity_without_a_gradient(labels, steps):
    value, gradient = both_of(LOGITS, labels, steps)
    assert value == np.inf
    assert not gradient.any()
    padded = np.array([*labels, *[0] * (4 - len(labels))])
    assert not curvature(LOGITS.astype(np.float32), padded, len(labels), steps).any()


def test_no_label_and_no_step_is_certain():
    assert each(np.zeros((0, 3), np.float32), np.zeros(0, int)) == 0
    assert each(np.zeros((4, 3), np.float32), np.zeros(0, int), logit_lengths=np.array(0)) == 0


def test_impossible_classes_cost_nothing_where_they_are_not_needed():
    x = LOGITS.astype(np.float32)
    x[1, 1] = -np.inf
    value, gradient = both_of(x, (0, 1))
    shares = softmax(x.astype(np.float64), -1)
    np.testing.assert_allclose(value, -np.log(likelihood(shares, (0, 1), 2)), rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert gradient[1, 1] == 0
    x[:, 1] = -np.inf
    value, gradient = both_of(x, (0, 1))
    assert value == np.inf
    assert not gradient.any()


@pytest.mark.parametrize("margin", [10.0, 20.0, 30.0, 80.0])
def test_a_confident_alignment_is_never_negative_and_keeps_its_gradient(margin):
    path = np.array([2, 0, 0, 1])
    x = margin * np.eye(3)[path]
    value, gradient = both_of(x, (0, 1))
    assert value >= 0
    with jax.enable_x64(True):  # where what is 1e-9 here is not lost yet
        true, exact = map(np.asarray, both(x, np.array([0, 1, 0, 0]), 2, 4))
    # Each of the four steps adds a rounding or two, here and in the gradient.
    np.testing.assert_allclose(value, true, rtol=1e-5, atol=1e-12)
    largest = np.abs(exact).max()
    np.testing.assert_allclose(gradient, exact, rtol=0, atol=8 * 2**-23 * largest)


def test_huge_logits_have_a_finite_loss_and_gradient():
    limit = np.finfo(np.float32).max / 4
    x = np.array([[limit, 0, -limit], [0, limit, 0], [1e30, -1e30, 0], [0, 0, 0]])
    value, gradient = both_of(x, (1,), 3)
    np.testing.assert_allclose(value, limit + 1e30, rtol=1e-6)
    assert np.isfinite(gradient).all()


def test_a_long_sequence_keeps_its_digits():
    x = DRAW.normal(size=(400, 5))
    labels = DRAW.integers(0, 4, 60)
    value, gradient = both(x.astype(np.float32), labels, 60, 400)
    with jax.enable_x64(True):
        exact = x.astype(np.float32).astype(np.float64)
        true, exact = map(np.asarray, both(exact, labels, 60, 400))
    np.testing.assert_allclose(value, true, rtol=1e-6)
    # Less than a rounding for each step, of logarithms that are as large as 10.
    assert np.abs(gradient - exact).max() < 100 * 2**-23 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        ([0, 2], {}),
        ([0, 3], {}),
        ([-1, 0], {}),
        ([0, 1], {"blank": 0}),
        ([0, 1], {"label_lengths": np.array(3)}),
        ([0, 1], {"label_lengths": np.array(-1)}),
        ([0, 1], {"logit_lengths": np.array(5)}),
        ([0, 1], {"blank": 3}),
        ([0, 1], {"blank": -1}),
        ([0, 1], {"blank": 1.0}),
    ],
)
def test_what_is_out_of_range_is_refused(labels, options):
    with pytest.raises(rs.RangeError) as caught:
        rs.ctc_loss(LOGITS, np.array(labels), **options)
    assert caught.value.subject == "ctc_loss"


def test_what_is_out_of_range_inside_a_trace_gives_nan():
    x = np.broadcast_to(LOGITS.astype(np.float32), (5, 4, 3))
    labels = np.array([[0, 1], [0, 2], [0, 3], [-1, 0], [1, 0]])
    lengths = np.array([2, 2, 2, 2, 3])
    losses = jax.jit(lambda *given: each(given[0], given[1], label_lengths=given[2]))(
        x, labels, lengths
    )
    np.testing.assert_array_equal(np.isnan(losses), [False, True, True, True, True])


@pytest.mark.parametrize(
    ("logits", "labels", "options", "kind"),
    [
        (np.zeros((2, 4, 3)), np.zeros(2, int), {}, rs.ShapeError),
        (np.zeros((2, 4, 3)), np.zeros((3, 2), int), {}, rs.ShapeError),
        (np.zeros(3), np.zeros(2, int), {}, rs.ShapeError),
        (np.zeros((4, 0)), np.zeros(2, int), {}, rs.ShapeError),
        (np.zeros((4, 3)), np.zeros(2), {}, rs.DtypeError),
        (np.zeros((4, 3), int), np.zeros(2, int), {}, rs.DtypeError),
        (np.zeros((2, 4, 3)), np.zeros((2, 2), int), {"label_lengths": 2}, rs.ShapeError),
        (np.zeros((4, 3)), np.zeros(2, int), {"label_lengths": np.array(2.0)}, rs.DtypeError),
    ],
)
def test_other_shapes_and_dtypes_are_refused(logits, labels, options, kind):
    with pytest.raises(kind) as caught:
        rs.ctc_loss(logits, labels, **options)
    assert caught.value.subject == "ctc_loss"


def test_the_lattice_is_one_loop_however_long_the_sequence():
    def size(steps):
        x, y = jnp.zeros((steps, 3)), np.array([0, 1])
        return len(str(jax.make_jaxpr(jax.grad(rs.ctc_loss))(x, y)))

    assert size(200) < 1.05 * size(20)
