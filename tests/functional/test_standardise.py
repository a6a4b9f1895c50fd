# SPDX-License-Identifier: Apache-2.0
"""The core of all norms: a part of what `make numerics` measures, and its own refusal."""

import itertools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from numerics import norms
from rosin.errors import ShapeError
from rosin.functional.standardise import standardised

pytestmark = pytest.mark.optimised  # digits are counted

CORES = ("LayerNorm", "BatchNorm", "RMSNorm", "l2_normalise")
DTYPES = [np.dtype(d) for d in (np.float32, np.float16, ml_dtypes.bfloat16)]


@pytest.mark.parametrize(
    ("name", "dtype", "case"),
    [
        *itertools.product(CORES, DTYPES[:1], ["offset", "large", "small"]),
        *itertools.product(["LayerNorm"], DTYPES[1:], ["offset", "large"]),
    ],
)
def test_values_and_gradients_are_within_the_bar(name, dtype, case):
    found = norms.errors(name, norms.NORMS[name], norms.inputs(dtype)[case])
    assert max(found) <= norms.BARS[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", CORES)
def test_constant_and_largest_numbers_give_nothing_infinite(name, dtype):
    assert norms.nonfinite(norms.NORMS[name], dtype) == 0


def test_the_measure_sees_the_faults_of_the_plain_formula():
    x = norms.inputs(DTYPES[0])
    for case in ("offset", "large"):
        found = norms.errors("LayerNorm", lambda x: norms.plain("LayerNorm", x), x[case])
        assert min(found) > 1000
    assert norms.nonfinite(lambda x: norms.plain("LayerNorm", x), DTYPES[0]) > 0


def test_the_variance_of_large_numbers_does_no_harm_to_a_gradient_that_is_not_through_it():
    x = jnp.array([[3e38, -3e38, 1e38]])

    def loss(x):  # the variance is infinite, and its derivative counted with weight zero
        y, _, variance = standardised(x, (1,), 1e-5, subject="")
        return y.sum() + 0 * jnp.minimum(variance, 1).sum()

    assert np.isfinite(jax.grad(loss)(x)).all()


def test_derivatives_of_mean_and_variance_are_those_of_the_formulas():
    x = np.array([[1.0, 2.0, 4.0], [0.5, -1.0, 7.0]], np.float32)
    mean, variance = (
        jax.grad(lambda x, i=i: standardised(jnp.asarray(x), (1,), 1e-5, subject="")[i].sum())(x)
        for i in (1, 2)
    )
    np.testing.assert_allclose(mean, np.full((2, 3), 1 / 3), rtol=1e-6)
    np.testing.assert_allclose(variance, 2 / 3 * (x - x.mean(1, keepdims=True)), rtol=1e-5)


def test_an_empty_sample_is_refused():
    with pytest.raises(ShapeError):
        standardised(jnp.ones((2, 0)), (1,), 1e-5, subject="here")
