# SPDX-License-Identifier: Apache-2.0
"""Exponentials and logarithms for activations: on their ranges, with their digits.

On a CPU XLA's own float32 functions are off by up to 6 units of the last place, and those
here by less than 2. They cost less, too: XLA computes an `exp` in a loop of its own and
stores the result, while polynomials become part of the loops around them. In float64 the
functions are XLA's.

What XLA keeps in a loop of its own is a quotient that is used twice. Where a value and its
derivative have a quotient in common, it is computed once for both. And it hands a sum to
another library, with the arithmetic before it, which is slow there; what stops that is a
`where` at the end of a function.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rosin.core.types import Array

# ln 2 in two parts; multiples of the first up to 2**8 are exact in float32.
_LN2_HIGH, _LN2_LOW = 0.693145751953125, 1.42860682030941723e-06
# Added to a number below 2**22 it leaves the nearest whole number in the lowest bits.
_ALIGN = 1.5 * 2.0**23
_ALIGN_BITS = int(np.float32(_ALIGN).view(np.int32))
# Float32 exponentials are scaled by 2**40, which is taken back in two halves. It is enough for
# exponents down to -115; and its cube has an inverse: XLA gathers the constants of a product.
_SCALE_BITS = 40
_HALF = 2.0 ** (-_SCALE_BITS // 2)
# Minimax fits, leading coefficient first. (exp(r) - 1 - r) / r**2 for |r| <= ln 2 / 2, and
# (2**r - 1) / r for |r| <= 1 / 2; relative error of the exponentials 3e-9 and 4e-9.
_EXP = (
    0.0013814539415761828,
    0.00836874544620514,
    0.04166838899254799,
    0.1666652113199234,
    0.4999999403953552,
)
_EXP2 = (
    0.00015353257185779512,
    0.001339900423772633,
    0.00961843878030777,
    0.05550331994891167,
    0.24022647738456726,
    0.6931471824645996,
)
# (atanh(t) / t - 1) / s in s = t**2, for 0 <= t <= 1/3; relative error of atanh 4e-9.
_ATANH = (
    0.14006762206554413,
    0.14000749588012695,
    0.20010772347450256,
    0.3333320915699005,
)


def polynomial(coefficients: tuple[float, ...], t: Array) -> Array:
    """Evaluate a polynomial, its leading coefficient first."""
    first = jnp.full_like(t, coefficients[0])
    return functools.reduce(lambda total, c: total * t + c, coefficients[1:], first)


def magnitude(x: Array, single: float, double: float) -> Array:
    """Return |x|, but at most `single` in float32 and `double` in float64; NaN stays.

    Beyond these bounds an activation is its limit, and infinity times 0 is kept away.
    """
    # Not `where`: of that XLA would make a loop of its own.
    return jnp.minimum(jnp.abs(x), single if x.dtype == jnp.float32 else double)


class Exponential(NamedTuple):
    """An exponential in factors that do not underflow: `(1 + grown) * power * half * last`.

    In float32 `power`, `half` and `last` are powers of two: `grown` has all the digits.
    """

    grown: Array
    power: Array
    half: Array | float
    last: Array | float

    @property
    def large(self) -> Array:
        """The number without `half` and `last`."""
        return self.power * self.grown + self.power

    @property
    def number(self) -> Array:
        """The number n itself; 0 where it underflows."""
        return self.large * self.half * self.last

    @property
    def odds(self) -> Array:
        """The quotient n / (1 + n) without `last`."""
        return self.large / (1 + self.number) * self.half

    def times(self, z: Array) -> Array:
        """Compute n z; it is right where n alone would underflow."""
        return (z * self.grown + z) * self.power * self.half * self.last

    def times_plus(self, q: Array, z: Array) -> Array:
        """Compute n q + z, with the digits of n that the sum keeps and n has lost."""
        rough = self.power * self.half * self.last * q
        return (z + rough) + rough * self.grown


def exponential(x: Array, factor: float = 1.0) -> Exponential:
    """Compute `exp(factor * x)`, in float32 for exponents from -115 to 0.

    Args:
        x: Float32 or float64.
        factor: 1, 2, or one of them with a minus.
    """
    if x.dtype == jnp.float32:
        grown, power = _exponential(x, factor)
        return Exponential(grown, power, _HALF, _HALF)
    root = jnp.exp(0.5 * factor * x)
    return Exponential(jnp.zeros_like(x), root, 1.0, root)


def exponent_unit(x: Array) -> float:
    """Return what exponents of `split_exponential` are multiplied with: log2(e) in float32."""
    return 1 / math.log(2) if x.dtype == jnp.float32 else 1.0


def split_exponential(rough: Array, high: Array, *low: Array) -> Exponential:
    """Compute the exponential of minus a sum, `high` and all `low`, which is not negative.

    Args:
        rough: The sum to some digits; like the others in units of `exponent_unit`.
        high: Its first part, in float32 a multiple of 2**-17, so that it has no rounding.
        low: The other parts, so small that their rounding does not matter.
    """
    if high.dtype == jnp.float32:
        grown, power = _split_exponential(rough, high, low)
        return Exponential(grown, power, _HALF, _HALF)
    # Not `rough`: a product would be fused into the first difference.
    total = functools.reduce(jnp.add, low, high)
    root = jnp.exp(-0.5 * total)
    return Exponential(functools.reduce(jnp.subtract, low, total - high), root, 1.0, root)


def exp(x: Array) -> Array:
    """Compute the exponential of what is not positive, in float32 down to -115."""
    return exponential(x).number


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def expm1(x: Array, factor: float = 1.0) -> Array:
    """Compute `exp(factor * x) - 1`, in float32 for exponents from -87 to 88.

    Args:
        x: Float32 or float64.
        factor: 1 or 2.
    """
    if x.dtype != jnp.float32:
        return jnp.expm1(factor * x)
    grown, bits = _grown(x, factor)
    power = lax.bitcast_convert_type(bits + (127 << 23), jnp.float32)
    return power * grown + (power - 1)


@expm1.defjvp
def _(factor: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = expm1(*primals, factor)
    return y, (1 + y) * (factor * tangents[0])


def log1p(n: Array) -> Array:
    """Compute `log(1 + n)` for `n` from 0 to 1."""
    if n.dtype != jnp.float32:
        return jnp.log1p(n)
    double = n / (1 + 0.5 * n)  # of t in log(1 + n) = 2 atanh(t), t = n / (2 + n)
    s = 0.25 * double * double
    return double + double * (s * polynomial(_ATANH, s))


# --- float32 ------------------------------------------------------------------------


def _whole(x: Array) -> tuple[Array, Array]:
    """Round to whole numbers; return them, and again as the bits of their powers of two."""
    bits = lax.bitcast_convert_type(x + _ALIGN, jnp.int32)
    return (bits - _ALIGN_BITS).astype(jnp.float32), bits << 23


def _scaled(bits: Array) -> Array:
    """Make 2**k, scaled, of the bits of k."""
    return lax.bitcast_convert_type(bits + ((127 + _SCALE_BITS) << 23), jnp.float32)


def _grown(x: Array, factor: float) -> tuple[Array, Array]:
    """Return `exp(r) - 1` and the bits of `k`, where `factor * x = k ln 2 + r`."""
    k, bits = _whole(x * (factor / math.log(2)))
    r = (x - k * (_LN2_HIGH / factor)) - k * (_LN2_LOW / factor)
    e, d, c, b, a = (value * factor**i for value, i in zip(_EXP, (6, 5, 4, 3, 2), strict=True))
    s = r * r
    # In two halves side by side: the processor need not wait for one to begin the other.
    return ((e * s + (d * r + c)) * s + (b * r + a)) * s + r * factor, bits


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _exponential(x: Array, factor: float) -> tuple[Array, Array]:
    grown, bits = _grown(x, factor)
    return grown, _scaled(bits)


@_exponential.defjvp
def _(
    factor: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    grown, power = _exponential(*primals, factor)
    return (grown, power), ((1 + grown) * (factor * tangents[0]), jnp.zeros_like(power))


@jax.custom_jvp
def _split_exponential(rough: Array, high: Array, low: tuple[Array, ...]) -> tuple[Array, Array]:
    k, bits = _whole(-rough)
    r = functools.reduce(jnp.subtract, low, -high - k)
    f, e, d, c, b, a = _EXP2
    s = r * r
    return ((f * s + (e * r + d)) * s + (c * r + b)) * s + a * r, _scaled(bits)


@_split_exponential.defjvp
def _(
    primals: tuple[Array, Array, tuple[Array, ...]],
    tangents: tuple[Array, Array, tuple[Array, ...]],
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    grown, power = _split_exponential(*primals)
    change = -math.log(2) * functools.reduce(jnp.add, tangents[2], tangents[1])
    return (grown, power), ((1 + grown) * change, jnp.zeros_like(power))
