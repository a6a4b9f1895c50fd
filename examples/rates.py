# SPDX-License-Identifier: Apache-2.0
"""Rates: find a learning rate, then see whether it was a good one.

`find_learning_rate` takes one step at each of a hundred rates, from far too low to far too
high, and looks at the loss. The network is then trained at the rate that it suggests, at a
tenth of it, ten times and a hundred times as much. Run it with `python examples/rates.py`;
`TINY=1` makes it a matter of seconds.

Source: Smith 2017, Cyclical learning rates for training neural networks, section 3.3.
"""

# %%
import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits

import rosin as rs

mpl.use("Agg")  # draw into the file, also where there is no screen
import matplotlib.pyplot as plt

TINY = "TINY" in os.environ
OUT = Path(os.environ.get("OUT", Path(__file__).parent.parent / "out"))
EPOCHS = 1 if TINY else 10
TRIED = 10 if TINY else 100

# %% [markdown]
# ## Data and model

# %%
digits = load_digits()
pixels = (digits.images / 16).astype(np.float32).reshape(len(digits.images), 64)
loader = rs.DataLoader(
    (pixels, digits.target.astype(np.int32)),
    batch_size=128,
    shuffle=True,
    partial=False,
    seed=0,
)

rs.seed(0)
model = rs.Chain(rs.Dense(64, 128, rs.relu), rs.BatchNorm(128), rs.Dense(128, 10))


def loss(model: rs.Chain, x: rs.Array, y: rs.Array) -> rs.Array:
    """Compare class scores with labels."""
    return rs.logitcrossentropy(model(x), y)


# %% [markdown]
# ## The search
#
# The rate is data of the compiled step, so a hundred rates are a hundred calls of one
# program. Model, optimiser and loader are as before afterwards.

# %%
opt_state = rs.setup(rs.Momentum(0.01), model)
found = rs.find_learning_rate(loss, model, loader, opt_state, lowest=1e-4, steps=TRIED)
print(found)
rate = found.suggestion or 0.1

# %% [markdown]
# ## The trial
#
# Four runs from the same weights over the same batches. One that stops being finite stops
# there, with a model that is still good.

# %%
runs = {}
for factor in (0.1, 1, 10, 100):
    result = rs.train(
        loss,
        model,
        loader,
        rs.adjust(opt_state, learning_rate=factor * rate),
        epochs=EPOCHS,
        on_nonfinite="stop",
        seed=0,
        progress=False,
    )
    runs[factor * rate] = result.history
    print(f"rate {factor * rate:.3g}: loss {result.history['loss'][-1]:.4f}")

# %% [markdown]
# ## Picture

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
found.plot(left)
left.set_title("One step at each rate")
for tried, history in runs.items():
    right.plot(history["epoch"], history["loss"], marker=".", label=f"rate {tried:.2g}")
right.set(title="Training", xlabel="epoch", ylabel="loss", yscale="log")
right.legend()
OUT.mkdir(exist_ok=True)
figure.savefig(OUT / "rates.png", dpi=120)
print(f"wrote {OUT / 'rates.png'}")
