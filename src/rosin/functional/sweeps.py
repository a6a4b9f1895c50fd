# SPDX-License-Identifier: Apache-2.0
"""Recurrences over time as one program each, with the derivative that makes them fast.

A rule says what one step of a cell computes. `sweep` runs it over all steps and gives it
a tangent in two parts: what the weights add at every step, as one product over all of
them, and a linear recurrence. Transposed by JAX, that is a backward pass which emits the
gradients of the gates and then forms the gradient of the weights in one product, where a
plain `lax.scan` would add to it at every step. Forward mode and higher derivatives follow
from the same rule.

All gates of a step share one tanh, since sigmoid(x) = (1 + tanh(x / 2)) / 2.
"""

import dataclasses
import functools
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from rosin.core.types import Activation, Array

State: TypeAlias = tuple[Array, ...]
"""The arrays that a cell hands to its next step; the first is also its output."""

Weights: TypeAlias = tuple[Any, ...]
"""The arrays that multiply the state, and what else acts at every step (or None)."""


class Rule(Protocol):
    """One cell. `z` is what its input comes to, `x W + b`, with all gates side by side."""

    gates: int
    states: int

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """Name the weights and their shapes, in order."""
        ...

    def step(self, state: State, z: Array, weights: Weights) -> tuple[State, Any]:
        """Return the next state, and the coefficients of its derivative."""
        ...

    def spread(self, dz: Array, before: Array, weights: Weights, coefficients: Any) -> Array:
        """Add to `dz` what the tangents of the weights do, for all steps at once.

        Args:
            dz: The tangent of `z`, `(time, batch, gates * hidden)`.
            before: The first array of the state before each step.
            weights: The tangents of the weights.
            coefficients: Those of all steps.
        """
        ...

    def slope(self, dstate: State, dz: Array, weights: Weights, coefficients: Any) -> State:
        """Map the tangent of a state, and what `spread` returned, to that of the next."""
        ...


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
@functools.partial(jax.jit, static_argnums=(0, 1))
def sweep(
    rule: Rule,
    reverse: bool,  # noqa: FBT001  JAX takes static arguments by place
    z: Array,
    weights: Weights,
    state: State,
    kept: Array | None,
) -> tuple[Array, State]:
    """Run a rule over time; return the first array of every state, and the last state.

    Args:
        rule: The cell.
        reverse: Whether to begin with the last step.
        z: What the inputs come to, `(time, batch, gates * hidden)`.
        weights: Of the rule.
        state: Before the first step, each array `(batch, hidden)`.
        kept: Which steps count, `(time, batch, 1)`; at others the state stays.
    """

    def step(state: State, inputs: Any) -> tuple[State, Array]:
        z, keep = inputs
        new = _held(keep, rule.step(state, z, weights)[0], state)
        return new, new[0]

    last, outputs = lax.scan(step, state, (z, kept), reverse=reverse)
    return outputs, last


@sweep.defjvp
def _tangent(rule: Rule, reverse: bool, primals: Any, tangents: Any) -> Any:  # noqa: FBT001  as above
    z, weights, state, kept = primals
    dz, dweights, dstate, _ = tangents

    def step(state: State, inputs: Any) -> Any:
        z, keep = inputs
        new, coefficients = rule.step(state, z, weights)
        new = _held(keep, new, state)
        return new, (new[0], coefficients)

    last, (outputs, coefficients) = lax.scan(step, state, (z, kept), reverse=reverse)
    first = state[0][None]
    shifted = (outputs[1:], first) if reverse else (first, outputs[:-1])
    before = jnp.concatenate(shifted)[: len(outputs)]  # of no steps there is nothing before
    dz = rule.spread(dz, before, dweights, coefficients)

    def linear(dstate: State, inputs: Any) -> tuple[State, Array]:
        dz, coefficients, keep = inputs
        new = _held(keep, rule.slope(dstate, dz, weights, coefficients), dstate)
        return new, new[0]

    dlast, doutputs = lax.scan(linear, dstate, (dz, coefficients, kept), reverse=reverse)
    return (outputs, last), (doutputs, dlast)


def _held(keep: Array | None, new: State, old: State) -> State:
    if keep is None:
        return new
    return tuple(jnp.where(keep, a, b) for a, b in zip(new, old, strict=True))


def _times(x: Array, weight: Array) -> Array:
    """Multiply the last axis; all others as one, which is faster, backward too."""
    flat = x.reshape(x.shape[0] * x.shape[1], x.shape[2])
    return (flat @ weight).reshape(*x.shape[:2], weight.shape[1])


def _sigmoids(x: Array) -> Array:
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


@dataclasses.dataclass(frozen=True)
class Elman:
    """`h' = activation(z + h U)`."""

    activation: Activation
    gates = 1
    states = 1

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """Name the weights and their shapes."""
        return {"recurrent_weight": (hidden, hidden)}

    def step(self, state: State, z: Array, weights: Weights) -> tuple[State, Any]:
        """Compute one step."""
        (h,), (u,) = state, weights
        before = z + h @ u
        return (self.activation(before),), before

    def spread(self, dz: Array, before: Array, weights: Weights, coefficients: Any) -> Array:
        """Add what the tangents of the weights do."""
        del coefficients
        return dz + _times(before, weights[0])

    def slope(self, dstate: State, dz: Array, weights: Weights, coefficients: Any) -> State:
        """Compute one step of the tangent."""
        (dh,), (u,) = dstate, weights
        return (jax.jvp(self.activation, (coefficients,), (dz + dh @ u,))[1],)


@dataclasses.dataclass(frozen=True)
class Lstm:
    """`c' = f c + i g`, `h' = o tanh(c')`, with the gates i, f, g, o of `z + h U`."""

    gates = 4
    states = 2

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """Name the weights and their shapes."""
        return {"recurrent_weight": (hidden, 4 * hidden)}

    def step(self, state: State, z: Array, weights: Weights) -> tuple[State, Any]:
        """Compute one step."""
        (h, c), (u,) = state, weights
        half = jnp.full(h.shape[-1], 0.5, z.dtype)
        scale = jnp.concatenate([half, half, 2 * half, half])
        i, f, g, o = jnp.split(jnp.tanh((z + h @ u) * scale) * scale + (1 - scale), 4, axis=-1)
        new = f * c + i * g
        t = jnp.tanh(new)
        by_gate = [g * i * (1 - i), c * f * (1 - f), i * (1 - g * g), t * o * (1 - o)]
        return (o * t, new), (jnp.concatenate(by_gate, -1), f, o * (1 - t * t))

    def spread(self, dz: Array, before: Array, weights: Weights, coefficients: Any) -> Array:
        """Add what the tangents of the weights do."""
        del coefficients
        return dz + _times(before, weights[0])

    def slope(self, dstate: State, dz: Array, weights: Weights, coefficients: Any) -> State:
        """Compute one step of the tangent."""
        (dh, dc), (u,) = dstate, weights
        by_gate, f, by_cell = coefficients
        i, forget, g, o = jnp.split((dz + dh @ u) * by_gate, 4, axis=-1)
        dc = f * dc + i + forget + g
        return by_cell * dc + o, dc


@dataclasses.dataclass(frozen=True)
class Gru:
    """`h' = (1 - w) n + w h`, `n = tanh(z_n + r (h U_n + b_n))`, with sigmoid gates r, w."""

    gates = 3
    states = 1

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """Name the weights and their shapes."""
        return {"recurrent_weight": (hidden, 3 * hidden), "recurrent_bias": (hidden,)}

    def step(self, state: State, z: Array, weights: Weights) -> tuple[State, Any]:
        """Compute one step."""
        (h,), (u, bias) = state, weights
        hidden = h.shape[-1]
        inner = h @ u
        r, w = jnp.split(_sigmoids(z[..., :-hidden] + inner[..., :-hidden]), 2, axis=-1)
        inner = inner[..., -hidden:] if bias is None else inner[..., -hidden:] + bias
        n = jnp.tanh(z[..., -hidden:] + r * inner)
        by_n = (1 - w) * (1 - n * n)
        by_gate = [by_n * inner * r * (1 - r), (h - n) * w * (1 - w), by_n]
        return (n + w * (h - n),), (jnp.concatenate(by_gate, -1), r, w)

    def spread(self, dz: Array, before: Array, weights: Weights, coefficients: Any) -> Array:
        """Add what the tangents of the weights do."""
        du, dbias = weights
        r = coefficients[1]
        added = _times(before, du)
        inner = added[..., -r.shape[-1] :]
        inner = inner if dbias is None else inner + dbias
        return dz + jnp.concatenate([added[..., : -r.shape[-1]], r * inner], -1)

    def slope(self, dstate: State, dz: Array, weights: Weights, coefficients: Any) -> State:
        """Compute one step of the tangent."""
        (dh,), (u, _) = dstate, weights
        by_gate, r, w = coefficients
        dr, dw, dn = jnp.split(dh @ u, 3, axis=-1)
        r_part, w_part, n_part = jnp.split(
            (dz + jnp.concatenate([dr, dw, r * dn], -1)) * by_gate, 3, axis=-1
        )
        return (r_part + w_part + n_part + w * dh,)


@dataclasses.dataclass(frozen=True)
class GruV3:
    """`h' = (1 - w) n + w h`, `n = tanh(z_n + (r h) V)`, with sigmoid gates r, w."""

    gates = 3
    states = 1

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """Name the weights and their shapes."""
        return {"recurrent_weight": (hidden, 2 * hidden), "candidate_weight": (hidden, hidden)}

    def step(self, state: State, z: Array, weights: Weights) -> tuple[State, Any]:
        """Compute one step."""
        (h,), (u, v) = state, weights
        hidden = h.shape[-1]
        r, w = jnp.split(_sigmoids(z[..., :-hidden] + h @ u), 2, axis=-1)
        reset = r * h
        n = jnp.tanh(z[..., -hidden:] + reset @ v)
        by_n = (1 - w) * (1 - n * n)
        return (n + w * (h - n),), (h * r * (1 - r), (h - n) * w * (1 - w), by_n, r, w, reset)

    def spread(self, dz: Array, before: Array, weights: Weights, coefficients: Any) -> Array:
        """Add what the tangents of the weights do."""
        du, dv = weights
        reset = coefficients[-1]
        return dz + jnp.concatenate([_times(before, du), _times(reset, dv)], -1)

    def slope(self, dstate: State, dz: Array, weights: Weights, coefficients: Any) -> State:
        """Compute one step of the tangent."""
        (dh,), (u, v) = dstate, weights
        by_r, by_w, by_n, r, w, _ = coefficients
        hidden = dh.shape[-1]
        dr, dw = jnp.split(dz[..., :-hidden] + dh @ u, 2, axis=-1)
        dn = dz[..., -hidden:] + (by_r * dr + r * dh) @ v
        return (by_w * dw + by_n * dn + w * dh,)
