# SPDX-License-Identifier: Apache-2.0
"""Frozen: what a trained encoder is worth when labels are few.

An encoder learns the scanned digits 0 to 4. It is saved, loaded and frozen, and a new head on
top of it learns 5 to 9 from a handful of labels for each digit. The same network trained from
scratch on the same labels stands beside it. Run it with `python examples/frozen.py`; `TINY=1`
makes it a matter of seconds.
"""

# %%
import os
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits

import rosin as rs

mpl.use("Agg")  # draw into the file, also where there is no screen
import matplotlib.pyplot as plt

TINY = "TINY" in os.environ
OUT = Path(os.environ.get("OUT", Path(__file__).parent.parent / "out"))
EPOCHS = 1 if TINY else 15
LABELS = (2, 4) if TINY else (1, 2, 5, 10, 20, 50)  # for each digit
REPEATS = 1 if TINY else 3
STEPS = 2 if TINY else 150

# %% [markdown]
# ## Data

# %%
digits = load_digits()
images = (digits.images / 16).astype(np.float32)[..., None]
labels = digits.target.astype(np.int32)
low, high = labels < 5, labels >= 5
known = (images[low], labels[low])
unknown, test = rs.splitobs(
    (images[high], labels[high] - 5), at=0.6, shuffle=True, stratified=labels[high], seed=0
)

# %% [markdown]
# ## Encoder
#
# Trained with a head for the digits 0 to 4, of which nothing is kept.


# %%
def encoder() -> rs.Chain:
    """Build a convolutional network that maps an image to 64 numbers."""
    return rs.Chain(
        rs.Conv((3, 3), 1, 16, pad="same"),
        rs.BatchNorm(16, rs.relu),
        rs.MaxPool((2, 2)),
        rs.Conv((3, 3), 16, 32, pad="same"),
        rs.BatchNorm(32, rs.relu),
        rs.MaxPool((2, 2)),
        rs.flatten,
        rs.Dense(128, 64, rs.relu),
    )


def with_head(body: rs.Chain) -> dict[str, rs.Chain | rs.Dense]:
    """Put a new head for five classes on an encoder."""
    return {"encoder": body, "head": rs.Dense(64, 5)}


def scores(model, x):
    """Call encoder and head: a model is any tree of modules, here a dict."""
    return model["head"](model["encoder"](x))


def loss(model, x, y):
    """Compare class scores with labels."""
    return rs.logitcrossentropy(scores(model, x), y)


def accuracy(model, x, y):
    """Tell for each image whether the highest score is the label's."""
    return scores(model, x).argmax(axis=-1) == y


rs.seed(0)
model = with_head(encoder())
loader = rs.DataLoader(known, batch_size=64, shuffle=True, partial=False, seed=0)
first = rs.train(loss, model, loader, rs.setup(rs.Adam(2e-3), model), epochs=EPOCHS)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "encoder.safetensors"
    rs.save(path, first.model["encoder"])
    trained = rs.load(path, like=encoder())

# %% [markdown]
# ## Fine-tuning
#
# `freeze` takes the encoder out of training: it has no gradient and no optimiser state.
# `testmode` keeps its batch norms at the statistics that they learned, since a handful of
# images would spoil them.


# %%
def tuned(few: tuple[np.ndarray, np.ndarray], *, frozen: bool) -> float:
    """Train on a few images, and return the accuracy on the test images."""
    body = rs.testmode(rs.freeze(trained)) if frozen else encoder()
    model = with_head(body)
    batches = [few] * STEPS
    opt_state = rs.setup(rs.Adam(3e-3), model)
    result = rs.train(loss, model, batches, opt_state, progress=False)
    return rs.evaluate(result.model, [test], {"accuracy": accuracy})["accuracy"]


def sample(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw so many images of each digit."""
    order = np.random.default_rng(seed).permutation(len(unknown[1]))
    chosen = np.concatenate([order[unknown[1][order] == digit][:count] for digit in range(5)])
    return unknown[0][chosen], unknown[1][chosen]


table = {
    frozen: np.array(
        [[tuned(sample(count, seed), frozen=frozen) for seed in range(REPEATS)] for count in LABELS]
    )
    for frozen in (True, False)
}
print(f"{'labels per digit':>16}  {'frozen encoder':>14}  {'from scratch':>12}")
for count, a, b in zip(LABELS, table[True].mean(1), table[False].mean(1), strict=True):
    print(f"{count:16}  {100 * a:12.1f} %  {100 * b:10.1f} %")

# %% [markdown]
# ## Picture

# %%
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
for frozen, name in ((True, "encoder of 0 to 4, frozen"), (False, "from scratch")):
    values = 100 * table[frozen]
    (line,) = axes.plot(LABELS, values.mean(1), marker="o", label=name)
    axes.fill_between(LABELS, values.min(1), values.max(1), color=line.get_color(), alpha=0.2)
axes.set_xscale("log")
axes.set_xticks(LABELS, [str(count) for count in LABELS])
axes.minorticks_off()
axes.set(
    title=f"Digits 5 to 9; lowest, mean and highest of {REPEATS} draws",
    xlabel="labels for each digit",
    ylabel="test accuracy in %",
)
axes.legend()
OUT.mkdir(exist_ok=True)
figure.savefig(OUT / "frozen.png", dpi=120)
print(f"wrote {OUT / 'frozen.png'}")
