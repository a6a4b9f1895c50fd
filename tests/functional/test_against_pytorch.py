# SPDX-License-Identifier: Apache-2.0
"""Convolution, pooling, resampling, sampling and patches against numbers of PyTorch 2.13.

`tests/reference/convolution.py` made them; each stands under the call that gives it.
"""

import ast
import math
from pathlib import Path

import jax
import numpy as np
import pytest

import rosin as rs

pytestmark = pytest.mark.optimised  # digits are counted

STORED = Path(__file__).parents[1] / "reference" / "convolution.npz"


def read():
    with np.load(STORED, allow_pickle=False) as stored:
        shapes = [ast.literal_eval(str(shape)) for shape in stored["shapes"]]
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        parts = np.split(stored["values"], ends[:-1])
        calls = map(str, stored["calls"])
        return {c: a.reshape(s) for c, a, s in zip(calls, parts, shapes, strict=True)}


REFERENCE = read()
NAMES = sorted({call.split(" ", 1)[0] for call in REFERENCE})


def wave(*shape):
    return np.cos(np.arange(math.prod(shape)) ** 1.5).reshape(shape)


def parts(call):
    """Read the shapes of the inputs, and the options."""
    _, rest = call.split(" ", 1)
    cut = rest.index("]") + 1
    return ast.literal_eval(rest[:cut]), ast.literal_eval(rest[cut + 1 :])


def made(call, inputs):
    """Make a call: give its result, and its gradients if they are stored."""
    name, options = call.split(" ", 1)[0], parts(call)[1]

    def run(*inputs):
        if name == "grid_sample":
            inputs = (inputs[0], 1.6 * inputs[1])  # a quarter of the points is outside
        return getattr(rs.functional, name)(*inputs, **options)

    if f"{call} gradient 0" not in REFERENCE:
        return {call: run(*inputs)}
    y, pull = jax.vjp(run, *inputs)
    return {call: y} | {f"{call} gradient {i}": g for i, g in enumerate(pull(wave(*y.shape)))}


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_pytorch(name):
    mine = [call for call in REFERENCE if call.startswith(f"{name} ")]
    calls = [call for call in mine if " gradient " not in call]
    with jax.enable_x64(True):
        inputs = [[wave(*shape) for shape in parts(call)[0]] for call in calls]
        # One program for all is compiled in half the time.
        results = jax.jit(lambda inputs: list(map(made, calls, inputs)))(inputs)
    found = {call: y for result in results for call, y in result.items()}
    assert set(found) == set(mine)
    for call, y in found.items():
        # The stored numbers are rounded to float32.
        np.testing.assert_allclose(y, REFERENCE[call], rtol=1e-6, atol=2e-6, err_msg=call)
