# SPDX-License-Identifier: Apache-2.0
"""Sound as a spectrum over time: windows, the short-time Fourier transform and its inverse.

Signals are `(..., time)`, spectra `(..., frames, frequencies)`, so that a batch of spectra
is a batch of sequences.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_at_least, expect_between, expect_one_of, refuse
from rosin.errors import DtypeError, RangeError, ShapeError, shown
from rosin.functional.numerics import at_least_float32, real_array

# With more slices than this a frame is read by index: the program would become long.
_MAX_SLICES = 32
# Below this the overlapping windows leave too few digits of the signal.
_LEAST_ENVELOPE = 1e-11  # as PyTorch


def hann_window(length: int, *, periodic: bool = True, dtype: Any = jnp.float32) -> Array:
    r"""Return the Hann window, one period of a raised cosine.

    $$w_n = \sin^2 \frac{\pi n}{N}, \qquad 0 \le n < L$$

    Args:
        length: The $L$; at least 1.
        periodic: Whether $N = L$, as the Fourier transform wants it; else $N = L - 1$, and
            the window is symmetric.
        dtype: A floating-point dtype.

    Raises:
        RangeError: The length is not a whole number of at least 1.

    Examples:
        >>> hann_window(4)
        Array([0. , 0.5, 1. , 0.5], dtype=float32)

    Source:
        NNlib.jl and PyTorch `hann_window`.
    """
    return jnp.asarray(_raised_cosine(length, 0.5, periodic, subject="hann_window"), dtype)


def hamming_window(
    length: int, *, periodic: bool = True, alpha: float = 0.54, dtype: Any = jnp.float32
) -> Array:
    r"""Return the Hamming window, a raised cosine on a pedestal.

    $$w_n = \alpha - (1 - \alpha) \cos \frac{2 \pi n}{N}, \qquad 0 \le n < L$$

    Args:
        length: The $L$; at least 1.
        periodic: Whether $N = L$, as the Fourier transform wants it; else $N = L - 1$, and
            the window is symmetric.
        alpha: The $\alpha$, from 0 to 1.
        dtype: A floating-point dtype.

    Raises:
        RangeError: The length is not a whole number of at least 1, or `alpha` is not
            between 0 and 1.

    Examples:
        >>> hamming_window(4)
        Array([0.08, 0.54, 1.  , 0.54], dtype=float32)

    Source:
        NNlib.jl and PyTorch `hamming_window`.
    """
    expect_between(0, 1, subject="hamming_window", alpha=alpha)
    return jnp.asarray(_raised_cosine(length, alpha, periodic, subject="hamming_window"), dtype)


def stft(
    x: ArrayLike,
    *,
    frame_size: int,
    hop_size: int | None = None,
    window: ArrayLike | None = None,
    centre: bool = True,
    scaling: str | None = None,
    subject: object = "stft",
) -> Array:
    r"""Take the Fourier transform of overlapping frames of a signal.

    $$X_{mk} = \sum_{n=0}^{N-1} w_n\, x_{n + mH}\, e^{-2 \pi i k n / N}$$

    Args:
        x: The signal.
        frame_size: The $N$, samples in a frame; at least 1.
        hop_size: The $H$, samples from one frame to the next; a quarter of the frame when
            left out.
        window: The $w$; the Hann window when left out.
        centre: Whether frame $m$ is centred on sample $mH$, with the signal reflected at
            its ends; else it begins there.
        scaling: What the result is divided by: "frame", the root of $N$; "window", the
            root of $\sum_n w_n^2$; or nothing.
        subject: What complains in the message.

    Shapes:
        - x: `(..., time)`; window: `(frame_size,)`.
        - result: `(..., frames, frame_size // 2 + 1)`, complex; `1 + time // hop_size`
          frames, or without `centre` those that fit in.

    Raises:
        DtypeError: `x` does not hold real floating-point numbers.
        RangeError: A size or `scaling` is out of range.
        ShapeError: The signal is shorter than a frame, or than half a frame to reflect, or
            the window is not as long as a frame.

    Examples:
        >>> stft(jnp.sin(jnp.arange(400.0)), frame_size=64).shape
        (26, 33)

    Source:
        Allen 1977; PyTorch `stft` with frames before frequencies. NNlib.jl and PyTorch
        use a rectangular window unless told otherwise.
    """
    x = real_array(x, subject=subject)
    signal = x.astype(at_least_float32(x))
    hop = _checked_hop(frame_size, hop_size, scaling, subject=subject)
    taper = _window(window, frame_size, signal.dtype, subject=subject)
    if centre:
        signal = _reflected(signal, frame_size, subject=subject)
    if not signal.ndim or signal.shape[-1] < frame_size:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"a signal of shape (..., time) with at least {frame_size} samples",
            got=shown(x),
            fix="use a smaller frame_size, or pad the signal",
        )
    spectrum = jnp.fft.rfft(_frames(signal, frame_size, hop) * taper)
    return spectrum / _scale(scaling, taper) if scaling else spectrum


def istft(
    y: ArrayLike,
    *,
    frame_size: int,
    hop_size: int | None = None,
    window: ArrayLike | None = None,
    centre: bool = True,
    scaling: str | None = None,
    length: int | None = None,
    subject: object = "istft",
) -> Array:
    r"""Put a signal together from its short-time Fourier transform.

    $$x_t = \frac{\sum_m w_{t - mH}\, \hat x_{m, t - mH}}{\sum_m w_{t - mH}^2}$$

    $\hat x_m$ is the inverse transform of frame $m$. This undoes `stft` with the same
    options; of a spectrum that is none it is the signal whose spectrum is nearest.

    Args:
        y: The spectrum.
        frame_size: As for `stft`, and so are the next four.
        hop_size: Samples from one frame to the next.
        window: The $w$.
        centre: Whether frames are centred.
        scaling: What the spectrum has been divided by.
        length: Samples of the signal; what the frames hold when left out, which may be
            fewer than `stft` was given.
        subject: What complains in the message.

    Shapes:
        - y: `(..., frames, frame_size // 2 + 1)`.
        - result: `(..., time)`.

    Raises:
        DtypeError: `y` is not complex.
        RangeError: A size or `scaling` is out of range, the frames hold fewer than
            `length` samples, or the windows leave a sample out, as far as they are known
            when the call is made; under `jit` such a sample is NaN or infinite.
        ShapeError: `y` is not of this shape, or the window not as long as a frame.

    Examples:
        >>> x = jnp.sin(jnp.arange(400.0))
        >>> again = istft(stft(x, frame_size=64), frame_size=64, length=400)
        >>> bool(abs(again - x).max() < 1e-5)
        True

    Source:
        Griffin & Lim 1984, eq. 6; PyTorch `istft` with frames before frequencies.
    """
    y = jnp.asarray(y)
    hop = _checked_hop(frame_size, hop_size, scaling, subject=subject)
    _expect_spectrum(y, frame_size, subject=subject)
    real = jnp.finfo(y.dtype).dtype
    taper = _window(window, frame_size, real, subject=subject)
    frames = jnp.fft.irfft(y * _scale(scaling, taper) if scaling else y, n=frame_size) * taper
    count = y.shape[-2]
    total = frame_size + hop * (count - 1)
    begin = frame_size // 2 if centre else 0
    end = total - begin if length is None else begin + length
    expect_at_least(1, subject=subject, **{} if length is None else {"length": length})
    if not begin < end <= total:
        refuse(
            RangeError,
            subject=subject,
            expected=f"length to be at most the {total - begin} samples that the frames hold",
            got=f"{count} frames and length={length}",
            fix="pass the length of the signal that stft was given",
        )
    squares = jnp.broadcast_to(taper**2, (count, frame_size))
    envelope = _overlapped(squares, hop)[begin:end]
    if not isinstance(envelope, Tracer) and np.asarray(envelope).min() < _LEAST_ENVELOPE:
        refuse(
            RangeError,
            subject=subject,
            expected="windows that overlap at every sample",
            got=f"frames of {frame_size} samples, {hop} apart, whose windows leave some out",
            fix="use a smaller hop_size, centre=True, or a window without zeros at its ends",
        )
    return _overlapped(frames, hop)[..., begin:end] / envelope


def spectrogram(
    x: ArrayLike,
    *,
    frame_size: int,
    hop_size: int | None = None,
    window: ArrayLike | None = None,
    centre: bool = True,
    scaling: str | None = None,
    power: float = 2.0,
    subject: object = "spectrogram",
) -> Array:
    r"""Return the strength of each frequency over time.

    $$S_{mk} = |X_{mk}|^p$$

    Args:
        x: The signal.
        frame_size: As for `stft`, and so are the next four.
        hop_size: Samples from one frame to the next.
        window: The window.
        centre: Whether frames are centred.
        scaling: What the spectrum is divided by.
        power: The $p$, above 0: 2 for power, 1 for magnitude. Where a frequency is not
            there at all, the gradient is zero.
        subject: What complains in the message.

    Shapes:
        - x: `(..., time)`, to `(..., frames, frame_size // 2 + 1)`.

    Raises:
        DtypeError: `x` does not hold real floating-point numbers.
        RangeError: A size, `scaling` or `power` is out of range.
        ShapeError: As for `stft`.

    Examples:
        >>> sound = jnp.sin(2 * jnp.pi * 440 * jnp.arange(4000.0) / 8000)
        >>> strength = spectrogram(sound, frame_size=200)
        >>> strength.shape, int(strength.mean(0).argmax()) * 8000 // 200
        ((81, 101), 440)

    Source:
        NNlib.jl `spectrogram` and torchaudio's, with frames before frequencies.
    """
    expect_between(0, math.inf, subject=subject, include_low=False, power=power)
    y = stft(
        x,
        frame_size=frame_size,
        hop_size=hop_size,
        window=window,
        centre=centre,
        scaling=scaling,
        subject=subject,
    )
    squared = y.real**2 + y.imag**2
    if power == 2:
        return squared
    there = squared > 0
    return jnp.where(there, jnp.where(there, squared, 1) ** (power / 2), 0)


# --- frames -----------------------------------------------------------------------------


def _frames(signal: Array, size: int, hop: int) -> Array:
    """Cut `(..., time)` into overlapping `(..., frames, size)`, without indices if possible."""
    count = 1 + (signal.shape[-1] - size) // hop
    chunk = math.gcd(size, hop)
    slices, stride = size // chunk, hop // chunk
    if slices > _MAX_SLICES:
        return signal[..., np.arange(count)[:, None] * hop + np.arange(size)]
    needed = (count - 1) * stride + slices
    chunks = signal[..., : needed * chunk].reshape(*signal.shape[:-1], needed, chunk)
    last = (count - 1) * stride + 1
    parts = [chunks[..., first : first + last : stride, :] for first in range(slices)]
    return jnp.concatenate(parts, axis=-1)


def _overlapped(frames: Array, hop: int) -> Array:
    """Add `(..., frames, size)` up to `(..., time)`: the transpose of `_frames`."""
    count, size = frames.shape[-2:]
    signal = jax.ShapeDtypeStruct((*frames.shape[:-2], size + hop * (count - 1)), frames.dtype)
    (total,) = jax.linear_transpose(lambda x: _frames(x, size, hop), signal)(frames)
    return total


def _reflected(signal: Array, frame_size: int, *, subject: object) -> Array:
    """Continue a signal by half a frame at both ends, without its end samples twice."""
    half = frame_size // 2
    if not signal.ndim or signal.shape[-1] <= half:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"a signal of shape (..., time) with more than {half} samples to reflect",
            got=shown(signal),
            fix="use a smaller frame_size, or pad the signal and pass centre=False",
        )
    widths = [(0, 0)] * (signal.ndim - 1) + [(half, half)]
    return jnp.pad(signal, widths, mode="reflect")


def _raised_cosine(
    length: int,
    alpha: float,
    periodic: bool,  # noqa: FBT001  handed on by name
    *,
    subject: str,
) -> np.ndarray[Any, Any]:
    expect_at_least(1, subject=subject, length=length)
    places = np.arange(length) / max(length if periodic else length - 1, 1)
    if length == 1:
        return np.ones(1)
    # sin(pi n)^2 keeps the small values at the ends, where 1 - cos would cancel.
    return (2 * alpha - 1) + 2 * (1 - alpha) * np.sin(np.pi * places) ** 2


def _window(window: Any, frame_size: int, dtype: Any, *, subject: object) -> Array:
    if window is None:
        return hann_window(frame_size, dtype=dtype)
    if jnp.shape(window) != (frame_size,):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"a window of shape ({frame_size},)",
            got=shown(window),
            fix=f"make it as long as a frame, such as hann_window({frame_size})",
        )
    return real_array(window, subject=subject, name="window").astype(dtype)


def _scale(scaling: str | None, taper: Array) -> Any:
    return math.sqrt(len(taper)) if scaling == "frame" else jnp.sqrt((taper**2).sum())


def _checked_hop(
    frame_size: int, hop_size: int | None, scaling: str | None, *, subject: object
) -> int:
    expect_at_least(1, subject=subject, frame_size=frame_size)
    expect_one_of((None, "frame", "window"), subject=subject, scaling=scaling)
    hop = max(frame_size // 4, 1) if hop_size is None else hop_size
    expect_at_least(1, subject=subject, hop_size=hop)
    return hop


def _expect_spectrum(y: Array, frame_size: int, *, subject: object) -> None:
    frequencies = frame_size // 2 + 1
    if not jnp.issubdtype(y.dtype, jnp.complexfloating):
        refuse(
            DtypeError,
            subject=subject,
            expected="y of a complex dtype",
            got=shown(y),
            fix="pass what stft returned",
        )
    if y.ndim < 2 or y.shape[-1] != frequencies or not y.shape[-2]:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"shape (..., frames, {frequencies})",
            got=shown(y),
            fix=f"pass the frame_size of the transform: {frequencies} frequencies belong to "
            f"{frame_size}",
        )
