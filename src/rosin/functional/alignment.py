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
    return _unlikelihood(x, surprise(x), paths)


@alignment_loss.defjvp
def _(primals: tuple[Array, Lattice], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    x, paths = primals
    loss, pull = jax.vjp(lambda scores: _unlikelihood(scores, surprise(x), paths), x)
    emitted = -pull(jnp.ones_like(loss))[0]
    return loss, jnp.sum(cross_entropy_slope(x, emitted) * tangents[0], (-2, -1))


def _unlikelihood(scores: Array, costs: Array, paths: Lattice) -> Array:
    """Sum over alignments; only differences of scores count, and costs have no derivative."""
    costs = lax.stop_gradient(costs)
    scores, costs = (_by_time(a, paths.states) for a in (scores, costs))
    entry = jnp.arange(paths.states.shape[-1]) == 0  # before the first step, its blank
    start = jnp.broadcast_to(jnp.where(entry, 0, -jnp.inf), paths.states.shape)

    def step(carry: tuple[Array, Array], now: tuple[Array, ...]) -> tuple[Any, None]:
        (weights, total), (time, score, cost) = carry, now
        skipped = jnp.where(paths.skips, _shift(weights, 2), -jnp.inf)
        entered = _log_sum_exp(jnp.stack([weights, _shift(weights, 1), skipped]))
        reached, shift = _measured(entered, score, cost)
        counts = time < paths.times
        weights = jnp.where(counts[..., None], reached, weights)
        return (weights, total + jnp.where(counts, shift, 0)), None

    times = jnp.arange(scores.shape[0])
    start = start.astype(scores.dtype), jnp.zeros(scores.shape[1:-1], scores.dtype)
    (weights, total), _ = lax.scan(step, start, (times, scores, costs))
    label = _at(weights, jnp.maximum(paths.last - 1, 0))
    label = jnp.where(paths.last > 0, label, -jnp.inf)
    unlikelihood = total - _log_sum_exp(jnp.stack([_at(weights, paths.last), label]))
    # A likelihood is at most 1, whatever rounding makes of it.
    return unlikelihood - lax.stop_gradient(jnp.minimum(unlikelihood, 0))


def _measured(entered: Array, score: Array, cost: Array) -> tuple[Array, Array]:
    """Measure all states from the likeliest, so that large numbers take no digits away."""
    dead = entered == -jnp.inf
    likeliest = jnp.argmax(jnp.where(dead, -jnp.inf, score + jnp.where(dead, 0, entered)), -1)
    top = lax.stop_gradient(_at(score, likeliest))
    possible = top > -jnp.inf
    top = jnp.where(possible, top, 0)
    ahead = jnp.where(dead, 0, score - top[..., None])
    reached = jnp.where(dead, -jnp.inf, ahead + jnp.where(dead, 0, entered))
    rest = lax.stop_gradient(_at(reached, likeliest))
    rest = jnp.where(rest == -jnp.inf, 0, rest)
    return reached - rest[..., None], jnp.where(possible, _at(cost, likeliest), 0) - rest


def _by_time(x: Array, states: Array) -> Array:
    """Take the entry of each state at each time, and put time first."""
    return jnp.moveaxis(jnp.take_along_axis(x, states[..., None, :], -1), -2, 0)


def _at(x: Array, place: Array) -> Array:
    return jnp.take_along_axis(x, place[..., None], -1)[..., 0]


def _shift(weights: Array, by: int) -> Array:
    ends = jnp.full((*weights.shape[:-1], by), -jnp.inf, weights.dtype)
    return jnp.concatenate([ends, weights], -1)[..., : weights.shape[-1]]


@jax.custom_jvp
def _log_sum_exp(x: Array) -> Array:
    """Sum over the first axis; where all is impossible the derivative is 0."""
    largest, power = _powers(x)
    first = lax.broadcasted_iota(jnp.int32, x.shape, 0) == jnp.argmax(x, 0)
    return largest + jnp.log1p(jnp.sum(jnp.where(first, 0, power), 0))


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
