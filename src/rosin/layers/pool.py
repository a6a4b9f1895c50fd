# SPDX-License-Identifier: Apache-2.0
"""Pooling layers: over windows (MaxPool, MeanPool, LpPool), adaptive and global ones."""

import math
from collections.abc import Iterator
from typing import Any

from rosin.core.module import Module
from rosin.core.types import Array, Static
from rosin.core.validation import expect_between, expect_kind, expect_sizes
from rosin.functional.adaptive import (
    adaptive_max_pool,
    adaptive_mean_pool,
    global_max_pool,
    global_mean_pool,
)
from rosin.functional.pooling import lp_pool, max_pool, mean_pool
from rosin.functional.windows import Padding, expand_pad, expand_sizes
from rosin.layers.inputs import as_input


class MaxPool(Module):
    r"""Take the greatest value in each window.

    $$y_{b,p,c} = \max_{k} x_{b,\,s p + k - a,\,c}$$

    Args:
        window: Its size along each spatial axis; its length sets the rank.
        stride: Step of the window; the window's size when left out.
        pad: As for `Conv`; padding never wins.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, *space', channels)`.

    Raises:
        RangeError: A size, stride or pad is out of range.
        ShapeError: The input has another rank, or is smaller than the window.

    Examples:
        >>> import jax.numpy as jnp
        >>> MaxPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel()
        Array([ 5.,  7., 13., 15.], dtype=float32)

    Source:
        Flux.jl `MaxPool`.
    """

    window: Static[tuple[int, ...]]
    stride: Static[tuple[int, ...]]
    pad: Static[Padding]

    def __init__(
        self,
        window: tuple[int, ...],
        *,
        stride: int | tuple[int, ...] | None = None,
        pad: Padding = 0,
    ) -> None:
        self.window, self.stride, self.pad = _geometry("MaxPool", window, stride, pad)

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, *space', channels)`."""
        x = as_input(x, None, subject=self)
        return max_pool(x, self.window, stride=self.stride, pad=self.pad, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.window
        yield "stride", self.stride, self.window
        yield "pad", self.pad, ((0, 0),) * len(self.window)


class MeanPool(Module):
    r"""Take the mean of each window.

    $$y_{b,p,c} = \frac{1}{|K|} \sum_{k \in K} x_{b,\,s p + k - a,\,c}$$

    Args:
        window: Its size along each spatial axis; its length sets the rank.
        stride: Step of the window; the window's size when left out.
        pad: As for `Conv`.
        count_padding: Whether padded zeros count into the mean.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, *space', channels)`.

    Raises:
        RangeError: A size, stride or pad is out of range.
        ShapeError: The input has another rank, or is smaller than the window.

    Examples:
        >>> import jax.numpy as jnp
        >>> MeanPool((2, 2))(jnp.arange(16.0).reshape(1, 4, 4, 1)).ravel()
        Array([ 2.5,  4.5, 10.5, 12.5], dtype=float32)

    Source:
        Flux.jl `MeanPool`, which always counts padding.
    """

    window: Static[tuple[int, ...]]
    stride: Static[tuple[int, ...]]
    pad: Static[Padding]
    count_padding: Static[bool]

    def __init__(
        self,
        window: tuple[int, ...],
        *,
        stride: int | tuple[int, ...] | None = None,
        pad: Padding = 0,
        count_padding: bool = True,
    ) -> None:
        expect_kind(bool, subject="MeanPool", count_padding=count_padding)
        self.window, self.stride, self.pad = _geometry("MeanPool", window, stride, pad)
        self.count_padding = count_padding

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, *space', channels)`."""
        return mean_pool(
            as_input(x, None, subject=self),
            self.window,
            stride=self.stride,
            pad=self.pad,
            count_padding=self.count_padding,
            subject=self,
        )

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.window
        yield "stride", self.stride, self.window
        yield "pad", self.pad, ((0, 0),) * len(self.window)
        yield "count_padding", self.count_padding, True


class LpPool(Module):
    r"""Take the p-norm of each window.

    $$y_{b,q,c} = \Big(\sum_k \lvert x_{b,\,s q + k - a,\,c} \rvert^p\Big)^{1/p}$$

    Args:
        p: The exponent; at least 1.
        window: Its size along each spatial axis; its length sets the rank.
        stride: Step of the window; the window's size when left out.
        pad: As for `Conv`.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, *space', channels)`.

    Raises:
        RangeError: `p`, a size, stride or pad is out of range.
        ShapeError: The input has another rank, or is smaller than the window.
        DtypeError: The input is not of a real floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> LpPool(2, (2,))(jnp.array([3.0, -4.0, 0.0, 2.0]).reshape(1, 4, 1)).ravel()
        Array([5., 2.], dtype=float32)

    Source:
        Gulcehre et al. 2014; NNlib.jl `lpnormpool`, for which Flux.jl has no layer.
        PyTorch's `LPPool` leaves the absolute value out.
    """

    p: Static[float]
    window: Static[tuple[int, ...]]
    stride: Static[tuple[int, ...]]
    pad: Static[Padding]

    def __init__(
        self,
        p: float,
        window: tuple[int, ...],
        *,
        stride: int | tuple[int, ...] | None = None,
        pad: Padding = 0,
    ) -> None:
        expect_between(1, math.inf, subject="LpPool", include_high=False, p=p)
        self.p = float(p)
        self.window, self.stride, self.pad = _geometry("LpPool", window, stride, pad)

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, *space', channels)`."""
        x = as_input(x, None, subject=self)
        return lp_pool(x, self.p, self.window, stride=self.stride, pad=self.pad, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.p
        yield self.window
        yield "stride", self.stride, self.window
        yield "pad", self.pad, ((0, 0),) * len(self.window)


class AdaptiveMaxPool(Module):
    r"""Take the greatest value in each of a stated number of bins.

    Along each axis, from size $n$ to size $m$, bin $q$ goes from
    $\lfloor q n / m \rfloor$ up to, not with, $\lceil (q + 1) n / m \rceil$.

    Args:
        size: The size of the result along each spatial axis; its length sets the rank.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, *size, channels)`.

    Raises:
        RangeError: A size is out of range.
        ShapeError: The input has another rank, or an empty spatial axis.

    Examples:
        >>> import jax.numpy as jnp
        >>> AdaptiveMaxPool((3,))(jnp.arange(5.0).reshape(1, 5, 1)).ravel()
        Array([1., 3., 4.], dtype=float32)

    Source:
        PyTorch `AdaptiveMaxPool`. Flux.jl's takes windows of equal size, which is the same where
        $m$ divides $n$.
    """

    size: Static[tuple[int, ...]]

    def __init__(self, size: tuple[int, ...]) -> None:
        expect_sizes(size, subject="AdaptiveMaxPool", name="size", axes="spatial axes")
        self.size = size

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, *size, channels)`."""
        return adaptive_max_pool(as_input(x, None, subject=self), self.size, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.size


class AdaptiveMeanPool(Module):
    r"""Take the mean in each of a stated number of bins.

    Along each axis, from size $n$ to size $m$, bin $q$ goes from
    $\lfloor q n / m \rfloor$ up to, not with, $\lceil (q + 1) n / m \rceil$.

    Args:
        size: The size of the result along each spatial axis; its length sets the rank.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, *size, channels)`.

    Raises:
        RangeError: A size is out of range.
        ShapeError: The input has another rank, or an empty spatial axis.

    Examples:
        >>> import jax.numpy as jnp
        >>> AdaptiveMeanPool((3,))(jnp.arange(5.0).reshape(1, 5, 1)).ravel()
        Array([0.5, 2. , 3.5], dtype=float32)

    Source:
        PyTorch `AdaptiveAvgPool`. Flux.jl's takes windows of equal size, which is the same where
        $m$ divides $n$.
    """

    size: Static[tuple[int, ...]]

    def __init__(self, size: tuple[int, ...]) -> None:
        expect_sizes(size, subject="AdaptiveMeanPool", name="size", axes="spatial axes")
        self.size = size

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, *size, channels)`."""
        return adaptive_mean_pool(as_input(x, None, subject=self), self.size, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.size


class GlobalMaxPool(Module):
    r"""Take the greatest value over all spatial axes, and keep them at length 1.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, 1, …, 1, channels)`; follow it
          with `flatten`.

    Raises:
        ShapeError: The input has no spatial axis, or an empty one.

    Examples:
        >>> import jax.numpy as jnp
        >>> GlobalMaxPool()(jnp.ones((2, 4, 4, 3))).shape
        (2, 1, 1, 3)

    Source:
        Flux.jl `GlobalMaxPool`.
    """

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, 1, …, 1, channels)`."""
        return global_max_pool(as_input(x, None, subject=self), subject=self)


class GlobalMeanPool(Module):
    r"""Take the mean over all spatial axes, and keep them at length 1.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, 1, …, 1, channels)`; follow it
          with `flatten`.

    Raises:
        ShapeError: The input has no spatial axis, or an empty one.

    Examples:
        >>> import jax.numpy as jnp
        >>> GlobalMeanPool()(jnp.ones((2, 4, 4, 3))).shape
        (2, 1, 1, 3)

    Source:
        Flux.jl `GlobalMeanPool`.
    """

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, 1, …, 1, channels)`."""
        return global_mean_pool(as_input(x, None, subject=self), subject=self)


def _geometry(
    subject: str, window: tuple[int, ...], stride: int | tuple[int, ...] | None, pad: Padding
) -> tuple[tuple[int, ...], tuple[int, ...], Padding]:
    expect_sizes(window, subject=subject, name="window", axes="spatial axes")
    rank = len(window)
    step = window if stride is None else expand_sizes(stride, rank, subject=subject, name="stride")
    return window, step, expand_pad(pad, rank, subject=subject)
