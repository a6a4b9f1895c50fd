# SPDX-License-Identifier: Apache-2.0
"""Losses and their gradients against PyTorch 2.13; `tests/reference/losses.py` wrote them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from tests.stored import FOLDER

pytestmark = pytest.mark.optimised  # digits are counted

WEIGHTS = (0.5, 2.0, 1.0, 0.25, 3.0)


def ctc(x, words, steps, lengths, **options):
    return rs.ctc_loss(x, words, logit_lengths=steps, label_lengths=lengths, **options)


CASES = {
    "mae": rs.mae,
    "mse": rs.mse,
    "huber": functools.partial(rs.huber_loss, delta=0.7),
    "labels": rs.logitcrossentropy,
    "labels, weighted": functools.partial(rs.logitcrossentropy, weights=WEIGHTS),
    "labels, ignored": functools.partial(rs.logitcrossentropy, weights=WEIGHTS, ignore_index=-100),
    "labels, smoothed": functools.partial(rs.logitcrossentropy, label_smoothing=0.2),
    "distribution": rs.logitcrossentropy,
    "kl": rs.kldivergence,
    "logit kl": rs.logitkldivergence,
    "binary": rs.binarycrossentropy,
    "logit binary": rs.logitbinarycrossentropy,
    "poisson": rs.poisson_loss,
    "log poisson": rs.logpoisson_loss,
    "gaussian": functools.partial(rs.gaussian_nll_loss, full=True),
    "cosine": functools.partial(rs.cosine_embedding_loss, margin=0.1),
    "triplet": functools.partial(rs.triplet_loss, margin=2.0),
    "ctc": ctc,
}


@pytest.mark.parametrize("case", CASES)
def test_pytorch_has_the_same_losses_and_gradients(case):
    with np.load(FOLDER / "losses.npz", allow_pickle=False) as file:
        group = {n.rpartition(".")[2]: file[n] for n in file.files if n.startswith(f"{case}.")}
    given = [group[str(i)] for i in range(len(group) - 3)]
    loss = CASES[case]

    @jax.jit
    def all_of(x, *others):
        mean, gradient = jax.value_and_grad(loss)(x, *others)
        return loss(x, *others, reduction=None), mean, gradient

    with jax.enable_x64(True):
        each, mean, gradient = map(np.asarray, all_of(*given))
    # Two computations in float64 that take their sums in different order.
    np.testing.assert_allclose(each, group["each"], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(mean, group["mean"], rtol=1e-11)
    np.testing.assert_allclose(gradient, group["gradient"], rtol=1e-9, atol=1e-13)
    narrow = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in given]
    each, mean, gradient = all_of(*narrow)
    assert each.dtype == mean.dtype == gradient.dtype == jnp.float32
    np.testing.assert_allclose(each, group["each"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient, group["gradient"], rtol=1e-4, atol=1e-5)
