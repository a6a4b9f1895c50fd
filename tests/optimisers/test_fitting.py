# SPDX-License-Identifier: Apache-2.0
"""What Flux's own tests want of rules: they fit a linear map; decay is a penalty."""

import jax
import jax.numpy as jnp
import numpy as np

import rosin as rs

RULES = {
    "AdamW": rs.AdamW(),
    "AdaGrad": rs.AdaGrad(0.1),
    "AdaMax": rs.AdaMax(),
    "AdaDelta": rs.AdaDelta(0.9),
    "AMSGrad": rs.AMSGrad(),
    "NAdam": rs.NAdam(),
    "RAdam": rs.RAdam(),
    "Descent": rs.Descent(0.1),
    "Adam": rs.Adam(),
    "OAdam": rs.OAdam(),
    "AdaBelief": rs.AdaBelief(),
    "Nesterov": rs.Nesterov(),
    "RMSProp": rs.RMSProp(),
    "Momentum": rs.Momentum(),
}
START, TARGET = np.random.default_rng(0).normal(size=(2, 10, 10)).astype(np.float32)
MOST, CHUNK = 100_000, 2000


def losses(models, x):
    """Compare each model, a matrix, with the target."""
    return {name: ((x @ weight - x @ TARGET) ** 2).mean() for name, weight in models.items()}


@jax.jit
def fitted(opt_state, models, key):
    """Take a step for each of some single examples."""

    def step(carry, key):
        opt_state, models = carry
        x = jax.random.uniform(key, (10,))
        grads = rs.gradient(lambda models: sum(losses(models, x).values()), models)
        return rs.update(opt_state, models, grads), None

    return jax.lax.scan(step, (opt_state, models), jax.random.split(key, CHUNK))[0]


def test_every_rule_of_fluxs_test_fits_a_matrix_from_single_examples():
    """Flux: from a loss above 1 to below 0.01 in 100 000 steps. Each rule has its group."""
    many = np.random.default_rng(1).uniform(size=(10, 10)).astype(np.float32)
    models = {name: jnp.asarray(START) for name in RULES}
    assert min(losses(models, many).values()) > 1
    opt_state = rs.setup(RULES, models)
    for chunk in range(MOST // CHUNK):
        opt_state, models = fitted(opt_state, models, jax.random.key(chunk))
        last = losses(models, many)
        if max(last.values()) < 0.01:
            break
    assert {name: float(loss) for name, loss in last.items() if loss >= 0.01} == {}


def test_weight_decay_in_front_of_a_rule_is_a_penalty_in_the_loss():
    def loss(model, x):
        return ((x @ model["weight"] + model["bias"]) ** 2).sum()

    def penalised(model, x):
        return loss(model, x) + 0.05 * sum((leaf**2).sum() for leaf in jax.tree.leaves(model))

    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    model = {"weight": jnp.full((3, 2), 0.5), "bias": jnp.array([1.0, -2.0])}
    decayed = rs.OptimiserChain(rs.WeightDecay(0.1, decay="**"), rs.Adam(0.1))
    runs = []
    for function, rule in ((penalised, rs.Adam(0.1)), (loss, decayed)):
        opt_state, moved = rs.setup(rule, model), model
        for _ in range(3):
            opt_state, moved = rs.update(opt_state, moved, rs.gradient(function, moved, x))
        runs.append(moved)
    # The same gradient but for its rounding, which Adam divides by the gradient.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *runs)
