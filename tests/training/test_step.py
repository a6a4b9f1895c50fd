# SPDX-License-Identifier: Apache-2.0
"""One compiled step: values, guard, compilation, donation, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rosin as rs
from rosin.errors import DtypeError, ShapeError, StateError, StructureError
from rosin.training import step
from rosin.training.samecode import SameCode
from tests.training.compilations import compilations
from tests.training.toys import Affine, Net, assert_same_bits, copied, data, loss, net

X, Y = data(6)


class Masked(rs.Module):
    """A parameter behind a mask of infinities, and a running minimum that starts at one."""

    weight: rs.Array
    mask: rs.Buffer[rs.Array]
    least: rs.Buffer[rs.Array]
    worst: rs.Buffer[rs.Array]

    def __call__(self, x):
        y = jnp.where(jnp.isinf(self.mask), 0, x * self.weight)
        self.record(least=jnp.minimum(self.least, y[0]), worst=self.worst * 1)
        return y


def masked(worst=0.0):
    mask, least = jnp.array([0.0, -jnp.inf]), jnp.array([jnp.inf, jnp.inf])
    return Masked(jnp.ones(2), mask, least, jnp.asarray(worst))


def setup(model=None, rule=None):
    model = net() if model is None else model
    return model, rs.setup(rs.Adam(0.05) if rule is None else rule, model)


# --- values ---------------------------------------------------------------------------


def test_a_step_is_the_gradient_and_the_update():
    model, opt_state = setup()
    value, grads, recorded = rs.withgradient(loss, model, X, Y)
    new_state, new_model = rs.update(opt_state, recorded, grads)
    result = rs.trainstep(loss, model, (X, Y), opt_state)
    assert bool(result.finite)
    assert result.aux is None
    np.testing.assert_allclose(result.loss, value, rtol=1e-6)
    for a, b in zip(copied((new_model, new_state)), copied(result[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)  # Adam divides by small roots


def test_layers_are_in_training_and_record():
    model, opt_state = setup()
    result = rs.trainstep(loss, model, (X, Y), opt_state)
    assert not rs.equal(result.model.layers[1].mean, model.layers[1].mean)
    assert not rs.equal(result.model.layers[2].key, model.layers[2].key)


def test_the_arguments_stay_as_they_are():
    model, opt_state = setup()
    before = copied((model, opt_state))
    batch = X.copy(), Y.copy()
    rs.trainstep(loss, model, batch, opt_state)
    assert_same_bits(before, (model, opt_state))
    assert_same_bits(batch, (X, Y))


@pytest.mark.parametrize(
    ("batch", "function"),
    [
        ((X, Y), lambda m, x, y: ((m(x) - y) ** 2).mean()),
        ([X, Y], lambda m, b: ((m(b[0]) - b[1]) ** 2).mean()),
        ({"x": X, "y": Y}, lambda m, b: ((m(b["x"]) - b["y"]) ** 2).mean()),
        (X, lambda m, x: ((m(x) - Y) ** 2).mean()),
    ],
    ids=["tuple", "list", "dict", "array"],
)
def test_a_tuple_is_spread_and_any_other_batch_handed_over_whole(batch, function):
    model, opt_state = setup()
    expected = rs.trainstep(loss, model, (X, Y), opt_state).loss
    result = rs.trainstep(function, model, batch, opt_state)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("out", "aux"),
    [
        (lambda n: (n, {"a": n + 1, "b": 3}), lambda n: {"a": n + 1, "b": 3}),
        (lambda n: (n, n + 1, n + 2), lambda n: (n + 1, n + 2)),
        (lambda n: (n,), lambda n: ()),
        (lambda n: (n, None), lambda n: None),
    ],
    ids=["one", "several", "none", "None"],
)
def test_what_comes_beside_the_loss_is_handed_on(out, aux):
    model, opt_state = setup()
    result = rs.trainstep(lambda m, x, y: out(loss(m, x, y)), model, (X, Y), opt_state)
    expected = aux(result.loss)
    assert jax.tree.structure(result.aux) == jax.tree.structure(expected)
    np.testing.assert_allclose(jax.tree.leaves(result.aux), jax.tree.leaves(expected), rtol=1e-6)


def test_a_model_may_hold_plain_numbers():
    model = {"w": jnp.ones(()), "n": 3}
    opt_state = rs.setup(rs.Descent(0.5), model)
    result = rs.trainstep(
        lambda m, x: (m["w"] * m["n"] * x).sum(), model, X[:1, 0] * 0 + 1, opt_state
    )
    assert float(result.model["w"]) == -0.5
    assert int(result.model["n"]) == 3


# --- the guard ------------------------------------------------------------------------


CLIPPED = optax.chain(optax.clip(1.0), optax.sgd(0.1))
BAD = {
    "loss": (lambda w, x: jnp.log(w - 1).sum(), rs.Adam()),
    "loss alone": (lambda w, x: w.sum() + jax.lax.stop_gradient(jnp.log(0 * w[0])), rs.Descent()),
    "loss and data": (lambda w, x: (w * x[:, :1] / 0 * 0).sum(), rs.Adam()),
    "gradient": (lambda w, x: jnp.sqrt(w - 1).sum(), rs.Adam()),
    "gradient, made finite by the rule": (lambda w, x: jnp.sqrt(w - 1).sum(), CLIPPED),
    "update": (lambda w, x: 100 * (w**2).sum(), optax.sgd(3e38)),
    "optimiser state": (lambda w, x: 1e30 * w.sum(), optax.adam(0.0)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_step_that_is_not_finite_changes_no_bit(case):
    function, rule = BAD[case]
    model = jnp.ones(3)
    opt_state = rs.setup(rule, model)
    result = rs.trainstep(function, model, X, opt_state)
    assert not bool(result.finite)
    assert bool(jnp.isfinite(result.loss)) == ("loss" not in case)
    assert_same_bits((result.model, result.opt_state), (model, opt_state))


class Overflow(rs.Module):
    """A buffer that overflows in the second call, beside a loss that does not."""

    weight: rs.Array
    total: rs.Buffer[rs.Array]

    def __call__(self, x):
        self.record(total=self.total * 1e30)
        return x * self.weight


def test_a_buffer_that_is_not_finite_holds_the_step_back():
    model, opt_state = setup(Overflow(jnp.ones(3), jnp.asarray(1.0)), rs.Descent(0.1))
    first = rs.trainstep(lambda m, x: m(x).sum(), model, X, opt_state)
    second = rs.trainstep(lambda m, x: m(x).sum(), first.model, X, first.opt_state)
    assert bool(first.finite)
    assert not bool(second.finite)
    assert_same_bits(second.model, first.model)


def test_an_infinity_that_stands_in_a_buffer_is_no_fault():
    model, opt_state = setup(masked(), rs.Descent(0.1))
    result = rs.trainstep(lambda m, x: m(x).sum(), model, X[:, :2], opt_state)
    assert bool(result.finite)
    assert not rs.equal(result.model.weight, model.weight)
    np.testing.assert_allclose(result.model.least, [min(np.inf, X[0, 0]), 0])
    assert rs.equal(result.model.mask, model.mask)


def test_a_nan_in_a_buffer_that_nobody_records_is_no_fault():
    class Unused(rs.Module):
        """A parameter beside a buffer that is not set yet."""

        weight: rs.Array
        unset: rs.Buffer[rs.Array]

    model, opt_state = setup(Unused(jnp.ones(3), jnp.asarray(np.nan)), rs.Descent(0.1))
    result = rs.trainstep(lambda m, x: (m.weight * x[0]).sum(), model, X, opt_state)
    assert bool(result.finite)
    assert not rs.equal(result.model.weight, model.weight)
    assert rs.equal(result.model.unset, model.unset)


def test_an_infinity_that_is_recorded_again_may_stay_and_nan_may_not():
    function = lambda m, x: m(x).sum()
    model, opt_state = setup(masked(np.inf), rs.Descent(0.1))
    assert bool(rs.trainstep(function, model, X[:, :2], opt_state).finite)
    model = masked(np.nan)
    assert not bool(rs.trainstep(function, model, X[:, :2], opt_state).finite)


# --- compilation ----------------------------------------------------------------------


def test_a_second_step_compiles_nothing_whatever_changed_in_value():
    model, opt_state = setup()
    result = rs.trainstep(loss, model, (X, Y), opt_state)
    adjusted = rs.adjust(result.opt_state, learning_rate=0.25, beta1=0.5)
    with compilations() as compiled:
        rs.trainstep(loss, result.model, (X * 2, Y), adjusted)
    assert not compiled


def test_the_probe_sees_a_step_on_a_batch_of_another_shape():
    model, opt_state = setup()
    rs.trainstep(loss, model, (X, Y), opt_state)
    with compilations() as compiled:
        rs.trainstep(loss, model, (X[:5], Y[:5]), opt_state)
    assert "_traced_step" in compiled


def test_a_lambda_written_anew_each_time_compiles_once():
    model, opt_state = setup()
    factor = jnp.asarray(2.0)
    counts = []
    for _ in range(3):
        with compilations() as compiled:
            rs.trainstep(lambda m, x, y: factor * loss(m, x, y), model, (X, Y), opt_state)
        counts.append(compiled.count("_traced_step"))
    assert counts == [1, 0, 0]


def test_another_captured_value_takes_effect():
    model, opt_state = setup()
    losses = [
        float(rs.trainstep(lambda m, x, y: f * loss(m, x, y), model, (X, Y), opt_state).loss)  # noqa: B023  called at once
        for f in (1.0, 3.0)
    ]
    np.testing.assert_allclose(losses[1], 3 * losses[0], rtol=1e-6)


def test_weakly_typed_parameters_compile_once():
    class Weak(rs.Module):
        """A parameter as `jnp.full` makes it."""

        weight: rs.Array

        def __call__(self, x):
            return x * self.weight

    model = Weak(jnp.full(3, 0.5))
    assert model.weight.weak_type
    model, opt_state = setup(model)
    result = rs.trainstep(lambda m, x: (m(x) ** 2).sum(), model, X, opt_state)
    with compilations() as compiled:
        rs.trainstep(lambda m, x: (m(x) ** 2).sum(), result.model, X, result.opt_state)
    assert compiled.count("_traced_step") == 1  # two lambdas, but no third program
    function = lambda m, x: (m(x) ** 2).mean()
    result = rs.trainstep(function, model, X, opt_state)
    with compilations() as compiled:
        rs.trainstep(function, result.model, X, result.opt_state)
    assert not compiled


def test_the_compiled_step_grows_in_proportion_to_the_model():
    sizes = []
    for layers in (4, 8):
        model, opt_state = setup(Net(*(Affine(3, 3) for _ in range(layers))))
        lowered = step._step.lower(
            SameCode(lambda m, x: m(x).sum()), step.PLAIN, model, opt_state, X
        )
        sizes.append(len(lowered.compile().as_text()))
    # 1.9 is proportional to all but a fixed part; repeated work for each leaf gave 3.
    assert sizes[1] / sizes[0] < 2.3


# --- donation -------------------------------------------------------------------------


def test_donation_takes_the_memory_and_gives_the_same_bits():
    model, opt_state = setup()
    expected = rs.trainstep(loss, model, (X, Y), opt_state)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((model, opt_state)))
    result = rs.trainstep(loss, model, (X, Y), opt_state, donate=True)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((model, opt_state.state)))
    for a, b in zip(copied(expected[:3]), copied(result[:3]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_what_a_donating_step_returns_can_be_donated_again():
    model, opt_state = setup(jax.tree.map(jnp.copy, net()))
    for _ in range(3):
        result = rs.trainstep(loss, model, (X, Y), opt_state, donate=True)
        model, opt_state = result.model, result.opt_state
    assert np.isfinite(copied(model)[0]).all()


# --- refusals -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "kind", "got"),
    [
        ((X[:0], Y[:0]), ShapeError, "float32[0,3]"),
        ((X, Y[:0]), ShapeError, "float32[0,1]"),
        ((), ShapeError, "no array"),
        ({}, ShapeError, "no array"),
        (None, ShapeError, "no array"),
        ((X, "cat"), StructureError, "'cat'"),
        ((X, np.array(["cat"] * 6)), StructureError, "<U3[6]"),
        ((X, np.array([None] * 6)), StructureError, "object[6]"),
        ((X, np.array(["2020-01-01"] * 6, "M8[D]")), StructureError, "datetime64[D][6]"),
    ],
    ids=[
        "no example",
        "no target",
        "nothing",
        "empty dict",
        "None",
        "text",
        "texts",
        "objects",
        "times",
    ],
)
def test_a_batch_without_examples_or_arrays_is_refused(batch, kind, got):
    model, opt_state = setup()
    with pytest.raises(kind) as caught:
        rs.trainstep(lambda m, *b: m(X).sum(), model, batch, opt_state)
    assert caught.value.subject == "the batch"
    assert caught.value.got == got


def test_an_axis_of_features_may_be_empty_and_a_number_is_no_axis():
    model, opt_state = setup()
    extra = np.ones((6, 0), np.float32)
    result = rs.trainstep(
        lambda m, x, y, e, n: n * loss(m, x, y), model, (X, Y, extra, 2.0), opt_state
    )
    assert bool(result.finite)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda m, x, y: m(x), ShapeError),
        (lambda m, x, y: m(x).sum().astype(int), DtypeError),
        (lambda m, x, y: m(x).sum() + 1j, DtypeError),
        (lambda m, x, y: None, StructureError),
        (lambda m, x, y: (), StructureError),
        (lambda m, x, y: (m(x).sum(), "text"), StructureError),
        (lambda m, x, y: (m(x).sum(), [np.array(["text"])]), StructureError),
        (lambda m, x, y: jnp.sum(x), StateError),
        ("loss", StructureError),
    ],
    ids=[
        "vector",
        "integer",
        "complex",
        "None",
        "empty",
        "text",
        "texts",
        "unreached",
        "no function",
    ],
)
def test_a_loss_that_is_no_loss_is_refused(function, kind):
    model, opt_state = setup()
    with pytest.raises(kind):
        rs.trainstep(function, model, (X, Y), opt_state)


def test_what_is_no_state_or_no_boolean_is_refused():
    model, opt_state = setup()
    with pytest.raises(StructureError, match=r"rs\.setup"):
        rs.trainstep(loss, model, (X, Y), rs.Adam())
    with pytest.raises(StructureError, match="donate"):
        rs.trainstep(loss, model, (X, Y), opt_state, donate=1)


def test_the_state_of_another_model_is_refused():
    _, opt_state = setup(Net(Affine(3, 1)))
    with pytest.raises(StructureError, match="setup"):
        rs.trainstep(loss, net(), (X, Y), opt_state)
