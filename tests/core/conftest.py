# SPDX-License-Identifier: Apache-2.0
"""These tests run with strict promotion: of dtypes, and of ranks."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
