# SPDX-License-Identifier: Apache-2.0
"""Finding where a step stops being finite: layer, operation, pass."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rosin as rs
from rosin.core.transforms import remat, scan_layers
from rosin.errors import NonFiniteError
from rosin.training.guard import NonFinite, find_nonfinite, step_error
from rosin.training.replay import described
from rosin.training.step import Options
from tests.training.toys import Affine, Centre, Net

X = np.linspace(0.5, 2, 12, dtype=np.float32).reshape(4, 3)


class Apply(rs.Module):
    """A function with one parameter, which is one."""

    scale: rs.Array
    function: rs.Static[object]

    def __init__(self, function):
        self.scale = jnp.ones(())
        self.function = function

    def __call__(self, x):
        return self.function(x * self.scale)


def around(function, size=3):
    """Put a layer between two that are sound."""
    return Net(Affine(3, size, jnp.tanh), Net(Apply(function)), Affine(size, 1))


def total(model, x):
    return model(x).sum()


@jax.custom_jvp
def smooth(x):
    return jnp.log(x - 9)


@smooth.defjvp
def _(primals, tangents):
    (x,), (t,) = primals, tangents
    return smooth(x), t


@jax.custom_jvp
def steep(x):
    return x


@steep.defjvp
def _(primals, tangents):
    (x,), (t,) = primals, tangents
    return x, t / jax.lax.stop_gradient(x * 0)


@jax.custom_vjp
def guided(x):
    return jnp.log(x - 9)


guided.defvjp(lambda x: (guided(x), None), lambda _, g: (g,))


@jax.custom_vjp
def back(x):
    return x


back.defvjp(lambda x: (x, x), lambda x, g: (jnp.log(x - 9) * g,))


stopped = jax.lax.stop_gradient


def looped(x):
    return jax.lax.fori_loop(0, 3, lambda i, v: jnp.where(i == 1, jnp.log(-jnp.abs(v)), v), x)


def whiled(x):
    return jax.lax.while_loop(lambda v: v.sum() < 9, lambda v: jnp.exp(99 * (1 + v * 0)) + v, x)


FORWARD = {
    "log of a negative number": (lambda x: jnp.log(x - 9), "log", "NaN"),
    "overflow": (lambda x: jnp.exp(x * 0 + 99), "exp", "infinity"),
    "division": (lambda x: 1 / (x * 0), "div", "infinity"),
    "jit inside": (jax.jit(lambda x: jnp.log(x - 9)), "log", "NaN"),
    "jit inside jit": (jax.jit(lambda x: jax.jit(jnp.log)(x - 9)), "log", "NaN"),
    "custom_jvp": (smooth, "log", "NaN"),
    "custom_vjp": (guided, "log", "NaN"),
    "cond": (
        lambda x: jax.lax.cond(x.sum() < 9, lambda v: jnp.log(v - 9), lambda v: v, x),
        "log",
        "NaN",
    ),
    "cond, the other branch": (
        lambda x: jax.lax.cond(x.sum() > 9, lambda v: v, lambda v: jnp.log(v - 9), x),
        "log",
        "NaN",
    ),
    "switch": (
        lambda x: jax.lax.switch(2, [jnp.sin, jnp.cos, lambda v: jnp.log(v - 9)], x),
        "log",
        "NaN",
    ),
    "fori_loop": (looped, "log", "NaN"),
    "while_loop": (
        lambda x: x + whiled(stopped(x)),
        "exp",
        "infinity",
    ),
    "scan": (
        lambda x: jax.lax.scan(lambda c, v: (c + v, jnp.log(v - 9)), x[0], x)[1],
        "log",
        "NaN",
    ),
    "vmap": (jax.vmap(lambda v: jnp.log(v - 9)), "log", "NaN"),
    "checkpoint": (jax.checkpoint(lambda x: jnp.log(x - 9)), "log", "NaN"),
    "NaN of infinities that are written down": (
        lambda x: jax.nn.softmax(jnp.where(x > 99, x, -jnp.inf)),
        "sub",
        "NaN",
    ),
}


@pytest.mark.parametrize("case", FORWARD)
def test_the_first_fault_of_the_forward_pass_is_found(case):
    function, operation, value = FORWARD[case]
    model = around(function)
    found = find_nonfinite(total, model, (X,))
    assert (found.path, found.operation, found.value) == ("layers[1].layers[0]", operation, value)
    assert not found.backward
    assert found.source == ""


BACKWARD = {
    "root of zero": (lambda x: jnp.sqrt(x * 0), "infinity"),
    "custom_jvp": (steep, "infinity"),
    "custom_vjp": (back, "NaN"),
    "checkpoint": (jax.checkpoint(lambda x: jnp.sqrt(x * 0)), "infinity"),
    "scan": (lambda x: jax.lax.scan(lambda c, v: (c, jnp.sqrt(v * 0)), 0.0, x)[1], "infinity"),
    "masked in the forward pass": (
        lambda x: jnp.where(x < 9, 0.0 * x, jnp.sqrt(x * 0)),
        "infinity",
    ),
}


@pytest.mark.parametrize("case", BACKWARD)
def test_the_first_fault_of_the_backward_pass_is_found(case):
    function, value = BACKWARD[case]
    model = around(function)
    assert np.isfinite(total(model, X))
    found = find_nonfinite(total, model, (X,))
    assert found.backward
    assert (found.path, found.value) == ("layers[1].layers[0]", value)


SOUND = {
    "plain": jnp.tanh,
    "a mask": lambda x: jax.nn.softmax(jnp.where(x > 0, x, -jnp.inf)),
    "an infinity that is computed and masked": lambda x: x + jnp.exp(-stopped(jnp.exp(x * 0 + 99))),
    "the identity of a maximum": lambda x: jax.lax.reduce_max(x, (0,)) + x,
    "a constant with infinities": lambda x: jnp.minimum(x, np.full(3, np.inf, np.float32)),
    "a NaN that is not looked at": lambda x: jnp.where(x > 99, stopped(jnp.log(x - 9)), x),
    "keys and integers": lambda x: (
        x * jax.random.uniform(jax.random.key(0), x.shape) + jnp.arange(3)
    ),
    "an empty scan": lambda x: jax.lax.scan(lambda c, v: (c, v), x, jnp.zeros((0, 2)))[0],
    "keys through a scan": lambda x: (
        x
        + jax.lax.scan(
            lambda c, k: (c, jax.random.uniform(k)), 0.0, jax.random.split(jax.random.key(0), 3)
        )[1]
    ),
    "a cond": lambda x: jax.lax.cond(x.sum() > 99, lambda v: jnp.log(v - 9), lambda v: v, x),
    "a while loop": lambda x: x + jax.lax.while_loop(lambda i: i < 3, lambda i: i + 1, 0),
}


@pytest.mark.parametrize("case", SOUND)
def test_a_finite_step_has_no_finding(case):
    model = around(SOUND[case])
    assert find_nonfinite(total, model, (X,)) is None


# --- where ----------------------------------------------------------------------------


def test_the_first_of_several_faults_is_the_one():
    model = Net(Apply(jnp.tanh), Apply(lambda x: x / 0), Apply(lambda x: jnp.log(x - jnp.inf)))
    found = find_nonfinite(total, model, (X,))
    assert (found.path, found.operation) == ("layers[1]", "div")


def test_a_fault_that_is_masked_again_is_not_the_one():
    model = Net(Apply(lambda x: jnp.where(x > 99, 1 / (x * 0), x)), Apply(lambda x: jnp.log(x - 9)))
    assert find_nonfinite(total, model, (X,)).path == "layers[1]"


def test_a_nan_that_is_written_down_is_found_where_it_stands():
    found = find_nonfinite(total, around(lambda x: jnp.where(x > 99, x, jnp.nan)), (X,))
    assert (found.path, found.value) == ("layers[1].layers[0]", "NaN")


def test_the_loss_function_itself_has_no_path():
    found = find_nonfinite(lambda m, x: jnp.log(total(m, x) * 0 - 1), Net(Affine(3, 1)), (X,))
    assert (found.path, found.operation) == ("", "log")
    text = str(found.error(Net(Affine(3, 1))))
    assert text.startswith("the loss function or Net itself: expected finite")
    assert str(found.error({"w": X})).startswith("the loss function: expected finite")


def test_a_scope_of_the_users_own_does_not_hide_the_layer():
    def scoped(x):
        with jax.named_scope("mine"), jax.named_scope("layers"):
            return jnp.log(x - 9)

    assert find_nonfinite(total, around(scoped), (X,)).path == "layers[1].layers[0]"


@pytest.mark.parametrize("scope", ["not inner", "inner most", "vmap"])
def test_a_scope_that_looks_like_another_layer_is_not_taken_for_it(scope):
    def scoped(x):
        with jax.named_scope(scope):
            return jnp.log(x - 9)

    model = {"inner": Apply(jnp.tanh), "outer": Apply(scoped)}
    found = find_nonfinite(lambda m, x: total(m["outer"], m["inner"](x)), model, (X,))
    assert found.path == "outer"


def test_layers_under_odd_names_are_found():
    class Table(rs.Module):
        """Layers by name."""

        parts: dict

        def __call__(self, x):
            for name in self.parts:
                x = self.parts[name](x)
            return x

    for name in ("a/b", "a(b)", "jvp(x)", "", "a"):
        model = Table(
            {"a": Apply(jnp.tanh), name: Apply(lambda x: jnp.log(x - 9)), "ab": Apply(jnp.sin)}
        )
        found = find_nonfinite(total, model, (X,))
        assert rs.at(model, found.path).get() is model.parts[name]


@pytest.mark.parametrize("backward", [False, True])
def test_the_layer_is_named_under_remat_and_scan_layers(backward):
    function = (lambda x: jnp.sqrt(x * 0)) if backward else (lambda x: jnp.log(x - 9))
    for model, path in (
        (Net(Apply(jnp.tanh), remat(Apply(function))), "layers[1].layer"),
        (Net(Apply(jnp.tanh), scan_layers([Apply(function)] * 2)), "layers[1].blocks"),
        (
            Net(remat(Net(Apply(jnp.tanh), scan_layers([Apply(function)] * 2)))),
            "layers[0].layer.layers[1].blocks",
        ),
    ):
        found = find_nonfinite(total, model, (X,))
        assert (found.path, found.backward) == (path, backward)
        assert found.operation != "scan"
        assert isinstance(found.error(model), NonFiniteError)


def test_what_a_layer_records_is_looked_at():
    class Counts(rs.Module):
        """A buffer beside what goes on."""

        total: rs.Buffer[rs.Array]
        scale: rs.Array

        def __call__(self, x):
            self.record(total=self.total / (x.sum() * 0))
            return x * self.scale

    model = Net(Affine(3, 3), Counts(jnp.ones(()), jnp.ones(())))
    found = find_nonfinite(total, model, (X,))
    assert (found.path, found.operation, found.backward) == ("layers[1]", "div", False)


# --- what was handed in ---------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_is_not_finite_is_named_with_the_first_layer_it_reaches(value):
    x = X.copy()
    x[2, 1] = value
    found = find_nonfinite(
        lambda m, a, b: total(m, 2 * a["x"]), Net(Centre(3), Affine(3, 1)), ({"x": x}, X)
    )
    assert found.path == "layers[0]"
    assert found.source == "the batch's [0].x"
    assert "numpy.isfinite" in found.error(Net(Centre(3), Affine(3, 1))).fix


def test_data_that_is_not_finite_and_reaches_no_layer_is_named():
    found = find_nonfinite(lambda w, x: (w * jnp.abs(-x)).sum(), jnp.ones(()), X * np.nan)
    assert (found.path, found.operation, found.source) == ("", "neg", "the batch's array")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_parameter_that_is_not_finite_is_named(value):
    model = around(jnp.tanh)
    model = rs.at(model, "layers[2].weight").apply(lambda w: w.at[1, 0].set(value))
    found = find_nonfinite(total, model, (X,))
    assert found.path == "layers[2]"
    assert found.source == "the model's layers[2].weight"
    error = found.error(model)
    assert "layers[2].weight was not finite before the step" in error.got
    assert "rs.summary" in error.fix


def test_a_value_that_goes_through_no_operation_is_named_by_its_source():
    found = find_nonfinite(lambda w: w, jnp.asarray(np.inf), ())
    assert "infinity from the model's array" in str(found.error(jnp.ones(())))


def test_a_buffer_that_is_nan_is_named_and_one_of_infinities_is_a_mask():
    class Masked(rs.Module):
        """Scores behind a mask."""

        mask: rs.Buffer[rs.Array]
        scale: rs.Array

        def __call__(self, x):
            return jax.nn.softmax(x * self.scale + self.mask)

    def masked(values):
        return Net(Masked(jnp.asarray(values), jnp.ones(())))

    assert find_nonfinite(total, masked([0.0, -np.inf, 0.0]), (X,)) is None
    assert (
        find_nonfinite(total, masked([0.0, np.nan, 0.0]), (X,)).source
        == "the model's layers[0].mask"
    )
    found = find_nonfinite(total, masked([-np.inf] * 3), (X,))
    assert (found.path, found.operation, found.source) == ("layers[0]", "sub", "")


def test_a_fault_of_its_own_comes_before_one_that_was_handed_in():
    found = find_nonfinite(
        lambda m, x, bad: (m(x) + bad.sum()).sum(),
        around(lambda x: jnp.log(x - 9)),
        (X, X * np.nan),
    )
    assert (found.operation, found.source) == ("log", "")


# --- as an error ----------------------------------------------------------------------


def test_the_error_says_layer_pass_operation_and_what_to_do():
    model = around(lambda x: jnp.log(x - 9))
    error = step_error(total, model, rs.setup(rs.Adam(), model), (X,))
    assert error.subject == "Apply(scale=float32[], function=<lambda>)"
    assert error.where == ".layers[1].layers[0]"
    assert error.expected == "finite numbers in the forward pass"
    assert error.got == "NaN from the operation log (float32[4,3])"
    assert "learning rate" in error.fix


def test_without_a_fault_in_the_gradient_the_update_is_looked_at():
    model = Net(Affine(3, 1), Affine(1, 1))
    error = step_error(lambda m, x: 1e3 * m(x).sum(), model, rs.setup(optax.sgd(3e38), model), (X,))
    assert (error.subject, error.where) == ("the update", ".layers[0].weight")
    assert error.got == "infinity, though loss and gradient are finite"


def test_an_optimiser_state_that_overflows_is_named():
    model = Net(Affine(3, 1))
    error = step_error(
        lambda m, x: 1e25 * m(x).sum(), model, rs.setup(optax.adam(0.0), model), (X,)
    )
    assert error.where == ""
    assert error.got.startswith("infinity in opt_state.state.memory[0].nu[")


def test_a_finding_of_nothing_is_still_an_error():
    model = Net(Affine(3, 1))
    error = step_error(total, model, rs.setup(rs.Adam(), model), (X,))
    assert "did not come up again" in error.got


def test_a_search_that_fails_does_not_hide_that_the_step_was_not_finite():
    def broken(model, x):
        raise ValueError("no such device")

    model = Net(Affine(3, 1))
    error = step_error(broken, model, rs.setup(rs.Adam(), model), (X,))
    assert isinstance(error, NonFiniteError)
    assert error.got == "a NaN or an infinity"
    assert "ValueError: no such device" in error.__notes__[0]


def test_a_model_that_is_one_layer_is_searched():
    found = find_nonfinite(total, Apply(lambda x: jnp.log(x - 9)), (X,))
    assert found == NonFinite(
        path="", operation="log", backward=False, value="NaN", result="float32[4,3]"
    )


def test_the_finding_says_what_the_operation_was_handed():
    model = Net(Affine(3, 3), Apply(lambda x: jnp.log(jnp.round(2 * x) - 2)))
    x = np.array([[0.9, -0.9, 0.2]], np.float32)
    found = find_nonfinite(total, rs.at(model, "layers[0].weight").set(jnp.eye(3)), (x,))
    (operand,) = found.operands
    assert (operand.array, operand.nans, operand.infinities) == ("float32[1,3]", 0, 0)
    assert (operand.least, operand.most) == (-3, -1)
    assert repr(found).splitlines() == [
        "log in layers[1], forward pass: NaN",
        "  operand 0: float32[1,3] from -3 to -1",
        "  result: float32[1,3]",
    ]


def test_what_is_not_finite_in_an_operand_is_counted_apart():
    x = X.copy()
    x[0, :2], x[1, 0] = np.nan, -np.inf
    found = find_nonfinite(total, Net(Affine(3, 1)), (x,))
    first, second = found.operands
    assert (first.nans, first.infinities) == (2, 1)
    assert (first.least, first.most) == (X[0, 2], X[-1, -1])
    assert (second.array, second.nans) == ("float32[3,1]", 0)
    assert "2 NaN, 1 infinite" in repr(found)
    assert "the batch's [0] was not finite to begin with" in repr(found)


def test_a_range_of_nothing_finite_of_whole_numbers_and_of_keys_is_taken():
    assert str(described(jnp.full(2, jnp.nan))) == "float32[2], 2 NaN"
    assert str(described(jnp.arange(3))) == "int32[3] from 0 to 2"
    assert str(described(jnp.array([3 + 4j]))) == "complex64[1] from 5 to 5"
    assert str(described(jnp.array([True, False]))) == "bool[2] from 0 to 1"
    assert described(jax.random.split(jax.random.key(0), 2)).array == "key<fry>[2]"
    assert str(described(jnp.zeros((0, 2)))) == "float32[0,2]"


def test_the_error_of_a_step_carries_the_finding():
    model = around(lambda x: jnp.log(x - 9))
    error = step_error(total, model, rs.setup(rs.Adam(), model), (X,))
    assert error.finding == find_nonfinite(total, model, (X,))


@pytest.mark.parametrize("backward", [False, True])
def test_what_overflows_in_half_precision_alone_is_found_under_it(backward):
    large = jax.custom_jvp(lambda x: x)
    large.defjvps(lambda t, _, x: t * 1e4 * 1e4)
    model = around(large if backward else lambda x: jnp.sin(x * 1e4 * 1e4))
    assert find_nonfinite(total, model, (X,)) is None
    assert find_nonfinite(total, model, (X,), precision="bf16") is None
    found = find_nonfinite(total, model, (X,), precision="f16")
    assert (found.path, found.operation) == ("layers[1].layers[0]", "mul")
    assert (found.backward, found.value) == (backward, "infinity")
    assert found.result == "float16[4,3]"


def test_a_step_in_parts_is_searched_part_by_part():
    class Third(rs.Module):
        """Fails at its third call."""

        calls: rs.Buffer[rs.Array]
        scale: rs.Array

        def __call__(self, x):
            self.record(calls=self.calls + 1)
            return x * self.scale / (2 - self.calls)

    model = Net(Affine(3, 1), Third(jnp.zeros(()), jnp.ones(())))
    opt_state = rs.setup(rs.Descent(0.1), model)
    assert step_error(total, model, opt_state, (X,)).finding is None
    error = step_error(total, model, opt_state, (X,), Options(accumulate=4))
    assert (error.finding.path, error.finding.operation) == ("layers[1]", "div")


def test_half_precision_is_searched():
    model = rs.f16(Net(Apply(lambda x: x * 300), Apply(lambda x: x * 300)))
    found = find_nonfinite(total, model, (X.astype(np.float16),))
    assert (found.path, found.value, found.result) == ("layers[1]", "infinity", "float16[4,3]")
