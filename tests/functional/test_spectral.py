# SPDX-License-Identifier: Apache-2.0
"""The short-time Fourier transform: PyTorch's numbers, the way back, derivatives, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.spectral import (
    hamming_window,
    hann_window,
    istft,
    spectrogram,
    stft,
)
from tests.stored import FOLDER

CASES = {
    "hann": {"frame_size": 16, "hop_size": 4},
    "hamming": {
        "frame_size": 16,
        "hop_size": 8,
        "scaling": "frame",
        "window": hamming_window,
    },
    "odd": {"frame_size": 15, "hop_size": 5, "window": hann_window},
    "uneven": {"frame_size": 12, "hop_size": 5, "window": hamming_window},
    "begins": {"frame_size": 16, "hop_size": 4, "window": hamming_window, "centre": False},
}
X = np.random.default_rng(0).normal(size=(2, 100)).astype(np.float32)


def options_of(name):
    """Return the arguments of a case, with its window in float64."""
    case = dict(CASES[name])
    if "window" in case:
        case["window"] = case["window"](case["frame_size"], dtype=jnp.float64)
    return case


def complexes(array):
    return np.moveaxis(array[..., 0] + 1j * array[..., 1], -1, -2)


@pytest.fixture(scope="module")
def reference():
    with np.load(FOLDER / "spectral.npz", allow_pickle=False) as file:
        return dict(file)


# --- windows ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 3, 16, 101])
@pytest.mark.parametrize("periodic", [True, False])
def test_windows_are_those_of_scipy(length, periodic):
    with jax.enable_x64(True):
        hann = hann_window(length, periodic=periodic, dtype=jnp.float64)
        hamming = hamming_window(length, periodic=periodic, dtype=jnp.float64)
        flat = hamming_window(length, periodic=periodic, alpha=0.7, dtype=jnp.float64)
    windows = scipy.signal.windows
    sym = not periodic
    np.testing.assert_allclose(hann, windows.hann(length, sym=sym), atol=1e-15)
    np.testing.assert_allclose(hamming, windows.hamming(length, sym=sym), atol=1e-15)
    np.testing.assert_allclose(flat, windows.general_hamming(length, 0.7, sym=sym), atol=1e-15)


def test_the_ends_of_a_window_keep_their_digits():
    window = np.asarray(hann_window(100_000), np.float64)
    exact = np.sin(np.pi * np.arange(100_000) / 100_000) ** 2
    # one rounding to float32; 1 - cos in float32 would leave no digit
    np.testing.assert_allclose(window, exact, rtol=2**-23)


# --- the transform ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_the_transform_and_its_gradient_are_pytorch_s(name, reference):
    with jax.enable_x64(True):
        options = options_of(name)
        y = jax.jit(lambda x: stft(x, **options))(reference["stft.x"])

        def loss(x):
            power = jnp.moveaxis(spectrogram(x, **options), -1, -2)
            weights = jnp.cos(jnp.arange(power.size, dtype=power.dtype))
            return (power * weights.reshape(power.shape)).sum()

        grad = jax.jit(jax.grad(loss))(reference["stft.x"])
    # float64; the sums run in another order
    np.testing.assert_allclose(y, complexes(reference[f"stft.{name}.y"]), atol=1e-13)
    np.testing.assert_allclose(grad, reference[f"stft.{name}.grad"], atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_the_inverse_is_pytorch_s_for_what_is_no_transform(name, reference):
    with jax.enable_x64(True):
        mixed = jnp.asarray(complexes(reference[f"stft.{name}.mixed"]))
        options = options_of(name)
        again = jax.jit(lambda y: istft(y, **options))(mixed)
    np.testing.assert_allclose(again, reference[f"stft.{name}.again"], atol=1e-13)


@pytest.mark.parametrize(
    "options",
    [
        {"frame_size": 32},
        {"frame_size": 31, "hop_size": 7},
        {"frame_size": 64, "hop_size": 31, "window": np.ones(64, np.float32)},
        {"frame_size": 16, "hop_size": 3, "scaling": "window"},
        {"frame_size": 1, "window": np.ones(1, np.float32)},
        {"frame_size": 100, "hop_size": 13},
        {"frame_size": 99, "hop_size": 26, "scaling": "frame"},
    ],
)
def test_the_inverse_undoes_the_transform(options):
    again = istft(stft(X, **options), **options, length=100)
    # a few roundings of float32 in two transforms
    np.testing.assert_allclose(again, X, atol=2e-6)


@pytest.mark.parametrize(("size", "hop"), [(8, 4), (8, 3), (64, 1), (67, 3), (5, 9)])
def test_frames_are_cut_at_their_places_and_added_up_there(size, hop):
    signal = np.arange(1.0, 200.0, dtype=np.float32)
    rectangle = np.ones(size, np.float32)
    y = stft(signal, frame_size=size, hop_size=hop, window=rectangle, centre=False)
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop]
    np.testing.assert_allclose(y, np.fft.rfft(frames), rtol=1e-4, atol=1e-2)
    if hop <= size:
        again = istft(y, frame_size=size, hop_size=hop, window=rectangle, centre=False)
        np.testing.assert_allclose(again, signal[: len(again)], rtol=1e-5)


def test_any_batch_axes_lead():
    y = stft(np.stack([X, 2 * X]), frame_size=16)
    assert y.shape == (2, 2, 26, 9)
    np.testing.assert_allclose(y[1], 2 * y[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(y[0, 1], stft(X[1], frame_size=16), rtol=1e-5, atol=1e-5)
    assert stft(X[:0], frame_size=16).shape == (0, 26, 9)
    assert istft(y, frame_size=16).shape == (2, 2, 100)


def test_a_tone_of_one_frequency_stands_in_its_place():
    tone = np.cos(2 * np.pi * 5 / 40 * np.arange(400)).astype(np.float32)
    power = spectrogram(tone, frame_size=40, hop_size=10)[4:-4]
    assert (power.argmax(-1) == 5).all()
    # (sum of the window / 2)^2 = (40 / 4)^2
    np.testing.assert_allclose(power[:, 5], 100, rtol=1e-4)


@pytest.mark.parametrize("power", [0.5, 1, 2, 3])
def test_powers_are_those_of_the_magnitude_and_silence_has_no_slope(power):
    y = spectrogram(X, frame_size=16, power=power)
    expected = np.abs(np.asarray(stft(X, frame_size=16))) ** power
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-6)
    grad = jax.grad(lambda x: spectrogram(x, frame_size=8, power=power).sum())(np.zeros(20, "f4"))
    np.testing.assert_array_equal(grad, 0)


def test_derivatives_are_those_of_finite_differences():
    with jax.enable_x64(True):
        x = jnp.asarray(X[0, :24], jnp.float64)
        y = stft(x, frame_size=8)

        @jax.jit
        def forward(x):
            return spectrogram(x, frame_size=8, hop_size=3, power=1.5).sum(-1)

        @jax.jit
        def back(real, imaginary):
            return istft(real + 1j * imaginary, frame_size=8)

        check_grads(forward, (x,), order=2, rtol=1e-5, atol=1e-5)
        check_grads(back, (y.real, y.imag), order=2, rtol=1e-5, atol=1e-5)


def test_half_precision_is_transformed_in_float32():
    y = stft(X.astype(np.float16), frame_size=16)
    assert y.dtype == jnp.complex64
    np.testing.assert_allclose(y, stft(X.astype(np.float16).astype(np.float32), frame_size=16))


@pytest.mark.parametrize(("hop", "by_index"), [(160, False), (100, False), (161, True)])
def test_a_program_is_small_and_cuts_usual_frames_without_indices(hop, by_index):
    signal = np.ones(4000, np.float32)
    program = jax.make_jaxpr(lambda x: stft(x, frame_size=400, hop_size=hop))(signal)
    assert len(program.eqns) < 60
    assert ("gather" in str(program)) == by_index


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: stft(X, frame_size=0), RangeError),
        (lambda: stft(X, frame_size=16, hop_size=0), RangeError),
        (lambda: stft(X, frame_size=16, scaling="none"), RangeError),
        (lambda: stft(X, frame_size=16, window=np.ones(8, "f4")), ShapeError),
        (lambda: stft(X, frame_size=200), ShapeError),
        (lambda: stft(X, frame_size=101, centre=False), ShapeError),
        (lambda: stft(X[0, 0], frame_size=1), ShapeError),
        (lambda: stft(X.astype(int), frame_size=16), DtypeError),
        (lambda: stft(X + 1j, frame_size=16), DtypeError),
        (lambda: istft(X, frame_size=16), DtypeError),
        (lambda: istft(stft(X, frame_size=16), frame_size=32), ShapeError),
        (lambda: istft(stft(X, frame_size=16)[0, 0], frame_size=16), ShapeError),
        (lambda: istft(stft(X, frame_size=16), frame_size=16, length=109), RangeError),
        (lambda: istft(stft(X, frame_size=16), frame_size=16, length=0), RangeError),
        (lambda: istft(stft(X, frame_size=16)[:, :1], frame_size=16, centre=False), RangeError),
        (lambda: istft(stft(X, frame_size=4, hop_size=9), frame_size=4, hop_size=9), RangeError),
        (lambda: spectrogram(X, frame_size=16, power=0), RangeError),
        (lambda: hann_window(0), RangeError),
        (lambda: hamming_window(8, alpha=1.5), RangeError),
    ],
)
def test_what_does_not_fit_is_refused(call, kind):
    with pytest.raises(kind):
        call()
