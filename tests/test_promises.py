# SPDX-License-Identifier: Apache-2.0
"""What Rosin promises a user who knows nothing of its inside: one story for each."""

import gc
import logging
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
Y = (X.sum(1, keepdims=True) * 0.5).astype(np.float32)


class Affine(rs.Module):
    """Two arrays and a call: no decorator, nothing to register."""

    weight: rs.Array
    bias: rs.Array

    def __call__(self, x):
        return x @ self.weight + self.bias


def affine(seed=0):
    return Affine(jax.random.normal(jax.random.key(seed), (3, 1)), jnp.zeros(1))


def loss(model, x, y):
    return rs.mse(model(x), y)


def network():
    """Build a model with every kind of state."""
    return rs.Chain(
        rs.Dense(3, 4, rs.tanh, key=KEY),
        rs.BatchNorm(4),
        rs.Dropout(0.5, key=KEY),
        rs.Dense(4, 1, key=KEY),
    )


def test_a_user_s_class_trains_saves_loads_prints_and_sums_up(tmp_path):
    model = affine()
    result = rs.train(
        loss, model, [(X, Y)], rs.setup(rs.Adam(0.1), model), epochs=200, progress=False
    )
    assert result.history["loss"][-1] < 1e-4
    rs.save(tmp_path / "affine.safetensors", result.model)
    assert rs.load(tmp_path / "affine.safetensors", like=affine(1)) == result.model
    assert repr(model) == "Affine(weight=float32[3,1], bias=float32[1])"
    assert rs.summary(model, (8, 3)).total.parameters == 4
    assert list(rs.trainables(model, paths=True)) == ["weight", "bias"]


def test_plain_jax_works_on_a_model():
    model = network()
    y = model(X)
    np.testing.assert_allclose(jax.jit(lambda m, x: m(x))(model, X), y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(model)(X), y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.checkpoint(model)(X), y, rtol=1e-5, atol=1e-6)
    assert jax.eval_shape(model, X).shape == y.shape
    doubled = jax.tree.map(lambda a: a, model)
    assert doubled == model
    parameters, rest = rs.partition(model)
    grads = jax.grad(lambda p: loss(rs.combine(p, rest), X, Y))(parameters)
    assert jax.tree.structure(grads) == jax.tree.structure(parameters)


def test_training_mode_comes_from_the_gradient_and_state_comes_back():
    model = network()
    before = jax.tree.map(lambda a: a, model)
    assert (model(X) == model(X)).all()
    value, grads, new = rs.withgradient(loss, model, X, Y)
    assert model == before
    assert value != loss(model, X, Y)
    assert grads.layers[1].running_mean is None
    assert grads.layers[2].key is None
    assert not rs.equal(new.layers[1].running_mean, model.layers[1].running_mean)
    assert new.layers[2].key != model.layers[2].key
    assert rs.equal(new.layers[0], model.layers[0])


@pytest.mark.parametrize("first", ["inference", "training"])
def test_a_jitted_function_never_runs_in_the_mode_it_was_compiled_for_first(first):
    model = rs.Chain(rs.Dropout(0.5, key=KEY))
    x = jnp.ones(64)

    @jax.jit
    def inner(model, x):
        return model(x)

    def inference():
        assert (inner(model, x) == x).all()

    def training():
        with pytest.raises(rs.StateError):  # and not the program for inference, in silence
            rs.gradient(lambda pair: inner(pair[0], x * pair[1]).sum(), (model, jnp.ones(())))

    for call in (inference, training) if first == "inference" else (training, inference):
        call()


@pytest.mark.parametrize(
    ("bare", "wrapper"),
    [
        (lambda m: jax.vmap(m)(X[:, None]), "rs.vmap"),
        (lambda m: jax.checkpoint(m)(X), "rs.remat"),
        (lambda m: jax.checkpoint(lambda m, x: m(x))(m, X), "rs.remat"),
        (lambda m: jax.lax.scan(lambda x, _: (m(x) + x, None), X, None, 2)[0], "rs.scan_layers"),
        (lambda m: jax.jit(m)(X), "jit"),
    ],
)
def test_a_record_that_would_vanish_is_refused(bare, wrapper):
    model = rs.Chain(rs.Dense(3, 3, key=KEY), rs.Dropout(0.5, key=KEY))
    with pytest.raises(rs.StateError) as caught:
        rs.gradient(lambda m: bare(m).sum(), model)
    assert caught.value.where == ".layers[1]"
    assert wrapper in caught.value.fix


def test_remat_and_scan_layers_compute_what_the_plain_layers_compute():
    blocks = [
        rs.Chain(rs.Dense(3, 3, rs.tanh, key=key), rs.BatchNorm(3), rs.Dropout(0.5, key=key))
        for key in jax.random.split(KEY, 3)
    ]

    def total(model):
        return (model(X) ** 2).sum()

    plain_value, plain_grads, plain = rs.withgradient(total, rs.Chain(*blocks))
    value, grads, scanned = rs.withgradient(total, rs.scan_layers(blocks))
    np.testing.assert_allclose(value, plain_value, rtol=1e-5)
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], grads.blocks)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            one,
            plain_grads.layers[i],
        )
        assert (scanned[i][2].key == plain.layers[i][2].key).all()
        np.testing.assert_allclose(
            scanned[i][1].running_mean, plain.layers[i][1].running_mean, rtol=1e-5, atol=1e-7
        )
    value, grads, again = rs.withgradient(total, rs.remat(rs.Chain(*blocks)))
    np.testing.assert_allclose(value, plain_value, rtol=1e-5)
    assert rs.equal(again.layer.layers[2][2].key, plain.layers[2][2].key)


def test_a_shared_layer_is_one_layer(tmp_path):
    tied = rs.share(rs.Dense(3, 3, key=KEY))
    model = rs.Chain(tied, rs.tanh, rs.Chain(tied), rs.Dense(3, 1, key=KEY))
    assert len(rs.trainables(model)) == 4
    weight, bias = model.layers[0].layer.weight, model.layers[0].layer.bias

    def by_hand(parameters):
        w, b = parameters
        return loss(lambda x: model[3](jnp.tanh(x @ w + b) @ w + b), X, Y)

    value, grads, _ = rs.withgradient(loss, model, X, Y)
    expected = jax.value_and_grad(by_hand)((weight, bias))
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(grads.layers[0].layer.weight, expected[1][0], rtol=1e-4)
    rs.save(tmp_path / "tied.safetensors", model)
    assert len(rs.load_arrays(tmp_path / "tied.safetensors")) == 4
    loaded = rs.load(tmp_path / "tied.safetensors", like=model)
    assert (loaded(X) == model(X)).all()
    _, moved = rs.update(rs.setup(rs.Descent(0.1), model), model, grads)
    np.testing.assert_allclose(
        moved.layers[0].layer.weight, weight - 0.1 * grads.layers[0].layer.weight, rtol=1e-6
    )


class Compilations(logging.Handler):
    """Counts what JAX compiles."""

    def __init__(self):
        super().__init__()
        self.names = []

    def emit(self, record):
        message = record.getMessage()
        if message.startswith("Compiling"):
            self.names.append(message.split()[1])


@pytest.fixture
def compilations():
    handler, logger = Compilations(), logging.getLogger("jax")
    old = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    with jax.log_compiles():
        yield handler.names
    logger.removeHandler(handler)
    logger.propagate = old


def test_steps_compile_once_whatever_the_learning_rate(compilations):
    model = network()
    opt_state = rs.setup(rs.Adam(0.1), model)
    result = rs.trainstep(loss, model, (X, Y), opt_state)
    first = len(compilations)
    assert first  # the probe sees compilations
    for step in range(3):
        opt_state = rs.adjust(result.opt_state, learning_rate=0.1 / (step + 2))
        after = len(compilations)
        result = rs.trainstep(lambda m, x, y: 1 * loss(m, x, y), result.model, (X, Y), opt_state)
        assert step == 0 or len(compilations) == after
    rs.trainstep(loss, model, (X[:4], Y[:4]), opt_state)
    assert len(compilations) > after


@pytest.mark.parametrize("on_nonfinite", ["raise", "stop", "skip"])
def test_one_bad_batch_in_the_third_epoch_changes_nothing(on_nonfinite):
    model = network()
    opt_state = rs.setup(rs.Adam(0.01), model)
    good = [(X, Y), (X[::-1].copy(), Y[::-1].copy())]

    class BadInTheThirdEpoch:
        epoch = 0

        def __iter__(self):
            self.epoch += 1
            yield good[0]
            yield (X * np.nan, Y) if self.epoch == 3 else good[1]

    def run(data, epochs, **options):
        return rs.train(loss, model, data, opt_state, epochs=epochs, progress=False, **options)

    before = run(good, 2)
    before = rs.train(loss, before.model, good[:1], before.opt_state, progress=False)
    if on_nonfinite == "raise":
        with pytest.raises(rs.NonFiniteError) as caught:
            run(BadInTheThirdEpoch(), 3)
        error = caught.value
        assert error.where == ".layers[0]"
        assert "forward pass" in error.expected
        after = error.result
    else:
        after = run(BadInTheThirdEpoch(), 3, on_nonfinite=on_nonfinite)
        assert bool(after.stopped) == (on_nonfinite == "stop")
    assert rs.equal(after.model, before.model)
    assert rs.equal(after.opt_state, before.opt_state)


class PowerCutError(Exception):
    """Stands for a power cut that Python still notices."""


def test_a_run_that_is_interrupted_and_resumed_continues_bit_for_bit(tmp_path):
    x, y = np.tile(X, (5, 1)), np.tile(Y, (5, 1))

    class Interrupted(rs.DataLoader):
        left = 8

        def __iter__(self):
            for batch in super().__iter__():
                if self.left == 0:
                    raise PowerCutError
                self.left -= 1
                yield batch

    def run(loader, checkpoint=None):
        model = network()
        return rs.train(
            loss,
            model,
            loader((x, y), batch_size=6, shuffle=True, seed=3),
            rs.setup(rs.Adam(0.01), model),
            epochs=3,
            checkpoint=checkpoint,
            progress=False,
        )

    whole = run(rs.DataLoader)
    path = tmp_path / "run.safetensors"
    with pytest.raises(PowerCutError):
        run(Interrupted, path)
    resumed = run(rs.DataLoader, rs.Checkpoint(path, resume=True))
    assert rs.equal(resumed.model, whole.model)
    assert rs.equal(resumed.opt_state, whole.opt_state)
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])


def test_a_model_is_collected_when_nobody_holds_it():
    model = network()
    rs.withgradient(loss, model, X, Y)
    with pytest.raises(rs.ShapeError):
        model(X[:, :2])
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_thousand_layers_are_built_and_called_in_reasonable_time():
    with rs.seed(0):
        deep = rs.Chain(*(rs.Chain(rs.Dense(2, 2), rs.relu) for _ in range(500)))
    assert len(rs.trainables(deep)) == 1000
    assert rs.outputsize(deep, (1, 2)) == (1, 2)


@pytest.mark.filterwarnings("ignore")
def test_a_picture_of_the_history_is_drawn(tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    model = affine()
    result = rs.train(
        loss,
        model,
        [(X, Y)],
        rs.setup(rs.Adam(0.1), model),
        epochs=3,
        validation=[(X, Y)],
        metrics={"error": loss},
        progress=False,
    )
    result.history.plot().savefig(tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 5000
