# SPDX-License-Identifier: Apache-2.0
"""Rules: their defaults, what hyperparameters may be, how a rule prints."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError, StructureError
from rosin.optimisers.adam import Adam, AdamW
from rosin.optimisers.descent import Descent, Momentum
from rosin.optimisers.hyperparameters import plain
from rosin.optimisers.rule import Rule

FLUX = {
    "Descent": {"learning_rate": 0.1},
    "Momentum": {"learning_rate": 0.01, "momentum": 0.9},
    "Nesterov": {"learning_rate": 0.001, "momentum": 0.9},
    "RMSProp": {"learning_rate": 0.001, "rho": 0.9, "epsilon": 1e-8},
    "Rprop": {
        "learning_rate": 1e-3,
        "shrinkage": 0.5,
        "growth": 1.2,
        "least": 1e-6,
        "most": 50,
    },
    "Adam": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "AdamW": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "RAdam": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "AdaMax": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "OAdam": {"learning_rate": 0.001, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-8},
    "AdaGrad": {"learning_rate": 0.1, "epsilon": 1e-8},
    "AdaDelta": {"rho": 0.9, "epsilon": 1e-8},
    "AMSGrad": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "NAdam": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "AdaBelief": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-16},
    "WeightDecay": {"weight_decay": 5e-4},
    "SignDecay": {"weight_decay": 1e-3},
    "ClipGrad": {"limit": 10},
    "ClipNorm": {"max_norm": 10},
}
"""The defaults of Flux.jl that are Rosin's too."""


@pytest.mark.parametrize("rule", FLUX)
def test_defaults_are_those_of_flux(rule):
    made = getattr(rs, rule)()
    assert {name: plain(getattr(made, name)) for name in FLUX[rule]} == FLUX[rule]


def test_defaults_that_differ_from_flux_are_those_of_the_papers():
    assert rs.AdamW().weight_decay == np.float32(0.01)
    assert rs.Lion() == rs.Lion(1e-4, beta1=0.9, beta2=0.99)


@pytest.mark.parametrize("rule", [Descent, Momentum, Adam, AdamW])
@pytest.mark.parametrize(
    "value", [-1e-3, np.nan, np.inf, 1e39, 10**400, "0.1", True, np.True_, None, 1j, np.ones(1)]
)
def test_a_rate_that_is_no_finite_number_of_at_least_zero_is_refused(rule, value):
    with pytest.raises(RangeError) as caught:
        rule(value)
    assert "learning_rate" in caught.value.expected
    with pytest.raises(RangeError):
        rule().adjusted(learning_rate=value)


@pytest.mark.parametrize(
    ("rule", "name", "value"),
    [
        (Momentum, "momentum", 1),
        (Momentum, "momentum", -0.1),
        (Adam, "beta1", 1.5),
        (Adam, "beta2", 1.0),
        (Adam, "beta2", 1 - 1e-12),
        (Adam, "epsilon", 0),
        (Adam, "epsilon", 1e-60),
        (AdamW, "beta1", -1),
        (AdamW, "epsilon", -1e-8),
        (AdamW, "weight_decay", -0.01),
    ],
)
def test_a_hyperparameter_out_of_its_range_is_refused(rule, name, value):
    for attempt in (lambda: rule(**{name: value}), lambda: rule().adjusted(**{name: value})):
        with pytest.raises(RangeError) as caught:
            attempt()
        assert caught.value.expected.startswith(name)


@pytest.mark.parametrize(("name", "value"), [("beta2", 1 - 1e-12), ("epsilon", 1e-60)])
def test_what_rounds_to_a_forbidden_bound_is_refused_with_the_dtype(name, value):
    with pytest.raises(RangeError, match="in float32"):
        Adam(**{name: value})


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        (Descent, {"learning_rate": 0}),
        (Momentum, {"momentum": 0}),
        (Adam, {"beta1": 0, "beta2": 0}),
        (AdamW, {"weight_decay": 0}),
    ],
)
def test_bounds_that_belong_to_a_range_are_accepted(rule, values):
    made = rule(**values)
    assert all(float(getattr(made, name)) == 0 for name in values)


@pytest.mark.parametrize(
    "value", [0.25, Fraction(1, 4), np.float32(0.25), np.array(0.25), jnp.asarray(0.25)]
)
def test_a_number_of_any_kind_is_taken(value):
    assert rs.Descent(value) == rs.Descent(0.25)


def test_hyperparameters_are_weak_so_that_they_follow_the_dtype_of_the_parameters():
    for leaf in jax.tree.leaves(Adam()):
        assert leaf.weak_type


@pytest.mark.parametrize(
    "rule",
    [
        Descent(0.3),
        Momentum(1 / 3, momentum=0.1 + 0.2),
        Adam(1e-4, beta1=0.5, beta2=0.97, epsilon=1e-7),
        AdamW(3e-5, weight_decay=1e-3),
    ],
)
def test_what_is_printed_builds_the_same_rule(rule):
    names = {cls.__name__: cls for cls in (Descent, Momentum, Adam, AdamW)}
    assert eval(repr(rule), names) == rule


def test_a_printed_rule_reads_like_the_numbers_that_were_given():
    printed = "Momentum(learning_rate=0.01, momentum=0.95)"
    assert repr(rs.Momentum(0.01, momentum=0.95)) == printed


def test_an_adjusted_rule_keeps_the_rest_and_leaves_the_old_one():
    rule = Adam(0.1, beta1=0.5)
    assert rule.adjusted(learning_rate=0.2) == Adam(0.2, beta1=0.5)
    assert rule == Adam(0.1, beta1=0.5)


def test_an_unknown_hyperparameter_is_refused_and_the_nearest_named():
    with pytest.raises(StructureError) as caught:
        Adam().adjusted(learning_rat=0.1)
    assert "learning_rate, beta1, beta2, epsilon" in caught.value.expected
    assert caught.value.got == "learning_rat"
    assert "'learning_rate'" in caught.value.fix


def test_a_rule_may_be_built_and_adjusted_where_its_numbers_are_traced():
    @jax.jit
    def halved(rule, rate):
        assert "float32[]" in repr(rule.adjusted(learning_rate=rate))
        return rule.adjusted(learning_rate=rate / 2), rs.Descent(0.5)

    adjusted, built = halved(Adam(), 0.5)
    assert float(adjusted.learning_rate) == 0.25
    assert float(built.learning_rate) == 0.5


def test_a_traced_hyperparameter_has_to_be_one_number():
    with pytest.raises(RangeError):
        jax.jit(Adam)(jnp.ones(2))


def test_a_rule_without_a_transformation_of_its_own_says_so():
    with pytest.raises(NotImplementedError):
        Rule().transformation().init({})
