# SPDX-License-Identifier: Apache-2.0
"""The likelihood of labels summed over all their alignments with time.

A sequence of labels with blanks between, before and after them is a lattice of
2 length + 1 states. In each step an alignment stays, moves on by one, or skips the blank
between two different labels. One scan over time sums over all alignments. Its derivative
by the log-probabilities is how often each class is emitted at each time, and with that as
the target the derivative by the logits is the one of a cross-entropy, which keeps its
digits in a confident row. Arguments are checked in `rosin.functional.losses.ctc`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array
from rosin.functional.entropy import cross_entropy_slope, surprise


class Lattice(NamedTuple):
    """What the labels of a batch allow."""

    states: Array  # (..., states): the class that each state emits
    skips: Array  # (..., states): whether a state can be reached from two states before
    last: Array  # (...): the state of the final blank
    times: Array  # (...): how many steps count


@functools.partial(jax.jit, static_argnums=3)
def lattice(labels: Array, lengths: Array, times: Array, blank: int) -> Lattice:
    """Put blanks around labels."""
    shape = (*labels.shape[:-1], 2 * labels.shape[-1] + 1)
    states = jnp.full(shape, blank, labels.dtype).at[..., 1::2].set(labels)
    differs = jnp.pad(labels[..., 1:] != labels[..., :-1], [(0, 0)] * (labels.ndim - 1) + [(1, 0)])
    skips = jnp.zeros(shape, bool).at[..., 1::2].set(differs[..., : labels.shape[-1]])
    return Lattice(states, skips, 2 * lengths, times)


@jax.custom_jvp
@jax.jit
def alignment_loss(x: Array, paths: Lattice) -> Array:
    """Compute minus the log-likelihood of labels, infinite if no alignment reaches the end.

    Examples:
        >>> paths = lattice(jnp.array([0]), jnp.array(1), jnp.array(2), 1)
        >>> alignment_loss(jnp.zeros((2, 2)), paths).round(4)  # 3 of 4 sequences
        Array(0.2877, dtype=float32)
    """
    return _unlikelihood(-surprise(x), paths)


@alignment_loss.defjvp
def _(primals: tuple[Array, Lattice], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    x, paths = primals
    loss, pull = jax.vjp(lambda log_p: _unlikelihood(log_p, paths), -surprise(x))
    emitted = -pull(jnp.ones_like(loss))[0]
    return loss, jnp.sum(cross_entropy_slope(x, emitted) * tangents[0], (-2, -1))


def _unlikelihood(log_p: Array, paths: Lattice) -> Array:
    emissions = jnp.take_along_axis(log_p, paths.states[..., None, :], -1)
    entry = jnp.arange(paths.states.shape[-1]) == 0  # before the first step, its blank
    start = jnp.broadcast_to(jnp.where(entry, 0, -jnp.inf), paths.states.shape)

    def step(carry: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[Any, None]:
        (weights, total), (time, emission) = carry, now
        moved, skipped = _shift(weights, 1), _shift(weights, 2)
        skipped = jnp.where(paths.skips, skipped, -jnp.inf)
        reached = emission + _log_sum_exp(jnp.stack([weights, moved, skipped]))
        # Measured from the likeliest state, so that a long sequence loses no digits.
        likeliest = lax.stop_gradient(jnp.max(reached, -1))
        shift = jnp.where(likeliest == -jnp.inf, 0, likeliest)
        counts = time < paths.times
        weights = jnp.where(counts[..., None], reached - shift[..., None], weights)
        return (weights, total + jnp.where(counts, shift, 0)), None

    times = jnp.arange(log_p.shape[-2])
    zero = jnp.zeros(log_p.shape[:-2], log_p.dtype)
    start = start.astype(log_p.dtype), zero
    (weights, total), _ = lax.scan(step, start, (times, jnp.moveaxis(emissions, -2, 0)))
    blank = jnp.take_along_axis(weights, paths.last[..., None], -1)[..., 0]
    before = jnp.maximum(paths.last - 1, 0)
    label = jnp.take_along_axis(weights, before[..., None], -1)[..., 0]
    label = jnp.where(paths.last > 0, label, -jnp.inf)
    # A likelihood is at most 1, whatever rounding makes of it.
    unlikelihood = -(total + _log_sum_exp(jnp.stack([blank, label])))
    return unlikelihood - lax.stop_gradient(jnp.minimum(unlikelihood, 0))


def _shift(weights: Array, by: int) -> Array:
    ends = jnp.full((*weights.shape[:-1], by), -jnp.inf, weights.dtype)
    return jnp.concatenate([ends, weights], -1)[..., : weights.shape[-1]]


@jax.custom_jvp
def _log_sum_exp(x: Array) -> Array:
    """Sum over the first axis; where all is impossible the derivative is 0."""
    largest = jnp.max(x, 0)
    first = jnp.argmax(x, 0)
    base = jnp.where(largest == -jnp.inf, 0, largest)
    is_first = lax.broadcasted_iota(first.dtype, x.shape, 0) == first
    return largest + jnp.log1p(jnp.sum(jnp.where(is_first, 0, jnp.exp(x - base)), 0))


@_log_sum_exp.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    total = _log_sum_exp(x)
    possible = total != -jnp.inf
    share = jnp.where(possible, jnp.exp(x - jnp.where(possible, total, 0)), 0)
    return total, jnp.sum(share * dx, 0)
