# SPDX-License-Identifier: Apache-2.0
"""Spectra as the ear takes them: bands of the mel scale, and decibels."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from rosin.core.types import Array, ArrayLike
from rosin.core.validation import expect_at_least, expect_between, expect_one_of
from rosin.functional.numerics import at_least_float32, real_array

# Slaney's scale is linear below 1000 Hz, with 15 mel there, and 27 mel for each factor 6.4.
_LINEAR_HZ = 1000.0
_LINEAR_MEL = 15.0
_STEP = math.log(6.4) / 27


def mel_filterbank(
    *,
    frequencies: int,
    bands: int,
    sample_rate_hz: float,
    lowest_hz: float = 0.0,
    highest_hz: float | None = None,
    scale: str = "htk",
    equal_area: bool = False,
    dtype: Any = jnp.float32,
) -> Array:
    r"""Return triangles that gather the frequencies of a spectrum into bands of equal pitch.

    $$M_{kb} = \max\Big(0, \min\Big(\frac{f_k - c_{b-1}}{c_b - c_{b-1}},
    \frac{c_{b+1} - f_k}{c_{b+1} - c_b}\Big)\Big)$$

    The $c$ are spread evenly over the mel scale. `spectrogram(x, ...) @ M` is the mel
    spectrogram. A band so narrow that no $f_k$ lies inside is zero.

    Args:
        frequencies: Of the spectrum, from zero to half the sample rate; at least 2.
        bands: Filters; at least 1.
        sample_rate_hz: Samples in a second; above 0.
        lowest_hz: Where the first band begins; at least 0.
        highest_hz: Where the last one ends, above `lowest_hz` and at most half the sample
            rate, which it is when left out.
        scale: "htk", $2595 \log_{10}(1 + f / 700)$, or "slaney", linear up to 1000 Hz and
            logarithmic beyond.
        equal_area: Whether each triangle is divided by half its width in Hz, so that all
            have area one.
        dtype: A floating-point dtype.

    Shapes:
        - result: `(frequencies, bands)`.

    Raises:
        RangeError: An argument is out of range.

    Examples:
        >>> bank = mel_filterbank(frequencies=201, bands=23, sample_rate_hz=16_000)
        >>> bank.shape, float(bank.max())
        ((201, 23), 0.99...)

    Source:
        NNlib.jl `melscale_filterbanks` and torchaudio's `melscale_fbanks`; the scales of
        the Hidden Markov Model Toolkit and of Slaney's Auditory Toolbox, 1998.
    """
    name = "mel_filterbank"
    expect_at_least(2, subject=name, frequencies=frequencies)
    expect_at_least(1, subject=name, bands=bands)
    expect_one_of(("htk", "slaney"), subject=name, scale=scale)
    half = {"include_low": False, "include_high": False}
    expect_between(0, math.inf, subject=name, **half, sample_rate_hz=sample_rate_hz)
    nyquist = sample_rate_hz / 2
    highest = nyquist if highest_hz is None else highest_hz
    expect_between(0, nyquist, subject=name, include_high=False, lowest_hz=lowest_hz)
    expect_between(lowest_hz, nyquist, subject=name, include_low=False, highest_hz=highest)
    ends = _mel(np.array([lowest_hz, highest], np.float64), scale)
    corners = _hertz(np.linspace(ends[0], ends[1], bands + 2), scale)
    tones = np.linspace(0, nyquist, frequencies)[:, None]
    rising = (tones - corners[:-2]) / np.diff(corners[:-1])
    falling = (corners[2:] - tones) / np.diff(corners[1:])
    bank = np.maximum(0, np.minimum(rising, falling))
    if equal_area:
        bank *= 2 / (corners[2:] - corners[:-2])
    return jnp.asarray(bank, dtype)


def _mel(hertz: np.ndarray[Any, Any], scale: str) -> np.ndarray[Any, Any]:
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    octaves = np.log(np.maximum(hertz, _LINEAR_HZ) / _LINEAR_HZ)
    return np.where(
        hertz < _LINEAR_HZ, hertz * _LINEAR_MEL / _LINEAR_HZ, _LINEAR_MEL + octaves / _STEP
    )


def _hertz(mel: np.ndarray[Any, Any], scale: str) -> np.ndarray[Any, Any]:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    beyond = _LINEAR_HZ * np.exp(_STEP * (np.maximum(mel, _LINEAR_MEL) - _LINEAR_MEL))
    return np.where(mel < _LINEAR_MEL, mel * _LINEAR_HZ / _LINEAR_MEL, beyond)


def power_to_db(
    x: ArrayLike,
    *,
    reference: float = 1.0,
    floor: float = 1e-10,
    range_db: float | None = 80.0,
    subject: object = "power_to_db",
) -> Array:
    r"""Convert power to decibels.

    $$y = 10 \log_{10} \frac{\max(x, \epsilon)}{\max(r, \epsilon)}$$

    Args:
        x: Powers, such as a spectrogram.
        reference: The power $r$ that is 0 dB; above 0.
        floor: The $\epsilon$, below which a power counts as that; above 0.
        range_db: What lies further than this below the loudest of the same spectrogram is
            lifted to there; `None` lifts nothing.
        subject: What complains in the message.

    Shapes:
        - x: `(..., frames, frequencies)` to the same; of fewer axes all are one spectrogram.

    Raises:
        DtypeError: `x` does not hold real floating-point numbers.
        RangeError: A number is out of range.

    Examples:
        >>> power_to_db(jnp.array([1.0, 100.0, 1e-9]))
        Array([  0.,  20., -60.], dtype=float32)

    Source:
        NNlib.jl `power_to_db` and librosa's, which take the loudest of the whole array,
        so that the examples of a batch depend on each other.
    """
    x = real_array(x, subject=subject)
    bounds = {"include_low": False, "include_high": False}
    expect_between(0, math.inf, subject=subject, **bounds, reference=reference, floor=floor)
    wide = x.astype(at_least_float32(x))
    y = 10 / math.log(10) * jnp.log(jnp.maximum(wide, floor))
    y = y - 10 * math.log10(max(reference, floor))
    if range_db is not None:
        expect_between(0, math.inf, subject=subject, include_high=False, range_db=range_db)
        axes = tuple(range(max(x.ndim - 2, 0), x.ndim))
        loudest = y.max(axes, keepdims=True, initial=-math.inf)
        y = jnp.maximum(y, loudest - range_db)
    return y.astype(x.dtype)


def db_to_power(x: ArrayLike, *, reference: float = 1.0, subject: object = "db_to_power") -> Array:
    r"""Convert decibels to power.

    $$y = r \, 10^{x / 10}$$

    Args:
        x: Decibels.
        reference: The power $r$ that is 0 dB; above 0.
        subject: What complains in the message.

    Raises:
        DtypeError: `x` does not hold real floating-point numbers.
        RangeError: `reference` is not above 0.

    Examples:
        >>> db_to_power(jnp.array([0.0, 20.0]))
        Array([  1., 100.], dtype=float32)

    Source:
        NNlib.jl `db_to_power`.
    """
    x = real_array(x, subject=subject)
    bounds = {"include_low": False, "include_high": False}
    expect_between(0, math.inf, subject=subject, **bounds, reference=reference)
    wide = x.astype(at_least_float32(x))
    return (reference * jnp.power(10.0, wide / 10)).astype(x.dtype)
