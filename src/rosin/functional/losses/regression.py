# SPDX-License-Identifier: Apache-2.0
"""How far numbers are from numbers: one loss for each entry."""

import math

import jax
import jax.numpy as jnp

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_between
from rosin.functional.activations import logcosh
from rosin.functional.logarithms import log_ratio
from rosin.functional.losses.shared import Reduction, numbers_pair, pair, reduced


def mae(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the mean absolute error.

    $$\ell = |\hat y - y|$$

    The derivative where both are equal is 0.

    Args:
        prediction: The $\hat y$, real or complex.
        target: The $y$, of the same shape.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array holds integers or booleans, or the mask no booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> mae(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
        Array(1., dtype=float32)

    Source:
        Flux.jl `mae`.
    """
    prediction, target = numbers_pair(prediction, target, subject="mae", mask=mask)
    error = prediction - target
    if jnp.issubdtype(error.dtype, jnp.complexfloating):
        sizes = jnp.abs(error)
    else:
        sizes = error * jnp.sign(error)  # the derivative of abs at 0 is 1 in JAX
    return reduced(sizes, reduction, subject="mae", mask=mask)


def mse(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the mean squared error.

    $$\ell = |\hat y - y|^2$$

    Args:
        prediction: The $\hat y$, real or complex.
        target: The $y$, of the same shape.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the squares; `None` returns them all.

    Raises:
        DtypeError: An array holds integers or booleans, or the mask no booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> mse(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))
        Array(2., dtype=float32)
        >>> mse(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]), reduction=None)
        Array([0., 4.], dtype=float32)

    Source:
        Flux.jl `mse`.
    """
    prediction, target = numbers_pair(prediction, target, subject="mse", mask=mask)
    error = prediction - target
    if jnp.issubdtype(error.dtype, jnp.complexfloating):
        squares = error.real**2 + error.imag**2
    else:
        squares = error * error
    return reduced(squares, reduction, subject="mse", mask=mask)


def msle(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    epsilon: float | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the mean squared difference of logarithms.

    $$\ell = \left(\log \frac{\hat y + \varepsilon}{y + \varepsilon}\right)^2$$

    Args:
        prediction: The $\hat y$, at least 0.
        target: The $y$, at least 0, of the same shape.
        epsilon: The $\varepsilon$, at least 0, which keeps the logarithm of 0 away; the
            machine epsilon of the dtype when left out. 1 gives the form with `log1p`.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `epsilon` is negative.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> msle(jnp.array([10.0, 1.0]), jnp.array([1.0, 10.0])).round(4)
        Array(5.3019, dtype=float32)

    Source:
        Flux.jl `msle`. What is close to its target keeps its digits.
    """
    prediction, target = pair(prediction, target, subject="msle", mask=mask)
    epsilon = float(jnp.finfo(prediction.dtype).eps) if epsilon is None else epsilon
    expect_between(0, math.inf, subject="msle", include_high=False, epsilon=epsilon)
    error = log_ratio(prediction + epsilon, target + epsilon)
    return reduced(error * error, reduction, subject="msle", mask=mask)


@jax.custom_jvp
@jax.jit
def _huber(error: Array, delta: Array) -> Array:
    size = jnp.abs(error)
    return jnp.where(size < delta, 0.5 * error * error, delta * (size - 0.5 * delta))


@_huber.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    error, delta = primals
    inside = jnp.abs(error) < delta
    slope = jnp.where(inside, error, delta * jnp.sign(error))
    return _huber(error, delta), slope * tangents[0]


def huber_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    delta: float = 1.0,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute half the squared error up to a bound, and a linear error beyond it.

    $$\ell = \begin{cases} \tfrac12 e^2 & |e| < \delta \\
    \delta\,(|e| - \tfrac12 \delta) & \text{else} \end{cases}, \qquad e = \hat y - y$$

    Args:
        prediction: The $\hat y$.
        target: The $y$, of the same shape.
        delta: The bound $\delta$, above 0.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `delta` is not above 0.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> huber_loss(jnp.array([0.5, 3.0]), jnp.zeros(2), reduction=None)
        Array([0.125, 2.5  ], dtype=float32)

    Source:
        Huber 1964; Flux.jl `huber_loss`, PyTorch `huber_loss`.
    """
    prediction, target = pair(prediction, target, subject="huber_loss", mask=mask)
    expect_between(
        0, math.inf, subject="huber_loss", include_low=False, include_high=False, delta=delta
    )
    losses = _huber(prediction - target, jnp.asarray(delta, prediction.dtype))
    return reduced(losses, reduction, subject="huber_loss", mask=mask)


def logcosh_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the logarithm of the hyperbolic cosine of the error.

    $$\ell = \log \cosh(\hat y - y)$$

    It is half the squared error where that is small, and the absolute error less
    $\log 2$ where it is large.

    Args:
        prediction: The $\hat y$.
        target: The $y$, of the same shape.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> logcosh_loss(jnp.array([1e-3, 100.0]), jnp.zeros(2), reduction=None)
        Array([5.000e-07, 9.931e+01], dtype=float32)

    Source:
        Saleh & Saleh 2022. Not in Flux.jl.
    """
    prediction, target = pair(prediction, target, subject="logcosh_loss", mask=mask)
    losses = logcosh(prediction - target)
    return reduced(losses, reduction, subject="logcosh_loss", mask=mask)


def quantile_loss(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    quantile: float = 0.5,
    mask: ArrayLike | None = None,
    reduction: Reduction = jnp.mean,
) -> Array:
    r"""Compute the loss that is least where the prediction is a quantile of the target.

    $$\ell = \max(q\,(y - \hat y),\ (q - 1)(y - \hat y))$$

    The derivative where both are equal is 0.

    Args:
        prediction: The $\hat y$.
        target: The $y$, of the same shape.
        quantile: The $q$, above 0 and below 1; one half gives half the absolute error.
        mask: Which entries count, as booleans of the same shape; all when left out.
        reduction: Makes one number of the losses; `None` returns them all.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or the mask not of
            booleans.
        RangeError: `quantile` is not above 0 and below 1.
        ShapeError: The shapes differ, or a reduction has nothing to reduce.
        StructureError: `reduction` cannot be called.

    Examples:
        >>> quantile_loss(jnp.zeros(2), jnp.array([1.0, -1.0]), quantile=0.75, reduction=None)
        Array([0.75, 0.25], dtype=float32)

    Source:
        Koenker & Bassett 1978, eq. 1.1; the pinball loss.
    """
    prediction, target = pair(prediction, target, subject="quantile_loss", mask=mask)
    expect_between(
        0, 1, subject="quantile_loss", include_low=False, include_high=False, quantile=quantile
    )
    missing = target - prediction
    slope = jnp.where(missing > 0, quantile, quantile - 1)
    losses = jnp.where(missing == 0, 0, slope * missing)
    return reduced(losses, reduction, subject="quantile_loss", mask=mask)
