# SPDX-License-Identifier: Apache-2.0
"""Activations: every half-type input, float32 to its last digits, limits, NaN.

What `make numerics` measures, on fewer float32 inputs; `numerics.activations` says what
the figures are.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from numerics.activations import BARS, coarsest, measure, slope
from numerics.formulas import FORMULAS
from numerics.ulps import HALF, SINGLE, every, in_ulps, least_normal, stratified, widened, worst

pytestmark = pytest.mark.optimised  # digits are counted

NAMES = list(FORMULAS)


@pytest.mark.parametrize(
    "dtype",
    # Both go through float32; the exponents of bfloat16 are those of the test below.
    [HALF[0], pytest.param(HALF[1], marks=pytest.mark.sweep)],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_every_half_input_is_rounded_once_and_has_its_limits(name, dtype):
    assert not measure(getattr(rs, name), FORMULAS[name], every(dtype)).misses(BARS[dtype])


@pytest.mark.parametrize("name", NAMES)
def test_float32_keeps_its_digits_tails_and_limits(name):
    formula = FORMULAS[name]
    near = (*formula.kinks, *([] if formula.root is None else [formula.root]))
    x = stratified(2**14, near=near)
    # A little more than the bar of 4: another processor rounds elsewhere.
    assert not measure(getattr(rs, name), formula, x).misses(BARS[SINGLE] + 0.5)


def test_the_derivative_of_gelu_is_exact_where_its_roundings_add_up():
    """The worst of all float32, when the weight and its complement were each rounded."""
    x = np.float32([-3.1553988456726074, -3.146016836166382, -9.746668815612793, -9.77927112579])
    error = worst(slope(rs.gelu, x), FORMULAS["gelu_tanh"].slope, x, SINGLE)
    assert error <= 3


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("name", ["sigmoid", "gelu", "mish", "softplus"])
def test_a_gradient_is_rounded_after_it_is_multiplied_with_the_cotangent(name, dtype):
    g = 0.6875  # exact in both types; a cotangent of 1 would hide a second rounding
    x = every(dtype)
    x = x[np.abs(widened(x)) >= least_normal(dtype)]
    y, pull = jax.vjp(getattr(rs, name), x)
    assert y.dtype == dtype
    formula = FORMULAS["gelu_tanh" if name == "gelu" else name]
    # 0.5 is correct rounding; the rest is what float32 adds.
    error = in_ulps(pull(jnp.full_like(y, g))[0], g * formula.slope(widened(x)), dtype)
    assert error.max() <= 0.51


def test_the_measure_sees_what_is_wrong():
    x = every(np.float16)
    plain = measure(lambda x: x * jax.nn.sigmoid(x), FORMULAS["swish"], x)
    assert plain.value > 1000
    assert plain.limits == 3
    assert len(plain.misses(0.51)) == 3
    naive = measure(lambda x: jnp.log(jnp.cosh(x)), FORMULAS["logcosh"], x)
    assert naive.nonfinite > 1000


def test_an_error_is_counted_in_units_of_the_last_place():
    one = np.float64(1)
    assert in_ulps(1 + 2.0**-10, one, np.float16) == 1
    assert in_ulps(np.nan, one, np.float16) == np.inf
    assert in_ulps(np.nan, np.nan, np.float16) == 0
    assert in_ulps(np.inf, 1e9, np.float16) == 0  # rounds to infinity
    assert in_ulps(np.inf, 65504.0, np.float16) > 0
    assert in_ulps(0.0, 1e-39, np.float32) == 0  # flushed
    assert in_ulps(0.0, 1e-7, np.float16) > 0  # a subnormal float16 is not
    assert in_ulps(1 + 2.0**-10, one, np.float16, coarsest=2.0**-9) == 0.5


def test_next_to_a_root_an_error_is_counted_in_quarters_of_the_maximum_beside_it():
    swish = FORMULAS["swish"]
    x = np.array([-1.2784645, -0.5])
    np.testing.assert_array_equal(coarsest(swish, x, SINGLE), [2.0**-25, 0])
    assert coarsest(swish, x, HALF[0]) == coarsest(FORMULAS["tanh"], x, SINGLE) == 0
    for name in NAMES:
        root = FORMULAS[name].root
        if root is not None:
            crest = FORMULAS[name].slope(np.linspace(root, root + 5, 1000)).max()
            assert 1 < crest < 2
            assert abs(float(slope(getattr(rs, name), jnp.float32(root)))) < 1e-6


def test_inputs_reach_every_exponent_and_the_neighbours_of_a_point():
    x = stratified(2**14, near=(-3.0,))
    assert np.isfinite(x).all()
    assert set(np.frexp(x[np.abs(x) >= 2.0**-126])[1]) == set(range(-125, 129))
    assert np.nextafter(np.float32(-3), np.float32(0)) in x
    assert len(every(np.float16)) == 2**16 - 2**11
