# SPDX-License-Identifier: Apache-2.0
"""Flatten: shapes, order, refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from rosin.errors import ShapeError
from rosin.functional.shaping import flatten


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5), (0, 3, 4), (2, 0, 4), (2, 1)])
def test_all_axes_but_the_first_become_one_in_order(shape):
    x = np.arange(np.prod(shape)).reshape(shape)
    expected = x.reshape(shape[0], int(np.prod(shape[1:])))
    np.testing.assert_array_equal(flatten(x), expected)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_an_array_without_a_batch_axis_is_refused(shape):
    with pytest.raises(ShapeError) as caught:
        flatten(jnp.ones(shape))
    assert caught.value.subject == "flatten"
    assert "x[None]" in caught.value.fix
