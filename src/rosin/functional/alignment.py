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
from rosin.functional.entropy import cross_entropy_slope
from rosin.functional.softmax_family import logsoftmax_rows


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
    return _unlikelihood(*_relative(x), paths)


@alignment_loss.defjvp
def _(primals: tuple[Array, Lattice], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    loss, slope = _loss_and_slope(*primals)
    return loss, jnp.sum(slope * tangents[0], (-2, -1))


@jax.jit
def _loss_and_slope(x: Array, paths: Lattice) -> tuple[Array, Array]:
    scores, rest = _relative(x)
    loss, pull = jax.vjp(lambda scores: _unlikelihood(scores, rest, paths), scores)
    emitted = -pull(jnp.ones_like(loss))[0]
    return loss, cross_entropy_slope(x, emitted)


def _relative(x: Array) -> tuple[Array, Array]:
    """Return the logits less the largest of their row, and what it costs to take that one."""
    largest = jnp.max(x, -1, keepdims=True)
    return x - largest, -jnp.max(logsoftmax_rows(x), -1)


def _unlikelihood(scores: Array, rest: Array, paths: Lattice) -> Array:
    """Sum over alignments; with `rest` held, the derivative is that by log-probabilities."""
    scores = jnp.take_along_axis(scores, paths.states[..., None, :], -1)
    by_time = jnp.arange(scores.shape[-2]), jnp.moveaxis(scores, -2, 0), jnp.moveaxis(rest, -1, 0)
    entry = jnp.arange(paths.states.shape[-1]) == 0  # before the first step, its blank
    start = jnp.broadcast_to(jnp.where(entry, 0, -jnp.inf), paths.states.shape)

    def step(carry: tuple[Array, Array], now: tuple[Array, ...]) -> tuple[Any, None]:
        (weights, total), (time, score, rest) = carry, now
        skipped = jnp.where(paths.skips, _shift(weights, 2), -jnp.inf)
        entered = _log_sum_exp(jnp.stack([weights, _shift(weights, 1), skipped]))
        reached, shift = _measured(entered, score)
        counts = time < paths.times
        weights = jnp.where(counts[..., None], reached, weights)
        return (weights, total + jnp.where(counts, rest - shift, 0)), None

    zero = jnp.zeros(paths.states.shape[:-1], scores.dtype)
    (weights, total), _ = lax.scan(step, (start.astype(scores.dtype), zero), by_time)
    label = _at(weights, jnp.maximum(paths.last - 1, 0))
    label = jnp.where(paths.last > 0, label, -jnp.inf)
    unlikelihood = total - _log_sum_exp(jnp.stack([_at(weights, paths.last), label]))
    # What is impossible stays so nearby.
    unlikelihood = jnp.where(unlikelihood == jnp.inf, jnp.inf, unlikelihood)
    # A likelihood is at most 1, whatever rounding makes of it.
    return unlikelihood - lax.stop_gradient(jnp.minimum(unlikelihood, 0))


def _measured(entered: Array, score: Array) -> tuple[Array, Array]:
    """Measure all states from the likeliest, so that large numbers take no digits away."""
    dead = entered == -jnp.inf
    entered = jnp.where(dead, 0, entered)
    together = jnp.where(dead, -jnp.inf, score + entered)
    likeliest = together == jnp.max(together, -1, keepdims=True)
    top = _or_zero(jnp.max(jnp.where(likeliest, score, -jnp.inf), -1))
    # First the scores, of which those that matter are close to each other.
    reached = jnp.where(dead, -jnp.inf, (score - top[..., None]) + entered)
    left = _or_zero(jnp.max(reached, -1))
    return reached - left[..., None], top + left


def _or_zero(largest: Array) -> Array:
    """Hold a shift, which has no derivative; where all is impossible there is none."""
    return lax.stop_gradient(jnp.where(largest == -jnp.inf, 0, largest))


def _at(x: Array, place: Array) -> Array:
    return jnp.take_along_axis(x, place[..., None], -1)[..., 0]


def _shift(weights: Array, by: int) -> Array:
    ends = jnp.full((*weights.shape[:-1], by), -jnp.inf, weights.dtype)
    return jnp.concatenate([ends, weights], -1)[..., : weights.shape[-1]]


@jax.custom_jvp
def _log_sum_exp(x: Array) -> Array:
    """Sum over the first axis; where all is impossible the derivative is 0."""
    largest, power = _powers(x)
    top = x == largest
    others = jnp.sum(jnp.where(top, 0, power), 0)
    return largest + jnp.log1p(others + (jnp.sum(top, 0) - 1))


@_log_sum_exp.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    _, power = _powers(x)
    total = jnp.sum(power, 0)
    share = power / jnp.where(total == 0, 1, total)
    return _log_sum_exp(x), jnp.sum(share * dx, 0)


def _powers(x: Array) -> tuple[Array, Array]:
    largest = jnp.max(x, 0)
    return largest, jnp.exp(x - jnp.where(largest == -jnp.inf, 0, largest))
