# SPDX-License-Identifier: Apache-2.0
"""What every layer keeps to: the rows of `layer_table` times a list of properties.

The rows of a worker share what is computed from them alone, and a property compiles one
program or, where shapes tell it, none: with a hundred layers, compiling is what the time
goes to.
"""

import copy
import functools
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import rosin as rs
from tests.layer_row import Row
from tests.layer_table import LAYERS, NAMES

every_layer = pytest.mark.parametrize(
    "row", [pytest.param(row, id=n, marks=pytest.mark.xdist_group(n)) for n, row in LAYERS.items()]
)
HALF = {jnp.float16: 2e-2, jnp.bfloat16: 8e-2}  # a few roundings of 2^-11 and 2^-8


class Case(NamedTuple):
    """A layer, what it is fed, and what comes out."""

    layer: Any
    inputs: list[Any]
    output: Any
    trained: Any
    new: Any


@functools.cache
def case(row: Row) -> Case:
    """Call a row's layer in both modes, operation by operation."""
    layer, inputs = row.layer(), row.inputs()
    trained, new = rs.recording(row.call, layer, *inputs)
    return Case(layer, inputs, row.call(layer, *inputs), trained, new)


@functools.partial(jax.jit, static_argnums=0)
def inferred(call, layer, *inputs):
    """Call a layer in inference."""
    return call(layer, *inputs)


@functools.partial(jax.jit, static_argnums=0)
def both(call, layer, *inputs):
    """Call a layer in both modes."""
    return call(layer, *inputs), *rs.recording(call, layer, *inputs)


def same_program(call, layer, inputs):
    """Tell whether a layer does in training just what it does in inference."""
    plain = jax.make_jaxpr(functools.partial(call, layer))(*inputs)
    trained = jax.make_jaxpr(lambda *x: rs.recording(call, layer, *x)[0])(*inputs)
    return str(plain) == str(trained)


def total(output):
    """Make one number of all that a layer returns."""
    parts = [x for x in jax.tree.leaves(output) if jnp.issubdtype(x.dtype, jnp.floating)]
    return sum((x.ravel() * jnp.cos(jnp.arange(x.size, dtype=x.dtype))).sum() for x in parts)


def assert_close(a, b, rtol=2e-5, atol=2e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


@every_layer
def test_jit_and_plain_calls_agree(row):
    layer, inputs, output, trained, new = case(row)
    jitted, also_trained, also_new = both(row.call, layer, *inputs)
    assert_close(jitted, output)
    assert_close(also_trained, trained)
    assert jax.tree.structure(new) == jax.tree.structure(also_new) == jax.tree.structure(layer)
    assert rs.equal(layer, new) != row.stateful


@every_layer
def test_vmap_over_a_new_axis_is_a_loop(row):
    layer, inputs, output, _, _ = case(row)
    mapped = jax.jit(jax.vmap(functools.partial(row.call, layer)))
    outputs = mapped(*(np.asarray(x)[None] for x in inputs))
    assert_close(jax.tree.map(lambda y: np.asarray(y)[0], outputs), output)


def other(layer):
    """Give a layer other parameters."""
    parameters, rest = rs.partition(layer)
    return rs.combine(jax.tree.map(lambda p: np.asarray(p) * np.float32(0.5), parameters), rest)


@every_layer
def test_an_ensemble_is_a_loop(row):
    layer, inputs, output, _, _ = case(row)
    if not jax.tree.leaves(layer):
        return

    @jax.jit
    def ensemble(*layers):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
        return jax.vmap(row.call, in_axes=(0, *(None for _ in inputs)))(stacked, *inputs)

    outputs = ensemble(layer, other(layer))
    assert_close(jax.tree.map(lambda y: np.asarray(y)[0], outputs), output)
    expected = both(row.call, other(layer), *inputs)[0]
    assert_close(jax.tree.map(lambda y: np.asarray(y)[1], outputs), expected)


STEP = 1e-6  # errs by about 1e-12 of the fourth derivative, and by 1e-9 in rounding


@every_layer
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_derivatives_are_those_of_differences_in_float64(row, mode):
    """Compare slope and curvature along a direction: forward, reverse, and both."""
    with jax.enable_x64(True):
        layer = row.layer(rs.f64)
        inputs = row.inputs(jnp.float64)
        if mode == "training" and same_program(row.call, layer, inputs):
            return  # the mode changes nothing, and inference is tested
        parameters, rest = rs.partition(layer)
        floats = [x for x, bound in zip(inputs, row.bounds, strict=True) if not bound]
        random = np.random.default_rng(3)
        point = parameters, floats
        direction = jax.tree.map(lambda x: random.normal(size=x.shape), point)

        def loss(point):
            model, fed = rs.combine(point[0], rest), iter(point[1])
            given = [x if b else next(fed) for x, b in zip(inputs, row.bounds, strict=True)]
            if mode == "training":
                return total(rs.recording(row.call, model, *given)[0])
            return total(row.call(model, *given))

        @jax.jit
        def derivatives(t):
            moved = jax.tree.map(lambda x, d: x + t * d, point, direction)
            reverse = jax.jvp(jax.value_and_grad(loss), (moved,), (direction,))
            return *reverse, jax.jvp(loss, (moved,), (direction,))[1]

        (_, gradient), (_, curvature), forward = derivatives(0.0)
        (high, gradient_high), *_ = derivatives(STEP)
        (low, gradient_low), *_ = derivatives(-STEP)
    ends = zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    slope = sum(np.vdot(g, d) for g, d in ends)
    np.testing.assert_allclose(forward, slope, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(slope, (float(high) - float(low)) / (2 * STEP), rtol=1e-5, atol=1e-6)
    if row.smooth:
        bent = jax.tree.map(
            lambda a, b: (np.asarray(a) - np.asarray(b)) / (2 * STEP), gradient_high, gradient_low
        )
        assert_close(curvature, bent, rtol=1e-5, atol=1e-5)


@every_layer
def test_gradient_and_plain_grad_agree_in_inference(row):
    layer, inputs, *_ = case(row)
    if not rs.trainables(layer):
        return

    def loss(model):
        return total(row.call(model, *inputs))

    @jax.jit
    def gradients(layer):
        parameters, rest = rs.partition(rs.testmode(layer))
        plain = jax.grad(lambda p: loss(rs.combine(p, rest)))(parameters)
        # JAX wants `allow_int` as soon as a tree holds whole numbers or random keys.
        whole = jax.grad(loss, allow_int=True)(layer)
        return plain, rs.gradient(loss, rs.testmode(layer)), rs.partition(whole)[0]

    plain, ours, whole = gradients(layer)
    assert_close(plain, ours, rtol=1e-5)
    assert rs.trainables(whole, paths=True).keys() == rs.trainables(layer, paths=True).keys()


@every_layer
@pytest.mark.parametrize("dtype", HALF, ids=["float16", "bfloat16"])
def test_half_precision_stays_half_and_close(row, dtype):
    layer, inputs, output, _, _ = case(row)

    @jax.jit
    def in_half(layer, *inputs):
        half = (rs.f16 if dtype == jnp.float16 else rs.bf16)(layer)
        halves = [x if b else x.astype(dtype) for x, b in zip(inputs, row.bounds, strict=True)]
        return half, both(row.call, half, *halves)

    half, (plain, trained, new) = in_half(layer, *inputs)
    for y in jax.tree.leaves((plain, trained)):
        assert y.dtype == dtype or not jnp.issubdtype(y.dtype, jnp.floating)
    whole = jax.tree.map(lambda y: np.asarray(y, np.float32), plain)
    assert_close(whole, output, rtol=HALF[dtype], atol=HALF[dtype])
    assert [x.dtype for x in jax.tree.leaves(new)] == [x.dtype for x in jax.tree.leaves(half)]


@every_layer
def test_a_file_gives_back_the_layer(row, tmp_path):
    new = case(row).new
    rs.save(tmp_path / "layer.safetensors", new)
    loaded = rs.load(tmp_path / "layer.safetensors", like=other(new))
    assert loaded == new
    arrays = rs.load_arrays(tmp_path / "layer.safetensors")
    others = safetensors.numpy.load_file(tmp_path / "layer.safetensors")
    assert arrays.keys() == others.keys()
    assert all(np.array_equal(arrays[name], others[name]) for name in others)


@every_layer
def test_the_printed_layer_builds_the_layer(row):
    layer = row.build()
    text = repr(layer)
    if re.search(r"float32\[|Shared|Remat|ScanLayers", text):
        return  # holds arrays or wrappers that are built from layers, shown as what they hold
    with rs.seed(1):
        built = eval(text, dict(NAMES))  # our own text
    assert repr(built) == text
    assert jax.tree.structure(built) == jax.tree.structure(layer)
    assert jax.tree.map(jnp.shape, built) == jax.tree.map(jnp.shape, layer)


@every_layer
def test_arguments_and_layer_are_as_before_a_call(row):
    layer, inputs = case(row).layer, [np.array(x) for x in case(row).inputs]
    before = jax.tree.map(lambda x: x, layer), [x.copy() for x in inputs]
    row.call(layer, *inputs)
    rs.recording(row.call, layer, *inputs)
    if rs.trainables(layer):
        jax.eval_shape(lambda: rs.gradient(lambda m: total(row.call(m, *inputs)), layer))
    assert before[0] == layer
    assert all((a == b).all() for a, b in zip(before[1], inputs, strict=True))


@every_layer
def test_a_wrong_shape_is_refused_with_its_place(row):
    layer, inputs, *_ = case(row)
    model = rs.Chain(rs.identity, layer)
    for shape in row.refused:
        wrong = [np.ones(shape, np.float32), *inputs[1:]]
        probe = model if len(wrong) == 1 else functools.partial(row.call, layer)
        with pytest.raises(rs.ShapeError) as caught:
            jax.eval_shape(lambda *x, probe=probe: probe(*x), *wrong)
        assert caught.value.where.startswith(".layers[1]") or len(wrong) > 1
        assert caught.value.expected
        assert caught.value.fix


@every_layer
def test_a_wrong_dtype_is_refused(row):
    if not row.checked:
        return
    layer, inputs, *_ = case(row)
    whole = bool(row.bounds[0])
    wrong = np.ones(row.shapes[0], np.float32 if whole else np.int32)
    with pytest.raises(rs.DtypeError) as caught:
        row.call(layer, wrong, *inputs[1:])
    assert caught.value.got.startswith("float32[" if whole else "int32[")


@every_layer
def test_examples_do_not_mix(row):
    if not row.per_example:
        return
    layer, inputs, output, _, _ = case(row)
    one = inferred(row.call, layer, *(np.asarray(x)[1:2] for x in inputs))
    assert_close(one, jax.tree.map(lambda y: np.asarray(y)[1:2], output))


@every_layer
def test_an_empty_batch_gives_an_empty_result(row):
    if not row.per_example:
        return
    layer, inputs, output, _, _ = case(row)
    none = inferred(row.call, layer, *(np.asarray(x)[:0] for x in inputs))
    assert jax.tree.map(jnp.shape, none) == jax.tree.map(lambda y: (0, *y.shape[1:]), output)


@every_layer
def test_outputsize_is_the_size_of_the_output(row):
    layer, inputs, output, _, _ = case(row)
    if not isinstance(output, jax.Array) or row.call is not Row.call:
        return  # `outputsize` and `summary` are of a plain call that returns one array
    assert rs.outputsize(layer, *inputs) == output.shape
    total = rs.summary(layer, *inputs).total
    assert total.parameters == sum(p.size for p in rs.trainables(layer))
    assert total.output == f"float32[{','.join(map(str, output.shape))}]"


@every_layer
def test_a_layer_survives_checkpoint_copy_and_map(row):
    layer, inputs, *_ = case(row)
    assert copy.deepcopy(layer) == layer
    assert jax.tree.map(lambda x: x, layer) == layer
    kept = jax.checkpoint(lambda layer: total(row.call(layer, *inputs)))
    jax.eval_shape(jax.grad(kept, allow_int=True), layer)  # the values are tested in `remat`


def is_layer(value):
    """Tell whether a value is a class whose instances can be called."""
    return inspect.isclass(value) and any("__call__" in vars(base) for base in value.__mro__)


PUBLIC_LAYERS = [
    name
    for home, names in rs.PUBLIC.items()
    for name in names
    if home.startswith("rosin.layers") and is_layer(getattr(rs, name))
]


ROWS = "".join(path.read_text() for path in Path(__file__).parent.glob("layer_rows/*.py"))


@pytest.mark.parametrize("name", PUBLIC_LAYERS)
def test_every_public_layer_is_in_a_row(name):
    assert re.search(rf"\brs\.{name}\(|=rs\.{name}\b", ROWS)
