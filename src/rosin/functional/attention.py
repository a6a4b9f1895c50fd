# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention: all scores at once where they are few, else in blocks."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rosin.core.types import Array, ArrayLike, Key
from rosin.core.validation import expect_between, expect_rank, is_whole, refuse
from rosin.errors import RangeError, ShapeError, StructureError, shown
from rosin.functional.masks import expect_broadcasts, four_axes, make_window_mask
from rosin.functional.numerics import at_least_float32, real_array
from rosin.functional.softmax_family import softmax_rows
from rosin.functional.stochastic import dropout as drop

MOST_SCORES = 2**20
"""So many scores are held at once: 4 MB of float32, which stay in the cache of a CPU."""

# Products of fewer rows than this are slow, whatever they save.
_LEAST_QUERIES = 16

Window = int | tuple[int | None, int | None]
"""How many keys a query sees on both sides of its own place, or before and after it."""


def dot_product_attention(  # noqa: PLR0913  the published arguments of attention
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    mask: Any = None,
    causal: bool = False,
    window: Window | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    key: Key | None = None,
    return_scores: bool = False,
    subject: object = "dot_product_attention",
) -> Any:
    r"""Average the values, each query weighting them by how well their keys match it.

    $$y_i = \sum_j p_{ij} v_j, \qquad p_{ij} = \mathrm{softmax}_j(s\, q_i \cdot k_j + b_{ij})$$

    A query that sees no key gives zeros, and has a gradient of zero. What is masked may
    hold anything, NaN included: neither the result nor a gradient knows of it. A query
    that sees a key or a value which is not finite gives NaN.

    Everything is computed in float32 at least. Beyond a million scores, blocks of
    queries are taken one after the other, and once more in the backward pass, so that
    memory grows with the lengths and not with their product. Both forms have derivatives
    of every order, forward and reverse.

    Args:
        q: The queries.
        k: The keys. Where they have fewer heads than the queries, each serves a group of
            query heads that follow each other.
        v: The values, with as many heads as the keys.
        bias: Added to the scaled scores.
        mask: Booleans; True where a query sees a key.
        causal: Whether a query sees only keys up to its own place, both counted from the
            start.
        window: How many keys a query sees on each side of its own place: one number, or
            one before and one after it; `None` for all.
        scale: The $s$; one over the root of the features when left out.
        dropout: The probability with which a weight $p_{ij}$ is dropped, from 0 to 1.
        key: The randomness of the dropout; what is dropped also depends on the blocks.
        return_scores: Whether the weights $p$ are returned too, as they were used; this
            holds all of them at once.
        subject: What complains in the message.

    Shapes:
        - q: `(batch, time, heads, features)`.
        - k: `(batch, key_time, key_heads, features)`; `key_heads` divides `heads`.
        - v: `(batch, key_time, key_heads, out_features)`.
        - bias, mask: `(time, key_time)`, or `(batch, heads, time, key_time)` where every
          axis may have size 1.
        - result: `(batch, time, heads, out_features)`, of the dtype of `q`; the weights
          `(batch, heads, time, key_time)`.

    Raises:
        DtypeError: An array is not of a real floating-point dtype, or `mask` not boolean.
        RangeError: `window`, `scale` or `dropout` is out of range.
        ShapeError: The shapes do not fit.
        StructureError: There is a dropout but no key.

    Examples:
        >>> q, k = jnp.ones((1, 2, 1, 4)), jnp.zeros((1, 2, 1, 4))
        >>> v = jnp.arange(2.0).reshape(1, 2, 1, 1)
        >>> dot_product_attention(q, k, v, causal=True).ravel()
        Array([0. , 0.5], dtype=float32)

    Source:
        Vaswani et al. 2017, eq. 1; groups of heads: Ainslie et al. 2023; blocks of queries:
        Rabe & Staats 2021. Flux.jl `dot_product_attention` returns the weights always.
        `jax.nn.dot_product_attention` gives the mean of all values to a query that sees
        no key.
    """
    arrays = [real_array(a, subject=subject, name=n) for n, a in (("q", q), ("k", k), ("v", v))]
    _expect_fit(*arrays, subject=subject)
    (batch, time, heads, features), (_, key_time, *_) = arrays[0].shape, arrays[1].shape
    scale = 1 / math.sqrt(features) if scale is None else scale
    ends = {"include_low": False, "include_high": False}
    expect_between(-math.inf, math.inf, subject=subject, **ends, scale=scale)
    key = _expect_key(dropout, key, subject=subject)
    wide = at_least_float32(*arrays)
    query, keys, values = (a.astype(wide).transpose(0, 2, 1, 3) for a in arrays)
    shape = (batch, heads, time, key_time)
    if bias is not None:
        bias = real_array(bias, subject=subject, name="bias").astype(wide)
        bias = _for_scores(bias, shape, subject=subject, name="bias")
    if mask is not None:
        mask = _for_scores(jnp.asarray(mask), shape, subject=subject, name="mask")
    moving = _Queries(query * scale, jnp.int32(0), bias, mask, key)
    static = _Static(_sides(window, causal=causal, subject=subject), dropout)
    if return_scores:
        y, weights = _at_once(moving, keys, values, static)
        return y.transpose(0, 2, 1, 3).astype(arrays[0].dtype), weights.astype(arrays[0].dtype)
    y = _attended(moving, keys, values, static)
    return y.transpose(0, 2, 1, 3).astype(arrays[0].dtype)


# --- what is computed: heads before time, in float32 or wider ---------------------------


class _Queries(NamedTuple):
    """Some queries and what belongs to them."""

    q: Array  # scaled
    first: Array  # the place of the first of them
    bias: Array | None
    mask: Array | None
    key: Key | None


class _Static(NamedTuple):
    """What is part of the program."""

    sides: tuple[int | None, int | None]  # keys seen before and after the own place
    dropout: float


def _attended(queries: _Queries, k: Array, v: Array, static: _Static) -> Array:
    """Attend, in blocks of queries where there are many scores."""
    batch, heads, time, _ = queries.q.shape
    fit = MOST_SCORES // max(1, batch * heads * k.shape[2])
    if time <= max(fit, _LEAST_QUERIES):
        return _at_once(queries, k, v, static)[0]
    size = max(fit, _LEAST_QUERIES)

    @jax.checkpoint
    def block(k: Array, v: Array, some: _Queries) -> Array:
        return _at_once(some, k, v, static)[0]

    def step(_: None, moved: dict[str, Array]) -> tuple[None, Array]:
        return None, block(k, v, queries._replace(**moved))

    y = lax.scan(step, None, _split(queries, size))[1]
    y = jnp.moveaxis(y, 0, 2)  # (batch, heads, blocks, size, features)
    return y.reshape(batch, heads, y.shape[2] * size, v.shape[-1])[:, :, :time]


def _split(queries: _Queries, size: int) -> dict[str, Array]:
    """Cut what belongs to single queries into blocks, along a new first axis."""
    time = queries.q.shape[2]
    count = -(-time // size)

    def cut(a: Array) -> Array:
        a = jnp.pad(a, ((0, 0), (0, 0), (0, count * size - time), (0, 0)))
        return jnp.moveaxis(a.reshape(*a.shape[:2], count, size, a.shape[3]), 2, 0)

    per_query = {"q": queries.q, "bias": queries.bias, "mask": queries.mask}
    moved = {n: cut(a) for n, a in per_query.items() if a is not None and a.shape[2] == time}
    moved["first"] = size * jnp.arange(count, dtype=jnp.int32)
    if queries.key is not None:
        moved["key"] = jax.random.split(queries.key, count)
    return moved


def _at_once(queries: _Queries, k: Array, v: Array, static: _Static) -> tuple[Array, Array]:
    """Attend with all scores in memory; return the weights as well."""
    q, bias = queries.q, queries.bias
    (batch, heads, time, features), (_, key_heads, key_time, _) = q.shape, k.shape
    keep = _kept(queries, key_time, static)
    flaws: list[Array] = []
    if keep is not None:
        q, k, v, flaws = _cleaned(q, k, v)
    grouped = q.reshape(batch, key_heads, heads // key_heads * time, features)
    scores = (grouped @ jnp.swapaxes(k, 2, 3)).reshape(batch, heads, time, key_time)
    for term in (*flaws, *([] if bias is None else [bias])):
        scores = scores + term
    if keep is not None:
        scores = jnp.where(keep, scores, -jnp.inf)
    p = softmax_rows(scores)
    if queries.key is not None:
        p = drop(p, static.dropout, queries.key)
    y = p.reshape(batch, key_heads, heads // key_heads * time, key_time) @ v
    return y.reshape(batch, heads, time, v.shape[-1]), p


def _kept(queries: _Queries, key_time: int, static: _Static) -> Array | None:
    """Say which keys each query sees; None for all."""
    before, after = static.sides
    if before is None and after is None:
        return queries.mask
    time = queries.q.shape[2]
    near = make_window_mask(time, key_time, before=before, after=after, offset=queries.first)
    near = near[None, None]
    return near if queries.mask is None else near & queries.mask


def _cleaned(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array, list[Array]]:
    """Replace what is not finite by zero, and say where, as NaN to be added to the scores.

    A zero weight times NaN would be NaN: what a mask leaves out would leak in the products.
    """
    good_q = jnp.isfinite(q).all(-1, keepdims=True)
    good_k = (jnp.isfinite(k).all(-1) & jnp.isfinite(v).all(-1))[:, :, None]
    group = q.shape[1] // k.shape[1]
    flaws = [
        jnp.where(good, 0, jnp.nan).astype(q.dtype)
        for good in (good_q, jnp.repeat(good_k, group, 1))
    ]
    clean = [jnp.where(jnp.isfinite(a), a, 0) for a in (q, k, v)]
    return clean[0], clean[1], clean[2], flaws


# --- checks -------------------------------------------------------------------------


def _expect_fit(q: Array, k: Array, v: Array, *, subject: object) -> None:
    axes = ("batch", "time", "heads", "features")
    for a in (q, k, v):
        expect_rank(a, axes, subject=subject)
    grouped = k.shape[2] > 0 and q.shape[2] % k.shape[2] == 0
    fits = q.shape[0] == k.shape[0] and q.shape[3] == k.shape[3] > 0 and grouped
    if not fits or k.shape[:3] != v.shape[:3]:
        refuse(
            ShapeError,
            subject=subject,
            expected="q (batch, time, heads, features), k (batch, key_time, key_heads, features) "
            "and v (batch, key_time, key_heads, out_features), with key_heads a divisor of heads",
            got=f"q {shown(q)}, k {shown(k)} and v {shown(v)}",
            fix="make the axes of the same name agree",
        )


def _for_scores(a: Array, shape: tuple[int, ...], *, subject: object, name: str) -> Array:
    a = four_axes(a, subject=subject, name=name)
    expect_broadcasts(a, shape, subject=subject, name=name)
    return a


def _sides(
    window: Window | None, *, causal: bool, subject: object
) -> tuple[int | None, int | None]:
    """Return how many keys are seen before and after a query's place, or refuse."""
    before, after = window if isinstance(window, tuple) and len(window) == 2 else (window, window)
    for side in (before, after):
        if side is not None and (not is_whole(side) or side < 0):
            refuse(
                RangeError,
                subject=subject,
                expected="window to be one or two whole numbers of at least 0",
                got=shown(window),
                fix="pass, for example, window=(128, 0)",
            )
    return before, 0 if causal else after


def _expect_key(dropout: float, key: Key | None, *, subject: object) -> Key | None:
    expect_between(0, 1, subject=subject, dropout=dropout)
    if dropout > 0 and key is None:
        refuse(
            StructureError,
            subject=subject,
            expected="a key for the dropout",
            got="key=None",
            fix="pass key=jax.random.key(0), or dropout=0.0",
        )
    return key if dropout > 0 else None
