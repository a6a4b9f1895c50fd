# SPDX-License-Identifier: Apache-2.0
"""State leaves a call with the gradient, or not at all; nothing outside ever changes."""

import copy
import gc
import pickle
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core.declare import VISIT
from rosin.core.gradient import gradient, withgradient
from rosin.core.module import Module
from rosin.core.recording import recording
from rosin.core.sharing import share
from rosin.core.transforms import remat, vmap
from rosin.core.tree import testmode as pin_to_inference
from rosin.core.tree import trainmode
from rosin.core.types import Array, Buffer
from rosin.errors import StateError, StructureError
from tests.core.toys import Affine, Centre, Noise, Seq, X, mean_of


def model():
    return Seq(Affine(3, 2), Centre(2), Noise())


def after(tree):
    """Compute by hand what one training call records."""
    hidden = np.tanh(X @ np.asarray(tree.layers[0].weight) + np.asarray(tree.layers[0].bias))
    return 0.5 * np.asarray(tree.layers[1].mean) + 0.5 * hidden.mean(0)


# --- what comes back --------------------------------------------------------------------


@pytest.mark.parametrize("jitted", [False, True])
def test_state_comes_back_with_the_gradient(jitted):
    step = jax.jit(lambda m: withgradient(mean_of, m, X)) if jitted else None
    old = model()
    for count in (1, 2):
        expected = after(old)
        new = (step(old) if step else withgradient(mean_of, old, X))[2]
        np.testing.assert_allclose(new.layers[1].mean, expected, rtol=1e-5)
        assert new.layers[1].steps == count
        assert new.layers[2].key == jax.random.split(old.layers[2].key)[1]
        assert new.layers[0] == old.layers[0]
        assert jax.tree.structure(new) == jax.tree.structure(old)
        old = new


def test_the_original_never_changes():
    old = model()
    before = copy.deepcopy(old)
    withgradient(mean_of, old, X)
    recording(mean_of, old, X)
    gradient(mean_of, old, X)
    assert old == before


def test_recording_is_a_gradient_without_the_gradient():
    value, new = recording(mean_of, model(), X)
    expected_value, _, expected = withgradient(mean_of, model(), X)
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    assert new == expected
    assert VISIT not in vars(new.layers[1])


def test_recording_may_be_asked_for_inference():
    value, new = recording(mean_of, model(), X, training=False)
    np.testing.assert_array_equal(value, mean_of(model(), X))
    assert new == model()


def test_recording_takes_any_tree_and_returns_anything():
    text, (new, same) = recording(lambda pair: (pair[0](X), "text")[1], (model(), Centre(2)))
    assert text == "text"
    assert new.layers[1].steps == 1
    assert same == Centre(2)


def test_inference_records_nothing():
    old = model()
    np.testing.assert_array_equal(old(X), jax.jit(old)(X))
    assert old == model()


def test_a_layer_called_twice_records_twice():
    _, new = recording(lambda m: m(m(X)), Centre(3))
    assert new.steps == 2


def test_a_layer_sees_what_it_has_recorded():
    class Counter(Module):
        steps: Buffer[Array]

        def __call__(self):
            self.record(steps=self.steps + 1)
            return self.steps

    assert recording(lambda m: m(), Counter(jnp.zeros(())))[0] == 1


def test_a_module_in_a_buffer_records_under_transforms_again_and_again():
    class Holding(Module):
        inner: Buffer[Noise]

        def __call__(self, x):
            return self.inner(x)

    wrapped = remat(Holding(Noise()))
    y, new = recording(lambda m: m(m(X)), wrapped)
    expected_y, expected = recording(lambda m: m(m(X)), Noise())
    np.testing.assert_allclose(y, expected_y, rtol=1e-6)
    assert new.layer.inner == expected


def test_record_admits_what_a_field_admits():
    class Cache(Module):
        parts: Buffer[dict[str, Array]]

        def __call__(self):
            self.record(parts={"a": np.full(2, 5.0, np.float32)})

    new = recording(lambda m: m(), Cache({"a": jnp.zeros(2)}))[1]
    assert type(new.parts) is type(Cache({"a": jnp.zeros(2)}).parts)
    assert new.parts["a"].tolist() == [5, 5]


# --- what may be recorded ---------------------------------------------------------------


class Recording(Module):
    weight: Array
    mean: Buffer[Array]

    def __call__(self, **values):
        self.record(**values)


WRONG = {
    "a shape": (
        {"mean": jnp.zeros(3)},
        "mean to keep its shape and dtype, float32[2]",
        "float32[3]",
    ),
    "a dtype": ({"mean": jnp.zeros(2, jnp.int32)}, "mean to keep its shape and", "int32[2]"),
    "nothing": ({"mean": None}, "mean to keep its shape and dtype", "None"),
    "a tree": ({"mean": (jnp.zeros(2),)}, "mean to keep its shape and dtype", "(float32[2])"),
    "a parameter": ({"weight": jnp.zeros(2)}, "buffers among mean", "weight"),
    "an unknown name": ({"maen": jnp.zeros(2)}, "buffers among mean", "maen"),
    "a number": ({"mean": 0.5}, "the field mean to hold arrays", "0.5"),
}


@pytest.mark.parametrize(("values", "expected", "got"), WRONG.values(), ids=WRONG)
def test_a_record_that_does_not_fit_is_refused(values, expected, got):
    layer = Seq(Recording(jnp.ones(2), jnp.zeros(2)))
    with pytest.raises(StructureError) as caught:
        recording(lambda m: m.layers[0](**values), layer)
    assert expected in caught.value.expected
    assert caught.value.got.replace(",)", ")") == got


# --- where nothing collects -------------------------------------------------------------

OUTSIDE = "a call outside of every gradient"
BARE = "a call inside a bare transform of JAX, which would lose it"
CAPTURED = "a module from outside the gradient, or a copy of one"
INNER = "a module of an outer function, captured by an inner gradient or transform"
OVER = "a module kept from a gradient that is over"

pinned = trainmode(Seq(Centre(3)))


def kept():
    leaked = []
    recording(leaked.append, Seq(Centre(3)))
    return leaked[0]


def in_gradient(call):
    """Call with a handed-out model, and a loss that reaches it."""
    return lambda: gradient(lambda m: m.layers[0].scale.sum() + call(m).sum(), Seq(Centre(3)))


REFUSED = {
    "outside": (lambda: pinned(X), OUTSIDE),
    "outside, in jit": (lambda: jax.jit(pinned)(X), OUTSIDE),
    "outside, in a plain gradient": (
        lambda: jax.grad(lambda m: m(X).sum(), allow_int=True)(pinned),
        OUTSIDE,
    ),
    "kept": (lambda: recording(lambda _, m: m(X), Affine(1, 1), kept()), OVER),
    "kept, in remat": (lambda: recording(lambda _, m: remat(m)(X), Affine(1, 1), kept()), OVER),
    "captured": (in_gradient(lambda m: pinned(X)), CAPTURED),
    "captured, in inference": (in_gradient(lambda m: Seq(Centre(3))(X)), CAPTURED),
    "a replaced copy": (
        in_gradient(lambda m: m.layers[0].replace(steps=jnp.int32(3))(X)),
        CAPTURED,
    ),
    "a mapped copy": (in_gradient(lambda m: jax.tree.map(lambda x: x, m)(X)), CAPTURED),
    "a shallow copy": (in_gradient(lambda m: copy.copy(m.layers[0])(X)), CAPTURED),
    "a deep copy": (in_gradient(lambda m: copy.deepcopy(m.layers[0])(X)), CAPTURED),
    "pinned inside": (in_gradient(lambda m: trainmode(m)(X)), CAPTURED),
    "jit": (in_gradient(lambda m: jax.jit(lambda m, x: m(x))(m, X)), BARE),
    "jit, closed over": (in_gradient(lambda m: jax.jit(lambda x: m(x))(X)), BARE),
    "jit of the layer": (in_gradient(lambda m: jax.jit(m.layers[0])(X)), BARE),
    "vmap": (in_gradient(lambda m: jax.vmap(lambda m, x: m(x), (None, 0))(m, X[None])), BARE),
    "vmap, closed over": (in_gradient(lambda m: jax.vmap(lambda x: m(x))(X[None])), BARE),
    "scan": (
        in_gradient(lambda m: jax.lax.scan(lambda c, m: (m(c), None), X, stacked(m))[0]),
        BARE,
    ),
    "scan, closed over": (
        in_gradient(lambda m: jax.lax.scan(lambda c, _: (m(c), None), X, None, 2)[0]),
        BARE,
    ),
    "checkpoint": (in_gradient(jax.checkpoint(lambda m: m(X))), BARE),
    "checkpoint, closed over": (in_gradient(lambda m: jax.checkpoint(lambda x: m(x))(X)), BARE),
    "cond": (in_gradient(lambda m: jax.lax.cond(m.layers[0].steps == 0, m, m, X)), BARE),
    "remat in vmap": (in_gradient(lambda m: jax.vmap(remat(m))(X[None])), INNER),
    "an inner gradient": (in_gradient(lambda m: gradient(lambda w: m(w * X).sum(), 2.0)), INNER),
    "an inner vmap": (
        in_gradient(lambda m: vmap(lambda n, x: m(x), in_axes=(None, 0))(m.layers[0], X[None])),
        INNER,
    ),
    "captured by vmap": (in_gradient(lambda m: vmap(lambda x: m(x))(X[None])), INNER),
}


def stacked(tree):
    return jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), tree)


@pytest.mark.parametrize(("call", "got"), REFUSED.values(), ids=REFUSED)
def test_a_record_that_nobody_collects_is_refused(call, got):
    with pytest.raises(StateError) as caught:
        call()
    assert caught.value.got == got
    assert caught.value.expected == "a record that something collects"


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("outside", "rs.recording, or pin it with rs.testmode"),
        ("vmap", "use rs.vmap, rs.scan_layers or rs.remat in place of the one of JAX"),
        ("captured", "use the model that is handed to the function"),
        ("an inner gradient", "hand it to the inner function"),
        ("kept", "use the model that rs.withgradient returned"),
    ],
)
def test_the_way_out_fits_the_case(name, fix):
    with pytest.raises(StateError) as caught:
        REFUSED[name][0]()
    assert fix in caught.value.fix
    assert len(caught.value.fix) < 140


def test_a_captured_model_that_is_pinned_to_inference_is_fine():
    teacher = pin_to_inference(Seq(Centre(3), Noise()))
    grads = gradient(lambda m: m(teacher(X)).sum(), Affine(3, 2))
    np.testing.assert_array_equal(teacher(X), Seq(Centre(3), Noise())(X))
    assert grads.weight.any()


def test_a_layer_without_state_needs_no_recorder():
    assert trainmode(Affine(3, 2))(X).shape == (2, 2)
    gradient(lambda m: jax.vmap(m)(X[None]).sum(), Affine(3, 2))


def test_a_failed_function_ends_its_recording():
    leaked = []

    def f(m):
        leaked.append(m)
        raise KeyError

    with pytest.raises(KeyError):
        recording(f, Centre(3))
    with pytest.raises(StateError, match="something collects") as caught:
        recording(lambda _: leaked[0](X), Affine(1, 1))
    assert caught.value.got == OVER
    with pytest.raises(StateError) as caught:
        trainmode(Centre(3))(X)
    assert caught.value.got == OUTSIDE


def test_a_handed_out_model_can_be_pickled():
    text, _ = recording(pickle.dumps, Centre(3))
    assert pickle.loads(text) == Centre(3)


def test_no_tracer_leaks_out_of_a_gradient():
    with jax.checking_leaks():
        jax.jit(lambda m: withgradient(mean_of, m, X))(Seq(Centre(3), remat(Centre(3))))


# --- the mode and the caches of JAX -----------------------------------------------------


@pytest.mark.parametrize("training_first", [False, True])
def test_a_compiled_function_does_not_remember_the_mode(training_first):
    compiled = jax.jit(lambda m, x: jnp.array(1.0 if m.training else 0.0) + 0 * x.sum())
    layer = Affine(3, 2)

    def in_training():
        return withgradient(lambda m: (m.weight.sum(), compiled(m, X)), layer)[0][1]

    def in_inference():
        return compiled(layer, X)

    calls = [(in_inference, 0), (in_training, 1)] * 2
    for call, expected in calls[::-1] if training_first else calls:
        assert call() == expected


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint])
def test_a_function_wrapped_once_follows_the_mode(wrap):
    wrapped = wrap(lambda m, x: x * 2.0 if m.training else x)
    layer = Affine(3, 2)
    for _ in range(2):
        assert wrapped(layer, 3.0) == 3
        assert recording(lambda m: wrapped(m, 3.0), layer)[0] == 6


# --- errors and memory ------------------------------------------------------------------


@pytest.mark.parametrize("collect", [recording, withgradient])
def test_in_a_tree_of_models_the_place_begins_with_the_place_of_the_model(collect):
    with pytest.raises(ValueError, match="expected shape") as caught:
        collect(
            lambda pair: pair["b"][1](X).sum(), {"a": Affine(3, 2), "b": (1.0, Seq(Affine(9, 2)))}
        )
    assert caught.value.where == ".b[1].layers[0]"


def test_a_model_from_outside_keeps_its_own_place():
    other = Seq(Affine(9, 2))
    with pytest.raises(ValueError, match="expected shape") as caught:
        gradient(lambda pair: other(X).sum() + pair[0].weight.sum(), (Affine(3, 2),))
    assert caught.value.where == ".layers[0]"


def test_a_model_can_be_collected_after_its_gradient():
    tree = model()
    gone = weakref.ref(tree.layers[1])
    leaked = []
    withgradient(lambda m: (leaked.append(weakref.ref(m.layers[1])), mean_of(m, X))[1], tree)
    del tree
    gc.collect()
    assert gone() is None
    assert leaked[0]() is None


def test_recording_refuses_what_cannot_be_called_and_what_is_shared_loosely():
    with pytest.raises(StructureError, match="f to be callable"):
        recording(3, model())
    tied = share(Centre(3))
    with pytest.raises(StructureError, match="both places of a shared layer"):
        recording(lambda pair: pair[0](X), (tied, tied))
