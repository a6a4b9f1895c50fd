# SPDX-License-Identifier: Apache-2.0
"""What every layer keeps to: the rows of `layer_table` times a list of properties."""

import copy
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import rosin as rs
from tests.layer_table import LAYERS, NAMES

every_layer = pytest.mark.parametrize("row", LAYERS.values(), ids=list(LAYERS))
HALF = {jnp.float16: 2e-2, jnp.bfloat16: 8e-2}  # a few roundings of 2^-11 and 2^-8


def call(layer, *inputs):
    return layer(*inputs)


def trained(layer, *inputs):
    """Call a layer as in training; return its output and itself with new state."""
    return rs.recording(call, layer, *inputs)


@every_layer
def test_jit_and_plain_calls_agree(row):
    layer, inputs = row.layer(), row.inputs()
    np.testing.assert_allclose(jax.jit(call)(layer, *inputs), layer(*inputs), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(layer)(*inputs), layer(*inputs), rtol=2e-5, atol=1e-6)


@every_layer
def test_jit_and_plain_training_agree(row):
    layer, inputs = row.layer(), row.inputs()
    y, new = trained(layer, *inputs)
    z, jitted = jax.jit(trained)(layer, *inputs)
    np.testing.assert_allclose(y, z, rtol=2e-5, atol=1e-6)
    assert jax.tree.structure(new) == jax.tree.structure(jitted) == jax.tree.structure(layer)
    changed = not rs.equal(layer, new)
    assert changed == row.stateful


@every_layer
def test_vmap_over_a_new_axis_is_a_loop(row):
    layer = row.layer()
    inputs = [jnp.stack([x, x[::-1]]) for x in row.inputs()]
    mapped = jax.vmap(layer)(*inputs)
    looped = jnp.stack([layer(*(x[i] for x in inputs)) for i in range(2)])
    np.testing.assert_allclose(mapped, looped, rtol=2e-5, atol=1e-6)


@every_layer
def test_an_ensemble_is_a_loop(row):
    layer, inputs = row.layer(), row.inputs()
    if not jax.tree.leaves(layer):
        return
    parameters, rest = rs.partition(layer)
    other = rs.combine(jax.tree.map(lambda p: p * 0.5, parameters), rest)
    stacked = jax.tree.map(lambda a, b: jnp.stack([a, b]), layer, other)
    axes = (0, *(None for _ in inputs))
    outputs = jax.vmap(call, in_axes=axes)(stacked, *inputs)
    np.testing.assert_allclose(outputs[0], layer(*inputs), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(outputs[1], other(*inputs), rtol=2e-5, atol=1e-6)


@every_layer
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_gradients_are_those_of_finite_differences_in_float64(row, mode):
    with jax.enable_x64(True):
        layer = rs.f64(row.layer())
        inputs = row.inputs(jnp.float64)
        flat, rebuild = rs.destructure(layer)
        weights = jnp.cos(jnp.arange(layer(*inputs).size, dtype=jnp.float64))

        def loss(flat, *inputs):
            model = rebuild(flat)
            y = trained(model, *inputs)[0] if mode == "training" else model(*inputs)
            return (y.ravel() * weights).sum()

        fixed = jax.jit(lambda flat: loss(flat, *inputs)) if row.integers else jax.jit(loss)
        arguments = (flat,) if row.integers else (flat, *inputs)
        order = 2 if row.smooth else 1
        # A step of 1e-5 errs by about 1e-10 in curvature and 1e-11 in rounding.
        check_grads(fixed, arguments, order=order, modes=["rev"], eps=1e-5, rtol=1e-5, atol=1e-6)


@every_layer
def test_gradient_and_plain_grad_agree_in_inference(row):
    layer, inputs = row.layer(), row.inputs()
    if not rs.trainables(layer):
        return

    def loss(model):
        return (model(*inputs) ** 2).sum()

    parameters, rest = rs.partition(rs.testmode(layer))
    plain = jax.grad(lambda p: loss(rs.combine(p, rest)))(parameters)
    ours = rs.gradient(loss, rs.testmode(layer))
    assert jax.tree.structure(plain) == jax.tree.structure(ours)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain, ours)


@every_layer
def test_plain_grad_takes_the_whole_layer(row):
    # JAX wants `allow_int` as soon as a tree holds whole numbers or random keys.
    layer, inputs = row.layer(), row.inputs()
    plain = jax.grad(lambda m: (m(*inputs) ** 2).sum(), allow_int=True)(layer)
    assert type(plain) is type(layer)
    ours = rs.trainables(layer, paths=True)
    assert {path: p.shape for path, p in rs.trainables(plain, paths=True).items()} == {
        path: p.shape for path, p in ours.items()
    }


@every_layer
@pytest.mark.parametrize("dtype", HALF, ids=["float16", "bfloat16"])
def test_half_precision_stays_half_and_close(row, dtype):
    layer, inputs = row.layer(), row.inputs()
    convert = rs.f16 if dtype == jnp.float16 else rs.bf16
    halves = inputs if row.integers else [x.astype(dtype) for x in inputs]
    half = convert(layer)
    y, new = trained(half, *halves)
    assert y.dtype == dtype
    assert half(*halves).dtype == dtype
    whole = half(*halves).astype(jnp.float32)
    np.testing.assert_allclose(whole, layer(*inputs), rtol=HALF[dtype], atol=HALF[dtype])
    assert [x.dtype for x in jax.tree.leaves(new)] == [x.dtype for x in jax.tree.leaves(half)]


@every_layer
def test_a_file_gives_back_the_layer(row, tmp_path):
    _, layer = trained(row.layer(), *row.inputs())
    rs.save(tmp_path / "layer.safetensors", layer)
    loaded = rs.load(tmp_path / "layer.safetensors", like=row.build())
    assert loaded == layer
    assert rs.equal(loaded(*row.inputs()), layer(*row.inputs()))


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
    layer, inputs = row.layer(), [np.asarray(x).copy() for x in row.inputs()]
    before = copy.deepcopy(layer), [x.copy() for x in inputs]
    layer(*inputs)
    trained(layer, *inputs)
    if rs.trainables(layer):
        rs.gradient(lambda m: (m(*inputs) ** 2).sum(), layer)
    assert before[0] == layer
    assert all((a == b).all() for a, b in zip(before[1], inputs, strict=True))


@every_layer
def test_a_wrong_shape_is_refused_with_its_place(row):
    for shape in row.refused:
        model = rs.Chain(rs.identity, row.layer())
        wrong = [jnp.ones(shape), *row.inputs()[1:]]
        probe = model if len(wrong) == 1 else row.layer()
        with pytest.raises(rs.ShapeError) as caught:
            jax.jit(lambda *x, probe=probe: probe(*x))(*wrong)
        assert caught.value.where.startswith(".layers[1]") or len(wrong) > 1
        assert caught.value.expected
        assert caught.value.fix


@every_layer
def test_a_wrong_dtype_is_refused(row):
    if not row.checked:
        return
    wrong = [jnp.ones(shape, jnp.float32 if row.integers else int) for shape in row.shapes]
    with pytest.raises(rs.DtypeError) as caught:
        row.layer()(*wrong)
    assert caught.value.got.startswith("float32[" if row.integers else "int32[")


@every_layer
def test_examples_do_not_mix(row):
    if not row.per_example:
        return
    layer, inputs = row.layer(), row.inputs()
    one = layer(*(x[1:2] for x in inputs))
    np.testing.assert_allclose(layer(*inputs)[1:2], one, rtol=2e-5, atol=1e-6)


@every_layer
def test_an_empty_batch_gives_an_empty_result(row):
    if not row.per_example:
        return
    layer, inputs = row.layer(), row.inputs()
    assert layer(*(x[:0] for x in inputs)).shape == (0, *layer(*inputs).shape[1:])


@every_layer
def test_outputsize_is_the_size_of_the_output(row):
    layer, inputs = row.layer(), row.inputs()
    assert rs.outputsize(layer, *inputs) == layer(*inputs).shape
    total = rs.summary(layer, *inputs).total
    assert total.parameters == sum(p.size for p in rs.trainables(layer))
    assert total.output == f"float32[{','.join(map(str, layer(*inputs).shape))}]"


@every_layer
def test_a_layer_survives_checkpoint_copy_and_map(row):
    layer, inputs = row.layer(), row.inputs()
    expected = layer(*inputs)
    np.testing.assert_allclose(jax.checkpoint(layer)(*inputs), expected, rtol=1e-6, atol=1e-6)
    assert rs.equal(copy.deepcopy(layer)(*inputs), expected)
    assert rs.equal(jax.tree.map(lambda x: x, layer)(*inputs), expected)
    assert jax.eval_shape(layer, *inputs).shape == expected.shape
