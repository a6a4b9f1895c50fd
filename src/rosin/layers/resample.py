# SPDX-License-Identifier: Apache-2.0
"""Layers that change the spatial axes and learn nothing: Upsample, PixelShuffle, Pad."""

from collections.abc import Callable, Iterator
from typing import Any

from rosin.core.module import Module
from rosin.core.types import Array, Static
from rosin.core.validation import expect_between, expect_one_of, expect_sizes, is_whole, refuse
from rosin.errors import RangeError, shown
from rosin.functional.padding import (
    pad_circular,
    pad_constant,
    pad_reflect,
    pad_repeat,
    pad_symmetric,
)
from rosin.functional.patches import pixel_shuffle, pixel_unshuffle
from rosin.functional.resampling import expect_mode, expect_target, upsample
from rosin.functional.windows import Widths, expand_widths
from rosin.layers.inputs import as_input


class Upsample(Module):
    r"""Resample the spatial axes to a multiple of their size, or to a stated size.

    $$y_i = \sum_j h(u_i - j)\, x_j, \qquad u_i = \frac{i + 1/2}{s} - \frac 1 2$$

    along each axis, with scale $s$ and the linear or cubic $h$ of `rosin.functional.upsample`.

    Args:
        scale: What sizes are multiplied by and rounded down, a number above 0 or one for
            each axis.
        size: The new size, an int or one for each axis; pass this or `scale`.
        mode: `"nearest"`, `"linear"` or `"cubic"` for any rank; `"bilinear"` and
            `"bicubic"` are the same for 2 spatial axes, `"trilinear"` for 3.
        align_corners: Whether the first and the last value keep their places.
        antialias: Whether to average where an axis becomes shorter.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, *size, channels)`.

    Raises:
        RangeError: A scale, a size or the mode is out of range, or they do not go together.
        ShapeError: The input has another rank or an empty spatial axis, or nothing would
            be left.
        StructureError: Both of scale and size are given, or neither.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> Upsample(scale=2, mode="bilinear")(jnp.ones((1, 14, 14, 3))).shape
        (1, 28, 28, 3)

    Source:
        Flux.jl `Upsample`, whose linear modes are those of `align_corners=True`. Equal to
        PyTorch's, of which `nearest` is `"nearest-exact"`.
    """

    scale: Static[float | tuple[float, ...] | None]
    size: Static[int | tuple[int, ...] | None]
    mode: Static[str]
    align_corners: Static[bool]
    antialias: Static[bool]

    def __init__(
        self,
        *,
        scale: float | tuple[float, ...] | None = None,
        size: int | tuple[int, ...] | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
        antialias: bool = False,
    ) -> None:
        expect_target(scale, size, subject="Upsample")
        expect_mode(mode, align_corners=align_corners, antialias=antialias, subject="Upsample")
        self.scale, self.size, self.mode = scale, size, mode
        self.align_corners, self.antialias = align_corners, antialias

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, *size, channels)`."""
        return upsample(
            as_input(x, None, subject=self),
            scale=self.scale,
            size=self.size,
            mode=self.mode,
            align_corners=self.align_corners,
            antialias=self.antialias,
            subject=self,
        )

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield "scale", self.scale, None
        yield "size", self.size, None
        yield "mode", self.mode, "nearest"
        yield "align_corners", self.align_corners, False
        yield "antialias", self.antialias, False


class PixelShuffle(Module):
    """Turn groups of channels into pixels: fewer channels, a larger image.

    Args:
        factor: What each spatial axis is multiplied by, an int or one for each axis.

    Shapes:
        - call: `(batch, *space, channels * R)` to `(batch, *(factor * space), channels)`,
          with the product `R` of the factors over the axes.

    Raises:
        RangeError: A factor is out of range.
        ShapeError: The input has another rank, or channels that `R` does not divide.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> PixelShuffle(2)(jnp.ones((1, 14, 14, 12))).shape
        (1, 28, 28, 3)

    Source:
        Shi et al. 2016, eq. 4; Flux.jl `PixelShuffle`.
    """

    factor: Static[int | tuple[int, ...]]

    def __init__(self, factor: int | tuple[int, ...]) -> None:
        self.factor = _checked_factor(factor, subject="PixelShuffle")

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels * R)` to `(batch, *(factor * space), channels)`."""
        return pixel_shuffle(as_input(x, None, subject=self), self.factor, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.factor


class PixelUnshuffle(Module):
    """Turn pixels into groups of channels: the inverse of `PixelShuffle`.

    Args:
        factor: What each spatial axis is divided by, an int or one for each axis.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, *(space / factor), channels * R)`,
          with the product `R` of the factors over the axes.

    Raises:
        RangeError: A factor is out of range.
        ShapeError: The input has another rank, or an axis that its factor does not divide.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> PixelUnshuffle(2)(jnp.ones((1, 28, 28, 3))).shape
        (1, 14, 14, 12)

    Source:
        PyTorch `PixelUnshuffle`; Flux.jl has none.
    """

    factor: Static[int | tuple[int, ...]]

    def __init__(self, factor: int | tuple[int, ...]) -> None:
        self.factor = _checked_factor(factor, subject="PixelUnshuffle")

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, *(space / factor), channels * R)`."""
        return pixel_unshuffle(as_input(x, None, subject=self), self.factor, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.factor


class Pad(Module):
    """Put something around the spatial axes.

    Args:
        pad: How many before and after: an int, one for each axis, or a (low, high) pair
            for each axis.
        mode: What: `"constant"`; `"reflect"`, the mirror image with the edge once;
            `"symmetric"`, with the edge twice; `"circular"`, the other end; or
            `"replicate"`, the edge.
        value: The number that `"constant"` means.

    Shapes:
        - call: `(batch, *space, channels)` to `(batch, *space', channels)`.

    Raises:
        RangeError: A width, the mode or the value is out of range.
        ShapeError: The input has another rank, or is too small for the mode.
        DtypeError: The input is not of a floating-point dtype.

    Examples:
        >>> import jax.numpy as jnp
        >>> Pad(2, mode="reflect")(jnp.arange(4.0).reshape(1, 4, 1)).ravel()
        Array([2., 1., 0., 1., 2., 3., 2., 1.], dtype=float32)

    Source:
        NNlib.jl `pad_constant` and its siblings, for which Flux.jl has no layer.
    """

    pad: Static[Widths]
    mode: Static[str]
    value: Static[float]

    def __init__(self, pad: Widths, *, mode: str = "constant", value: float = 0.0) -> None:
        rank = len(pad) if isinstance(pad, tuple) else 1
        pairs = expand_widths(pad, max(rank, 1), subject="Pad")
        expect_one_of(tuple(_MODES), subject="Pad", mode=mode)
        expect_between(-float("inf"), float("inf"), subject="Pad", value=value)
        if value != 0 and mode != "constant":
            refuse(
                RangeError,
                subject="Pad",
                expected="value with mode='constant' only",
                got=f"value={shown(value)} and mode={mode!r}",
                fix="leave value out, or pass mode='constant'",
            )
        self.pad = pairs if isinstance(pad, tuple) else pad
        self.mode = mode
        self.value = float(value)

    def __call__(self, x: Array) -> Array:
        """Map `(batch, *space, channels)` to `(batch, *space', channels)`."""
        x = as_input(x, None, subject=self)
        if self.mode == "constant":
            return pad_constant(x, self.pad, self.value, subject=self)
        return _MODES[self.mode](x, self.pad, subject=self)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this layer."""
        yield self.pad
        yield "mode", self.mode, "constant"
        yield "value", self.value, 0.0


_MODES: dict[str, Callable[..., Array]] = {
    "constant": pad_constant,
    "reflect": pad_reflect,
    "symmetric": pad_symmetric,
    "circular": pad_circular,
    "replicate": pad_repeat,
}


def _checked_factor(factor: int | tuple[int, ...], *, subject: str) -> int | tuple[int, ...]:
    """Take one factor of at least 1 for any rank, or one for each axis."""
    expect_sizes(
        (factor,) if is_whole(factor) else factor, subject=subject, name="factor", axes="axes"
    )
    return factor
