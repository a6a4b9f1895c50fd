# SPDX-License-Identifier: Apache-2.0
"""Layers under remat, scan_layers and vmap: equal to the plain computation, state included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core.gradient import gradient, withgradient
from rosin.core.module import Module
from rosin.core.recording import recording
from rosin.core.sharing import share
from rosin.core.transforms import remat, scan_layers, vmap
from rosin.core.types import Array, Buffer
from rosin.errors import RangeError, ShapeError, StateError, StructureError
from tests.core.toys import Affine, Broken, Centre, Noise, Seq, X, array, assert_trees_close

ROWS = array(5, 2, 3, seed=9)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # XLA fuses, and so rounds, a scanned body otherwise


def block(seed):
    return Seq(Affine(3, 3, seed=seed), Centre(3), Noise(seed))


def blocks():
    return [block(seed) for seed in range(2)]


def stacked(*members, axis=0):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *members)


def member(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def squares(model, *args):
    return (model(*args) ** 2).sum()


FORMS = {
    "remat": (lambda b: remat(Seq(*b)), lambda m: m.layer.layers),
    "remat in remat": (
        lambda b: remat(Seq(b[0], remat(Seq(*b[1:])))),
        lambda m: [m.layer.layers[0], *m.layer.layers[1].layer.layers],
    ),
    "scan": (scan_layers, list),
    "remat in scan": (lambda b: scan_layers([*map(remat, b)]), lambda m: [r.layer for r in m]),
    "scan in remat": (lambda b: remat(scan_layers(b)), lambda m: list(m.layer)),
}


@jax.jit
def step(model, x):
    return withgradient(squares, model, x), model(x)


@pytest.mark.parametrize("form", FORMS)
def test_value_gradient_state_and_inference_are_those_of_the_plain_layers(form):
    (value, grads, new), y = step(FORMS[form][0](blocks()), X)
    (plain_value, plain_grads, plain_new), plain_y = step(Seq(*blocks()), X)
    np.testing.assert_allclose(value, plain_value, rtol=1e-5)
    np.testing.assert_allclose(y, plain_y, **CLOSE)
    for i in range(len(blocks())):
        assert_trees_close(FORMS[form][1](grads)[i], plain_grads.layers[i], rtol=1e-4, atol=1e-5)
        assert_trees_close(FORMS[form][1](new)[i], plain_new.layers[i], **CLOSE)
        assert FORMS[form][1](new)[i].layers[1].steps == 1


@pytest.mark.parametrize("form", ["remat", "scan in remat"])
def test_vmap_of_a_transformed_ensemble_runs_and_records_for_each_member(form):
    members = [FORMS[form][0]([block(10 * k + i) for i in range(2)]) for k in range(2)]
    mapped = vmap(lambda m, x: (m(x) ** 2).sum())
    together = jax.jit(lambda ms, x: withgradient(lambda m: mapped(m, x).sum(), ms))
    value, grads, new = together(stacked(*members), ROWS[:2])
    single = [step(m, ROWS[k])[0] for k, m in enumerate(members)]
    np.testing.assert_allclose(value, sum(one[0] for one in single), rtol=1e-5)
    for k, (_, one_grads, one_new) in enumerate(single):
        assert_trees_close(member(grads, k), one_grads, rtol=1e-4, atol=1e-5)
        assert_trees_close(member(new, k), one_new, **CLOSE)


# --- remat ------------------------------------------------------------------------------


def tanhs(model):
    return str(jax.make_jaxpr(lambda m: gradient(squares, m, X))(model)).count("= tanh")


def test_remat_computes_inner_values_again():
    plain = Seq(Affine(3, 3), Affine(3, 3))
    assert tanhs(plain) == 2
    assert tanhs(remat(plain)) > 2


class Scaled(Module):
    """Takes what is no array, by place and by name."""

    weight: Array

    def __call__(self, x, how, *, parts=(), flip=False):
        assert (type(how), type(flip)) == (str, bool)
        x = x * self.weight if how == "times" else x + self.weight
        return -(x + sum(parts)) if flip else x + sum(parts)


def test_remat_hands_on_what_is_no_array_as_it_is():
    model = remat(Scaled(jnp.asarray(3.0)))
    parts = [jnp.asarray(1.0), None, jnp.asarray(2.0)]
    np.testing.assert_allclose(model(jnp.ones(()), "times", parts=parts[::2], flip=True), -6)
    np.testing.assert_allclose(model(jnp.ones(()), "plus"), 4)


@pytest.mark.parametrize(
    ("transform", "wrong"),
    [(remat, jnp.tanh), (remat, None), (remat, (Noise(),)), (scan_layers, [jnp.tanh]), (vmap, 3)],
)
def test_what_is_no_layer_is_refused(transform, wrong):
    with pytest.raises(StructureError):
        transform(wrong)


# --- scan_layers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (Affine(4, 3), "other at weight"),
        (Affine(4, 4), "other at weight, bias"),
        (Affine(3, 3).replace(bias=jnp.ones(3, jnp.bfloat16)), "other at bias"),
        (Affine(3, 3, bias=False), "bias=None"),
        (Affine(3, 3, jnp.sin), "sin"),
        (Centre(3), "Centre"),
    ],
)
def test_unequal_blocks_are_refused_and_the_difference_is_named(other, difference):
    with pytest.raises(StructureError) as caught:
        scan_layers([Affine(3, 3), Affine(3, 3), other])
    assert caught.value.expected.startswith("layer 2 to be built like layer 0, Affine(")
    assert difference in caught.value.got


def test_no_block_at_all_and_blocks_that_share_a_layer_are_refused():
    with pytest.raises(RangeError, match="number_of_layers"):
        scan_layers([])
    tied = share(Affine(3, 3))
    with pytest.raises(StructureError, match="shared layer"):
        scan_layers([Seq(tied), Seq(tied)])


def test_a_block_is_reached_by_index_and_all_are_counted():
    model = scan_layers(blocks())
    assert len(model) == 2
    assert model[0] == block(0)
    assert model[-1] == model[np.int64(1)] == block(1)
    assert list(model) == blocks()
    for outside in (2, -3):
        with pytest.raises(IndexError):
            model[outside]


@pytest.mark.parametrize(
    ("other", "got"), [(Affine(3, 6), "float32[2,6]"), (Affine(3, 3, jnp.isfinite), "bool[2,3]")]
)
def test_a_block_that_does_not_return_what_it_takes_is_refused_in_its_place(other, got):
    with pytest.raises(ShapeError) as caught:
        Seq(scan_layers([other, other]))(X)
    assert (caught.value.got, caught.value.where) == (got, ".layers[0]")


def test_scan_layers_hands_the_other_arguments_to_every_block():
    model = scan_layers([Scaled(jnp.asarray(float(n))) for n in (2, 3)])
    y = model(jnp.ones(2), "times", parts=[jnp.asarray(1.0)])
    np.testing.assert_allclose(y, np.full(2, (1 * 2 + 1) * 3 + 1))


def test_scan_layers_traces_a_block_once_however_many_there_are():
    def count(length):
        model = scan_layers([Affine(3, 3, seed=i) for i in range(length)])
        return str(jax.make_jaxpr(lambda m, x: m(x))(model, X)).count("= tanh")

    assert count(7) == count(2) == 1


# --- vmap -------------------------------------------------------------------------------


class Matrix(Module):
    """State with axes enough to map over any."""

    weight: Array
    total: Buffer[Array]

    def __call__(self, x):
        self.record(total=self.total + x.sum())
        return self.weight @ x


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_an_ensemble_records_along_the_axis_that_it_is_stacked_on(axis):
    members = [Matrix(array(4, 3, seed=k), array(4, 3, seed=k + 50)) for k in range(5)]
    x = array(3)
    call = vmap(lambda m, x: m(x), in_axes=(axis, None))
    y, new = recording(call, stacked(*members, axis=axis), x)
    for k, one in enumerate(members):
        expected_y, expected_new = recording(lambda m: m(x), one)
        np.testing.assert_allclose(y[k], expected_y, rtol=1e-5)
        np.testing.assert_allclose(new.total.take(k, axis), expected_new.total, rtol=1e-6)


def test_a_layer_is_mapped_over_the_axes_that_were_asked_for():
    layer = Affine(3, 4)
    expected = np.stack([layer(ROWS[i]) for i in range(5)])
    np.testing.assert_allclose(vmap(layer)(ROWS), expected, **CLOSE)
    moved = vmap(layer, in_axes=[1], out_axes=2)(ROWS.swapaxes(0, 1))
    np.testing.assert_allclose(moved, expected.transpose(1, 2, 0), **CLOSE)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: vmap(vmap(Noise(1))), (4, 5, 3)),
        (lambda: vmap(remat(scan_layers([Noise(1), Noise(2)]))), (5, 3)),
        (lambda: scan_layers([vmap(Noise(1)), vmap(Noise(2))]), (5, 3)),
    ],
)
def test_a_layer_that_is_not_mapped_gets_keys_of_its_own_for_each_index(build, shape):
    run = jax.jit(lambda model: recording(lambda m: m(jnp.zeros(shape)), model))
    first, moved = run(build())
    second, again = run(moved)
    assert len(np.unique(np.stack([first, second]))) == 2 * first.size
    assert len({build(), moved, again}) == 3
    assert jax.tree.structure(moved) == jax.tree.structure(build())
    np.testing.assert_array_equal(run(build())[0], first)


def test_the_next_key_is_none_that_was_handed_out_and_an_unused_one_stays():
    model = (Noise(1), Noise(2))
    call = vmap(lambda pair, x: (jax.random.key_data(pair[0].key), pair[0](x)), in_axes=(None, 0))
    (used, _), new = recording(lambda m: call(m, jnp.zeros((5, 3))), model)
    data = [jax.random.key_data(m.key).tolist() for m in (model[0], new[0])]
    assert len({*map(tuple, used.tolist()), *map(tuple, data)}) == 7
    assert new[1] == model[1]


def test_an_unmapped_layer_may_record_nothing_but_keys():
    model = Seq(Noise(), vmap(Seq(Noise(), Centre(3))))
    with pytest.raises(StateError) as caught:
        jax.eval_shape(lambda m: recording(lambda m: m(ROWS), m), model)
    assert caught.value.where == ".layers[1].layer.layers[1]"
    assert "mean, steps" in caught.value.got
    assert jax.eval_shape(model, ROWS).shape == ROWS.shape  # in inference nothing is recorded


@pytest.mark.parametrize(
    ("in_axes", "args"),
    [
        ((0,), (Affine(3, 3), X)),
        (((0,), 0), (Affine(3, 3), X)),
        ((True, 0), (Affine(3, 3), X)),
        ((None, None), (Affine(3, 3), X)),
        (None, (Affine(3, 3), X)),
        (0, ()),
    ],
)
def test_axes_that_do_not_fit_the_arguments_are_refused(in_axes, args):
    with pytest.raises(StructureError, match="in_axes"):
        vmap(lambda *parts: parts[0](parts[1]), in_axes=in_axes)(*args)


# --- where an error stands --------------------------------------------------------------

WRAPPERS = {
    "remat": (remat, ".layer", X),
    "scan": (lambda b: scan_layers([b, b]), ".blocks", X),
    "vmap": (vmap, ".layer", ROWS),
    "scan in vmap": (lambda b: vmap(scan_layers([b, b])), ".layer.blocks", ROWS),
}
CALLS = {
    "plain": lambda m, x: m(x),
    "jit": lambda m, x: jax.jit(lambda m: m(x))(m),
    "gradient in jit": lambda m, x: jax.jit(lambda m: gradient(squares, m, x))(m),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_an_error_inside_says_where_its_layer_stands(wrapper, call):
    wrap, path, x = WRAPPERS[wrapper]
    where = f".layers[1]{path}.layers[1]"
    with pytest.raises(ShapeError) as caught:
        CALLS[call](Seq(Noise(), wrap(Seq(Affine(3, 3), Affine(4, 3)))), x)
    assert caught.value.where == where
    foreign = Seq(Noise(), wrap(Seq(Affine(3, 3), Broken(jnp.ones(2), OSError))))
    with pytest.raises(OSError, match="broken") as other:
        CALLS[call](foreign, x)
    notes = [note for note in other.value.__notes__ if note.startswith("raised")]
    assert notes == [f"raised in model{where}"]  # JAX adds a note of its own
