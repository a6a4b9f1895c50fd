# SPDX-License-Identifier: Apache-2.0
"""Pooling layers: MaxPool, MeanPool, GlobalMeanPool."""

from collections.abc import Iterator
from typing import Any

from rosin.core.module import Module
from rosin.core.types import Array, Static
from rosin.core.validation import expect_kind, expect_sizes
from rosin.functional.convolution import Pad, expand_pad, expand_sizes
from rosin.functional.pooling import global_mean_pool, max_pool, mean_pool
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
    pad: Static[Pad]

    def __init__(
        self, window: tuple[int, ...], *, stride: int | tuple[int, ...] | None = None, pad: Pad = 0
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
    pad: Static[Pad]
    count_padding: Static[bool]

    def __init__(
        self,
        window: tuple[int, ...],
        *,
        stride: int | tuple[int, ...] | None = None,
        pad: Pad = 0,
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
    subject: str, window: tuple[int, ...], stride: int | tuple[int, ...] | None, pad: Pad
) -> tuple[tuple[int, ...], tuple[int, ...], Pad]:
    expect_sizes(window, subject=subject, name="window")
    rank = len(window)
    step = window if stride is None else expand_sizes(stride, rank, subject=subject, name="stride")
    return window, step, expand_pad(pad, rank, subject=subject)
