# SPDX-License-Identifier: Apache-2.0
"""`train(seed=...)`: what it sets anew, and that runs with one seed are the same to the bit."""

import jax
import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError
from rosin.training.seeding import reseeded
from tests.training.toys import Noise, assert_same_bits, data, loader, loss, net


def run(model, given, **options):
    opt_state = rs.setup(rs.Adam(0.05), model)
    return rs.train(loss, model, given, opt_state, epochs=2, progress=False, **options)


def test_the_nth_key_follows_from_the_seed_and_its_place():
    keys = jax.random.split(jax.random.key(1), 3)
    other = jax.random.key(2, impl="rbg")
    tree = {"a": keys, "b": np.ones(2), "c": other}
    new = reseeded(tree, 7)
    assert_same_bits(new["a"], jax.random.split(jax.random.fold_in(jax.random.key(7), 0), (3,)))
    assert_same_bits(new["c"], jax.random.fold_in(jax.random.key(7, impl="rbg"), 1))
    assert new["b"] is tree["b"]
    assert new["c"].dtype == other.dtype
    assert_same_bits(tree["a"], keys)


def test_a_seed_makes_a_run_the_same_whatever_keys_and_loader_did_before():
    with rs.seed(0):
        used = loader()
    next(iter(used))
    for _ in used:
        pass
    first = run(net(), loader(), seed=11)
    model = net()
    later = model.replace(layers=(*model.layers[:2], Noise(seed=99), model.layers[3]))
    second = run(later, used, seed=11)
    assert_same_bits(first[:2], second[:2])
    assert first.history["loss"].tolist() == second.history["loss"].tolist()
    assert not rs.equal(first.model, run(net(), loader(), seed=12).model)


def test_the_loader_is_where_one_built_with_the_seed_starts():
    used = loader()
    run(net(), used, seed=11)
    assert (used.epoch, used.state["seed"]) == (2, 11)
    built = rs.DataLoader(data(), batch_size=4, shuffle=True, seed=11)
    model = net()
    with_keys = reseeded((model, rs.setup(rs.Adam(0.05), model)), 11)[0]
    assert_same_bits(run(with_keys, built).model, run(net(), loader(), seed=11).model)


def test_parameters_are_not_drawn_anew_and_the_callers_model_keeps_its_keys():
    model = net()
    result = rs.train(
        lambda m, x, y: 0 * loss(m, x, y),
        model,
        loader(),
        rs.setup(rs.Descent(0.1), model),
        seed=3,
        progress=False,
    )
    assert_same_bits(result.model.layers[0], model.layers[0])
    assert_same_bits(model, net())


def test_data_without_a_seed_are_left_alone():
    class Counted(list):
        """Batches with a position of another make."""

        state = {"place": 3}  # noqa: RUF012  one object is enough

        def restore(self, state):
            raise AssertionError(state)

    x, y = data()
    run(net(), Counted([(x, y)]), seed=1)
    run(net(), [(x, y)], seed=1)


def test_a_run_that_is_resumed_goes_on_with_its_own_randomness(tmp_path):
    path = tmp_path / "run.safetensors"
    whole = run(net(), loader(), seed=11)
    model = net()
    opt_state = rs.setup(rs.Adam(0.05), model)
    rs.train(loss, model, loader(), opt_state, seed=11, checkpoint=path, progress=False)
    resumed = run(net(), loader(), seed=12, checkpoint=rs.Checkpoint(path, resume=True))
    assert_same_bits(resumed[:2], whole[:2])


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, "1"])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(RangeError) as caught:
        run(net(), loader(), seed=seed)
    assert caught.value.subject == "train"
