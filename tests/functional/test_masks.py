# SPDX-License-Identifier: Apache-2.0
"""Masks: what they keep, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.masks import (
    as_mask,
    combine_masks,
    make_causal_mask,
    make_padding_mask,
    make_window_mask,
)


def test_a_causal_mask_keeps_what_is_not_later():
    np.testing.assert_array_equal(make_causal_mask(3), np.tri(3, dtype=bool))
    np.testing.assert_array_equal(make_causal_mask(2, 5), np.tri(2, 5, dtype=bool))
    np.testing.assert_array_equal(make_causal_mask(2, 5, offset=3), np.tri(2, 5, 3, dtype=bool))
    moved = jax.jit(lambda n: make_causal_mask(2, 5, offset=n))(jnp.int32(1))
    np.testing.assert_array_equal(moved, np.tri(2, 5, 1, dtype=bool))
    assert make_causal_mask(0).shape == (0, 0)


def test_a_window_keeps_what_is_near():
    i, j = np.mgrid[:6, :6]
    near = make_window_mask(6, before=2, after=1)
    np.testing.assert_array_equal(near, (j - i >= -2) & (j - i <= 1))
    np.testing.assert_array_equal(make_window_mask(6, before=None), make_causal_mask(6))
    assert make_window_mask(6, before=None, after=None).all()


def test_padding_is_left_out():
    mask = make_padding_mask(np.array([0, 2, 3]), 3)
    assert mask.shape == (3, 1, 1, 3)
    np.testing.assert_array_equal(mask[:, 0, 0], [[0, 0, 0], [1, 1, 0], [1, 1, 1]])


def test_combined_masks_keep_what_each_keeps():
    padding, causal = make_padding_mask(jnp.array([1, 3]), 3), make_causal_mask(3)
    both = combine_masks(None, padding, causal)
    np.testing.assert_array_equal(both, padding & causal[None, None])
    assert combine_masks(None) is None
    np.testing.assert_array_equal(combine_masks(causal), causal[None, None])


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda: make_causal_mask(-1), RangeError, "time to be a whole number of at least 0"),
        (lambda: make_causal_mask(2, 2.5), RangeError, "key_time to be a whole number"),
        (lambda: make_window_mask(2, before=-1), RangeError, "before to be a whole number"),
        (lambda: make_padding_mask(jnp.ones(3), 3), DtypeError, "lengths of an integer dtype"),
        (lambda: make_padding_mask(3, 3), ShapeError, "shape (batch)"),
        (lambda: combine_masks(np.ones((2, 2))), DtypeError, "mask of booleans"),
        (lambda: combine_masks(np.ones((1, 2, 2), bool)), ShapeError, "mask of shape"),
        (
            lambda: combine_masks(make_causal_mask(2), make_causal_mask(3)),
            ShapeError,
            "masks that fit each other",
        ),
        (lambda: as_mask([1, 0], (2,), subject="x"), DtypeError, "mask of booleans"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, expected):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.expected.startswith(expected)
