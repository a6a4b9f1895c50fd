# SPDX-License-Identifier: Apache-2.0
"""Derivatives of functions of a model, with the model's new state beside them.

Each function here differentiates by the trainable leaves of its first argument, a module
or any tree. Inside, the model is in training mode and may record.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.random import is_key, split_each
from rosin.core.traced import Traced
from rosin.core.tree import Split
from rosin.core.types import Array, PyTree
from rosin.core.validation import refuse
from rosin.errors import DtypeError, ShapeError, StructureError, shown

M = TypeVar("M")
T = TypeVar("T")


def withgradient(f: Callable[..., Any], model: M, *args: Any) -> tuple[Any, M, M]:
    r"""Return the value of `f(model, *args)`, its gradient, and the model with new state.

    $$\nabla_\theta f(\theta, \ldots)$$

    Args:
        f: Returns a real number, or a tuple whose first entry is one; the rest comes
            back as it is.
        model: A module or any tree; its trainable leaves are $\theta$.
        args: Handed on to `f`, not differentiated.

    Returns:
        What `f` returned; the gradient, shaped like the model, with None at every leaf
        that is not trained and zeros where the loss does not reach; the model with the
        state that its layers recorded.

    Raises:
        ShapeError: The loss is not a scalar.
        DtypeError: The loss is not a real float, or the model has no trainable leaf.
        StateError: No parameter reaches the loss.

    Examples:
        >>> import rosin as rs
        >>> layer = rs.Dense(2, 1)
        >>> loss, grads, layer = withgradient(lambda m: m(jnp.ones((3, 2))).sum(), layer)
        >>> grads.weight.ravel(), grads.bias
        (Array([3., 3.], dtype=float32), Array([3.], dtype=float32))

    Source:
        Flux.jl `withgradient`, which returns no new state because layers there mutate.
    """
    traced = Traced(f, model, args)
    differentiated = jax.value_and_grad(traced.loss, has_aux=True)
    (_, (arrays, state)), grads = differentiated(traced.split.trained)
    traced.expect_reached()
    split = traced.split
    return traced.restore(arrays), split.only(grads), split.join(split.trained, state)


def gradient(f: Callable[..., Any], model: M, *args: Any) -> M:
    """Return the gradient alone; see `withgradient`.

    Examples:
        >>> gradient(lambda x: x**2, 3.0)
        Array(6., dtype=float32, weak_type=True)
    """
    return withgradient(f, model, *args)[1]


def pullback(f: Callable[..., Any], model: M, *args: Any) -> tuple[Any, Callable[[Any], M], M]:
    r"""Return the value of `f(model, *args)`, the map back, and the model with new state.

    $$\bar y \mapsto J^\top \bar y$$

    Args:
        f: Returns an array, or any tree of arrays.
        model: A module or any tree.
        args: Handed on to `f`, not differentiated.

    Returns:
        The value; `back(cotangent)`, which takes a tree like the value and returns one
        like the gradient; the model with recorded state. Where the value is of whole
        numbers, what stands in the cotangent is not looked at.

    Raises:
        StructureError: `f` returns something else.
        ShapeError: The cotangent (given to `back`) is not shaped like the value.

    Examples:
        >>> y, back, _ = pullback(lambda x: x**2, jnp.array([1.0, 2.0]))
        >>> back(jnp.ones(2))
        Array([2., 4.], dtype=float32)
    """
    traced = Traced(f, model, args)
    value, back, state = jax.vjp(traced.arrays, traced.split.trained, has_aux=True)

    def pull(cotangent: Any) -> M:
        (grads,) = back(_as_cotangent(cotangent, value))
        return traced.split.only(grads)

    return value, pull, traced.split.join(traced.split.trained, state)


def _as_cotangent(cotangent: Any, value: Any) -> Any:
    """Give a cotangent the dtypes of the value; there is none at whole numbers."""
    given, structure = jax.tree.flatten(cotangent)
    leaves = jax.tree.leaves(value)
    if structure != jax.tree.structure(value) or [*map(jnp.shape, given)] != [
        *map(jnp.shape, leaves)
    ]:
        refuse(
            ShapeError,
            subject="pullback",
            expected=f"a cotangent like the value, {shown(value)}",
            got=shown(cotangent),
            fix="pass, for example, jax.tree.map(jnp.ones_like, value)",
        )
    cotangents = [
        jnp.asarray(one, leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.inexact) else one
        for one, leaf in zip(given, leaves, strict=True)
    ]
    return structure.unflatten(cotangents)


def vector_jacobian(f: Callable[..., Any], model: M, cotangent: Any, *args: Any) -> tuple[Any, M]:
    r"""Return the value of `f(model, *args)` and $J^\top \bar y$, shaped like the model.

    Examples:
        >>> vector_jacobian(jnp.sin, jnp.zeros(2), jnp.array([1.0, 2.0]))[1]
        Array([1., 2.], dtype=float32)
    """
    value, back, _ = pullback(f, model, *args)
    return value, back(cotangent)


def jacobian_vector(f: Callable[..., Any], model: M, tangent: M, *args: Any) -> tuple[Any, Any]:
    r"""Return the value of `f(model, *args)` and $J v$, shaped like the value.

    Args:
        f: Returns an array, or any tree of arrays.
        model: A module or any tree.
        tangent: Shaped like the gradient: arrays at the trainable leaves; what stands at
            the others is not looked at.
        args: Handed on to `f`.

    Raises:
        StructureError: The tangent has no array where the model has a parameter.

    Examples:
        >>> jacobian_vector(lambda x: x**2, jnp.array([1.0, 2.0]), jnp.ones(2))[1]
        Array([2., 4.], dtype=float32)
    """
    traced = Traced(f, model, args)
    trained = traced.split.trained
    direction = jax.tree.leaves(tangent)
    if len(direction) != len(trained):  # a whole model in place of a gradient
        direction = Split(tangent).trained
    if list(map(jnp.shape, direction)) != list(map(jnp.shape, trained)):
        refuse(
            StructureError,
            subject="jacobian_vector",
            expected="a tangent shaped like the gradient",
            got=f"{len(direction)} arrays for {len(trained)} parameters, or other shapes",
            fix="make it like rs.gradient returns it: arrays at the trainable leaves",
        )
    tangents = [jnp.asarray(d, t.dtype) for d, t in zip(direction, trained, strict=True)]
    value, product, _ = jax.jvp(traced.arrays, (trained,), (tangents,), has_aux=True)
    return value, product


def jacobian(f: Callable[..., Any], model: M, *args: Any) -> M:
    r"""Return all first derivatives of an array-valued function.

    $$J_{ij} = \partial f_i / \partial \theta_j$$

    Shapes:
        - each leaf: `(*output, *leaf)`; None at leaves that are not trained.

    Examples:
        >>> jacobian(lambda x: x**2, jnp.array([1.0, 2.0]))
        Array([[2., 0.],
               [0., 4.]], dtype=float32)

    Raises:
        StructureError: `f` returns something else than one array.
        DtypeError: The array is not real floating-point.

    Source:
        Flux.jl `jacobian`, which flattens input and output to a matrix; reshape for that.
    """
    traced = Traced(f, model, args)

    def output(trained: list[Any]) -> Array:
        out, _ = traced.arrays(trained)
        if not isinstance(out, jax.Array):
            refuse(
                StructureError,
                subject=traced.name,
                expected="a function that returns one array",
                got=shown(out),
                fix="return one array, or take the Jacobian of each part by itself",
            )
        if not jnp.issubdtype(out.dtype, jnp.floating):
            refuse(
                DtypeError,
                subject=traced.name,
                expected="an output of a real floating-point dtype",
                got=shown(out),
                fix="convert it with .astype(jnp.float32), or take .real and .imag apart",
            )
        return out

    return traced.split.only(jax.jacrev(output)(traced.split.trained))


def hessian(f: Callable[..., Any], x: Array, *args: Any) -> Array:
    r"""Return all second derivatives of a scalar function of one array.

    $$H_{ij} = \partial^2 f / \partial x_i \partial x_j$$

    Args:
        f: A loss, as for `withgradient`.
        x: One floating-point array. For a model use the vector of `destructure`.
        args: Handed on to `f`.

    Shapes:
        - result: `(*x.shape, *x.shape)`.

    Raises:
        StructureError: `x` is not one array.

    Examples:
        >>> hessian(lambda x: (x**3).sum(), jnp.array([1.0, 2.0]))
        Array([[ 6.,  0.],
               [ 0., 12.]], dtype=float32)
    """
    if not isinstance(x, (jax.Array, np.ndarray)):
        refuse(
            StructureError,
            subject="hessian",
            expected="one array to differentiate by",
            got=shown(x),
            fix="lay the model out first: flat, rebuild = rs.destructure(model), then "
            "rs.hessian(lambda v: loss(rebuild(v)), flat)",
        )
    return jax.jacfwd(lambda v: gradient(f, v, *args))(jnp.asarray(x))


def per_example_gradients(f: Callable[..., Any], model: M, *batch: Any) -> M:
    r"""Return the gradient of `f(model, *example)` for every example of a batch.

    Layers see a batch of one example. Layers with random numbers get a key of their own
    for each example; recorded state is not kept.

    Args:
        f: A loss, as for `withgradient`.
        model: A module or any tree.
        batch: Trees of arrays whose first axis is the example.

    Shapes:
        - each leaf: `(examples, *leaf)`.

    Raises:
        ShapeError: The first axes differ, or there is no example.

    Examples:
        >>> x = jnp.array([1.0, 2.0, 3.0])
        >>> per_example_gradients(lambda w, x: (w * x).sum(), 2.0, x)
        Array([1., 2., 3.], dtype=float32, weak_type=True)
    """
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        refuse(
            ShapeError,
            subject="per_example_gradients",
            expected="arrays with one and the same first axis of at least one example",
            got=", ".join(shown(leaf) for leaf in jax.tree.leaves(batch))[:80] or "no arrays",
            fix="pass a batch, one row for each example",
        )
    ((count,),) = lengths
    leaves, structure = jax.tree.flatten(model)
    mapped = [split_each(leaf, count) if is_key(leaf) else leaf for leaf in leaves]

    def one(model_leaves: list[Any], example: PyTree) -> M:
        single = jax.tree.map(lambda x: x[None], example)
        return gradient(f, structure.unflatten(model_leaves), *single)

    axes = [0 if is_key(leaf) else None for leaf in leaves]
    return jax.vmap(one, in_axes=(axes, 0))(mapped, batch)


def stop_gradient(x: T) -> T:
    """Pass a tree on and let no gradient back through it.

    Examples:
        >>> gradient(lambda x: x * stop_gradient(x), 3.0)
        Array(3., dtype=float32, weak_type=True)
    """
    return jax.lax.stop_gradient(x)
