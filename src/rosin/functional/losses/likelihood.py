# SPDX-License-Identifier: Apache-2.0
"""Negative log-likelihoods of counts and of numbers: one loss for each entry.

A name that starts with `log` takes the logarithm of the rate or of the variance, which
any number is; prefer it as the end of a model.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_same_shape
from rosin.functional.logarithms import log, quotient, times
from rosin.functional.losses.shared import Reduction, blank, expect_mask, pair, reduced
from rosin.functional.numerics import at_least_float32, real_array

_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)

# --- counts -------------------------------------------------------------------------


@jax.custom_jvp
@jax.jit
def _poisson(rate: Array, count: Array) -> Array:
    none = count == 0
    return rate - jnp.where(none, 0, count * log(jnp.where(none, 1, rate)))


def _poisson_rule(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (rate, count), (drate, dcount) = primals, tangents
    loss = _poisson(rate, count)
    slope = jnp.zeros_like(loss)
    if not isinstance(drate, SymbolicZero):
        none = (count == 0) & (rate == 0)
        slope += jnp.where(none, 1, _excess(jnp.where(none, 1, rate), count)) * drate
    if not isinstance(dcount, SymbolicZero):  # times a zero, the log of 0 would give NaN
        slope -= log(rate) * dcount
    return loss, slope


_poisson.defjvp(_poisson_rule, symbolic_zeros=True)


@jax.custom_jvp
def _excess(rate: Array, count: Array) -> Array:
    """Compute `1 - count / rate`, with the digits of the difference and of its derivative."""
    return (rate - count) / rate


@_excess.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (rate, count), (drate, dcount) = primals, tangents
    by_rate = quotient(count, rate) * (1 / rate)  # as in the rule of `quotient`
    return _excess(rate, count), by_rate * drate - quotient(dcount, rate)


def poisson_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the negative log-likelihood of counts, given their rates.

    $$\ell = \hat y - y \log \hat y$$

    What depends on the count alone is left out, so the loss can be negative.

    Args:
        prediction: The rates $\hat y$, above 0; at 0 a count other than 0 costs infinity.
        target: The counts $y$, at least 0, as floating-point numbers of the same shape.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> poisson_loss(jnp.array([0.1, 0.2, 0.3]), jnp.array([0.1, 0.2, 0.3])).round(4)
        Array(0.5044, dtype=float32)

    Source:
        Flux.jl `poisson_loss`; PyTorch `poisson_nll_loss(log_input=False)` without its
        epsilon.
    """
    prediction, target = pair(prediction, target, subject="poisson_loss", mask=mask)
    return reduced(_poisson(prediction, target), reduction, subject="poisson_loss", mask=mask)


def logpoisson_loss(
    log_rate: ArrayLike,
    target: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the negative log-likelihood of counts, given the logarithms of their rates.

    $$\ell = e^x - y x$$

    Args:
        log_rate: The $x$, of which $e^x$ is the rate.
        target: The counts $y$, at least 0, as floating-point numbers of the same shape.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logpoisson_loss(jnp.array([0.0, 1.0]), jnp.array([2.0, 1.0])).round(4)
        Array(1.3591, dtype=float32)

    Source:
        PyTorch `poisson_nll_loss`.
    """
    subject, names = "logpoisson_loss", ("log_rate", "target")
    x, target = pair(log_rate, target, subject=subject, names=names, mask=mask)
    losses = jnp.exp(x) - times(target, x)
    return reduced(losses, reduction, subject=subject, mask=mask)


# --- numbers ------------------------------------------------------------------------


@jax.custom_jvp
@jax.jit
def _gaussian(error: Array, variance: Array) -> Array:
    z = error / jnp.sqrt(variance)
    return 0.5 * jnp.log(variance) + 0.5 * z * z


@_gaussian.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (error, variance), (derror, dvariance) = primals, tangents
    deviation = jnp.sqrt(variance)
    z = error / deviation
    by_variance = 0.5 * ((1 - z) * (1 + z)) / variance
    return _gaussian(error, variance), z / deviation * derror + by_variance * dvariance


def gaussian_nll_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    variance: ArrayLike,
    *,
    full: bool = False,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the negative log-likelihood of numbers, given a mean and a variance of each.

    $$\ell = \tfrac12 \left(\log v + \frac{(\hat y - y)^2}{v}\right)$$

    Args:
        prediction: The means $\hat y$.
        target: The $y$, of the same shape.
        variance: The $v$, above 0, of the same shape.
        full: Whether to add the constant $\tfrac12 \log 2\pi$.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> gaussian_nll_loss(jnp.array([1.0]), jnp.array([3.0]), jnp.array([4.0])).round(4)
        Array(1.1931, dtype=float32)

    Source:
        Nix & Weigend 1994. PyTorch's `gaussian_nll_loss` raises variances to 1e-6; here
        they stay as they are. `loggaussian_nll_loss` needs no care for its second output.
    """
    subject = "gaussian_nll_loss"
    error, variance = _error_and(prediction, target, variance, subject, "variance", mask)
    losses = _gaussian(error, variance) + (_HALF_LOG_2_PI if full else 0)
    return reduced(losses, reduction, subject=subject, mask=mask)


@jax.custom_jvp
@jax.jit
def _loggaussian(error: Array, log_variance: Array) -> Array:
    # In two halves, for exp of all of it can overflow where the product does not.
    root = jnp.exp(-0.25 * log_variance)
    z = error * root * root
    return 0.5 * log_variance + 0.5 * z * z


@_loggaussian.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (error, log_variance), (derror, dlog_variance) = primals, tangents
    root = jnp.exp(-0.25 * log_variance)
    z = error * root * root
    by_variance = 0.5 * ((1 - z) * (1 + z))
    slope = z * root * root * derror + by_variance * dlog_variance
    return _loggaussian(error, log_variance), slope


def loggaussian_nll_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    log_variance: ArrayLike,
    *,
    full: bool = False,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the negative log-likelihood of numbers, given a mean and a log-variance.

    $$\ell = \tfrac12 \left(s + (\hat y - y)^2 e^{-s}\right)$$

    Args:
        prediction: The means $\hat y$.
        target: The $y$, of the same shape.
        log_variance: The $s$, of which $e^s$ is the variance; of the same shape.
        full: Whether to add the constant $\tfrac12 \log 2\pi$.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> loggaussian_nll_loss(jnp.array([1.0]), jnp.array([3.0]), jnp.array([0.0]))
        Array(2., dtype=float32)

    Source:
        Nix & Weigend 1994; Kendall & Gal 2017, eq. 8.
    """
    subject = "loggaussian_nll_loss"
    error, s = _error_and(prediction, target, log_variance, subject, "log_variance", mask)
    losses = _loggaussian(error, s) + (_HALF_LOG_2_PI if full else 0)
    return reduced(losses, reduction, subject=subject, mask=mask)


def _error_and(
    prediction: ArrayLike,
    target: ArrayLike,
    spread: ArrayLike,
    subject: str,
    name: str,
    mask: ArrayLike | None,
) -> tuple[Array, Array]:
    """Check three arrays of equal shape; return the error and the third."""
    prediction, target = pair(prediction, target, subject=subject)
    spread = real_array(spread, subject=subject, name=name)
    expect_same_shape(prediction, spread, subject=subject, names=("prediction", name))
    kept = expect_mask(mask, prediction.shape, subject=subject)
    dtype = at_least_float32(prediction, spread)
    prediction, target, spread = blank(kept, prediction, target, spread.astype(dtype))
    return prediction.astype(dtype) - target.astype(dtype), spread
