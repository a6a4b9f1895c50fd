# SPDX-License-Identifier: Apache-2.0
"""Groups, chains and what decays: which parameter meets which rule, and what adjust reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rosin as rs
from rosin.core.paths import Glob
from rosin.errors import StateError, StructureError

MODEL = {"encoder": {"weight": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "head": jnp.ones((2, 2))}
ONES = jax.tree.map(jnp.ones_like, MODEL)


def groups(**more):
    return rs.setup({"encoder": rs.Descent(0.1), "**": rs.Descent(0.5), **more}, MODEL)


@pytest.mark.parametrize(
    ("glob", "path", "covers"),
    [
        ("**", "", True),
        ("**", "a.b[0]", True),
        ("a", "a.b", True),
        ("a", "ab", False),
        ("a.*", "a.b", True),
        ("*.bias", "a.b.bias", False),
        ("**.bias", "bias", True),
        ("**.bias", "a.layers[3].bias", True),
        ("layers[*].bias", "layers[12].bias", True),
        ("layers[1]", "layers[12].bias", False),
    ],
)
def test_a_glob_covers_what_it_names_and_all_inside(glob, path, covers):
    assert Glob(glob).covers(path) is covers


def test_each_group_is_moved_by_its_own_rule():
    _, moved = rs.update(groups(), MODEL, ONES)
    np.testing.assert_allclose(moved["encoder"]["bias"], 0.9, rtol=1e-6)
    np.testing.assert_allclose(moved["head"], 0.5)


def test_the_first_glob_that_covers_a_path_counts():
    rules = {"**.bias": rs.Descent(1.0), "encoder": rs.Descent(0.1), "**": rs.Descent(0.0)}
    _, moved = rs.update(rs.setup(rules, MODEL), MODEL, ONES)
    assert float(moved["encoder"]["bias"][0]) == 0
    np.testing.assert_allclose(moved["encoder"]["weight"], 0.9, rtol=1e-6)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, "an empty dict"),
        ({"decoder": rs.Adam(), "**": rs.Adam()}, "none of that path"),
        ({"**": rs.Adam(), "head": rs.Adam()}, "none that an earlier group has left"),
        ({"encoder": rs.Adam()}, "1 that no glob covers"),
        ({"**": optax.sgd(0.1)}, "an optax transformation"),
    ],
)
def test_groups_that_do_not_fit_the_model_are_refused(rules, words):
    with pytest.raises(StructureError) as caught:
        rs.setup(rules, MODEL)
    assert caught.value.got == words


def test_a_group_of_which_all_is_held_back_waits():
    rules = {"encoder": rs.Adam(0.1), "**": rs.Adam(0.5)}
    opt_state, model = rs.update(rs.setup(rules, MODEL), MODEL, ONES)
    none = {"encoder": {"weight": None, "bias": None}, "head": ONES["head"]}
    after, moved = rs.update(opt_state, model, none)
    assert rs.equal(moved["encoder"], model["encoder"])
    assert rs.equal(after.state.memory[0], opt_state.state.memory[0])
    assert [int(part.step) for part in after.state.memory] == [1, 2]
    half = {"encoder": {"weight": ONES["encoder"]["weight"], "bias": None}, "head": None}
    again, moved = rs.update(after, moved, half)
    assert rs.equal(moved["encoder"]["bias"], model["encoder"]["bias"])
    assert int(again.state.memory[0].step) == 2
    first = again.state.memory[0].memory.first
    assert sorted(first) == ["encoder.bias", "encoder.weight"]


def test_adjust_asks_whose_if_several_rules_have_the_name():
    with pytest.raises(StructureError) as caught:
        rs.adjust(groups(), learning_rate=1.0)
    assert "'encoder'" in caught.value.got
    adjusted = rs.adjust(groups(), "encoder", learning_rate=1.0)
    assert [float(rule.learning_rate) for rule in adjusted.rule.rules] == [1.0, 0.5]


def test_adjust_reaches_into_a_chain_by_name_class_and_place():
    chain = rs.OptimiserChain(rs.ClipNorm(1.0), rs.Momentum(0.1), rs.WeightDecay(0.1))
    opt_state = rs.setup(chain, MODEL)
    for where in ((), ("Momentum",), ("[1]",)):
        changed = rs.adjust(opt_state, *where, learning_rate=0.5).rule
        assert float(changed.rules[1].learning_rate) == 0.5
        assert rs.equal(changed.rules[0], opt_state.rule.rules[0])
    with pytest.raises(StructureError) as caught:
        rs.adjust(opt_state, rate=0.5)
    assert "max_norm, learning_rate, momentum, weight_decay" in caught.value.expected
    with pytest.raises(StructureError):
        rs.adjust(opt_state, "Adam", learning_rate=0.5)


def test_by_default_biases_norms_and_embeddings_do_not_decay():
    model = rs.Chain(rs.Embedding(3, 4), rs.Dense(4, 4), rs.LayerNorm(4))
    zero = jax.tree.map(jnp.zeros_like, rs.partition(model)[0])

    def decayed(**options):
        rule = rs.OptimiserChain(rs.WeightDecay(0.5, **options), rs.Descent(1.0))
        _, moved = rs.update(rs.setup(rule, model), model, zero)
        before, after = (rs.trainables(m, paths=True) for m in (model, moved))
        return {path for path in before if not rs.equal(before[path], after[path])}

    assert decayed() == {"layers[1].weight"}
    assert decayed(decay="layers[2].scale") == {"layers[2].scale"}
    assert decayed(decay=("layers[0]", "**.scale")) == {"layers[0].weight", "layers[2].scale"}
    assert decayed(decay=lambda path, array: array.ndim == 1) == {"layers[2].scale"}
    with pytest.raises(StructureError):
        rs.AdamW(decay=3)


def test_between_two_emissions_nothing_behind_accumulation_moves():
    rule = rs.OptimiserChain(rs.AccumGrad(2), rs.WeightDecay(0.1), rs.Adam(0.1))
    first, same = rs.update(rs.setup(rule, MODEL), MODEL, ONES)
    assert rs.equal(same, MODEL)
    assert [int(part.step) for part in first.state.memory] == [1, 0, 0]
    second, moved = rs.update(first, MODEL, ONES)
    assert [int(part.step) for part in second.state.memory] == [2, 1, 1]
    assert not rs.equal(moved, MODEL)


def test_averages_are_found_wherever_they_are_kept_and_refused_where_not():
    average = rs.OptimiserChain(rs.Descent(1.0), rs.ExponentialMovingAverage(0.5))
    rules = {"encoder": rs.Descent(1.0), "**": average}
    opt_state, model = rs.update(rs.setup(rules, MODEL), MODEL, ONES)
    evaluated = rs.averaged(opt_state, model)
    np.testing.assert_allclose(evaluated["head"], 0.1, rtol=1e-6)
    assert rs.equal(evaluated["encoder"], model["encoder"])
    with pytest.raises(StateError):
        rs.averaged(rs.setup(rs.Adam(), MODEL), MODEL)


def test_a_chain_is_made_of_rules_and_is_flat():
    inner = rs.OptimiserChain(rs.ClipGrad(1.0), rs.Adam())
    assert len(rs.OptimiserChain(inner, rs.WeightDecay()).rules) == 3
    for wrong in (optax.sgd(0.1), rs.Adam, rs.MixedPrecision(rs.Adam())):
        with pytest.raises(StructureError):
            rs.OptimiserChain(wrong)
    with pytest.raises(StructureError):
        rs.OptimiserChain()


def test_a_rule_is_a_transformation_for_optax():
    rule = optax.chain(optax.clip(0.5), rs.Momentum(0.1).transformation())
    _, moved = rs.update(rs.setup(rule, MODEL), MODEL, ONES)
    np.testing.assert_allclose(moved["head"], 0.95, rtol=1e-6)
