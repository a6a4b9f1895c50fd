# SPDX-License-Identifier: Apache-2.0
"""Frozen: what an encoder that never saw a label is worth when labels are few.

An encoder learns, without labels, to recognise a scanned digit that was moved, shaded and
covered with noise. It is saved, loaded and frozen, and a new head on top of it learns the ten
digits from a handful of labels for each; then the encoder is thawed and follows. The same
network trained from scratch on the same labels stands beside them. Run it with
`python examples/frozen.py`; `TINY=1` makes it a matter of seconds.

Source: Chen et al. 2020, A simple framework for contrastive learning (SimCLR).
"""

# %%
import os
import tempfile
from pathlib import Path

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits

import rosin as rs

mpl.use("Agg")  # draw into the file, also where there is no screen
import matplotlib.pyplot as plt

TINY = "TINY" in os.environ
OUT = Path(os.environ.get("OUT", Path(__file__).parent.parent / "out"))
EPOCHS = 2 if TINY else 60
LABELS = (2, 4) if TINY else (1, 2, 5, 10, 20, 50)  # for each digit
REPEATS = 1 if TINY else 3
STEPS = 2 if TINY else 150

# %% [markdown]
# ## Data
#
# Two views of an image are the image twice, each moved by a pixel at most in either
# direction, in another shade and with noise of its own.

# %%
digits = load_digits()
images = (digits.images / 16).astype(np.float32)[..., None]
labels = digits.target.astype(np.int32)
training, test = rs.splitobs((images, labels), at=0.8, shuffle=True, stratified=labels, seed=0)


def view(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Move, shade and blur images `(batch, 8, 8, 1)` at random."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    down, across = random.integers(3, size=(2, len(images), 1, 1))
    rows, columns = down + np.arange(8)[:, None], across + np.arange(8)
    moved = padded[np.arange(len(images))[:, None, None], rows, columns]
    shade = random.uniform(0.6, 1.2, (len(images), 1, 1, 1))
    return (moved * shade + random.normal(0, 0.15, moved.shape)).astype(np.float32)


class Views:
    """Batches of two views of the same images."""

    def __init__(self, loader: rs.DataLoader, seed: int) -> None:
        self.loader = loader
        self.random = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Count the batches."""
        return len(self.loader)

    def __iter__(self):
        """Go through the batches."""
        for (images,) in self.loader:
            yield view(images, self.random), view(images, self.random)


# %% [markdown]
# ## Encoder
#
# Each view has to find the other view of its image among all views of the batch. The
# projection is there for this loss alone; nothing of it is kept.


# %%
def encoder() -> rs.Chain:
    """Build a convolutional network that maps an image to 64 numbers."""
    return rs.Chain(
        rs.Conv((3, 3), 1, 32, pad="same"),
        rs.BatchNorm(32, rs.relu),
        rs.MaxPool((2, 2)),
        rs.Conv((3, 3), 32, 64, pad="same"),
        rs.BatchNorm(64, rs.relu),
        rs.MaxPool((2, 2)),
        rs.flatten,
        rs.Dense(256, 64),
    )


def agreement(model, first, second):
    """Score how well each view finds the other one of its image."""
    both = model["projection"](model["encoder"](jnp.concatenate([first, second])))
    return rs.nt_xent_loss(*jnp.split(both, 2), temperature=0.2)


rs.seed(0)
model = {
    "encoder": encoder(),
    "projection": rs.Chain(rs.relu, rs.Dense(64, 64, rs.relu), rs.Dense(64, 32)),
}
loader = rs.DataLoader((training[0],), batch_size=256, shuffle=True, partial=False, seed=0)
first = rs.train(
    agreement, model, Views(loader, seed=0), rs.setup(rs.Adam(3e-3), model), epochs=EPOCHS
)

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "encoder.safetensors"
    rs.save(path, first.model["encoder"])
    trained = rs.load(path, like=encoder())

# %% [markdown]
# ## Fine-tuning
#
# `freeze` takes the encoder out of training: it has no gradient and no optimiser state.
# `testmode` keeps its batch norms at the statistics that they learned, since a handful of
# images would spoil them. When the head has learned, `thaw` lets the encoder follow, at a
# tenth of the rate.


# %%
def loss(model, x, y):
    """Compare class scores with labels: a model is any tree of modules, here a dict."""
    return rs.logitcrossentropy(model["head"](model["encoder"](x)), y)


def scores(model, x, y):
    """Return scores and labels, for the metric."""
    return model["head"](model["encoder"](x)), y


def accuracy(model) -> float:
    """Return the accuracy on the test images."""
    return rs.evaluate(model, [test], {"accuracy": rs.Accuracy(of=scores)})["accuracy"]


def fitted(model, few: tuple[np.ndarray, np.ndarray], rate: float):
    """Train on a few images again and again."""
    opt_state = rs.setup(rs.Adam(rate), model)
    return rs.train(loss, model, [few] * STEPS, opt_state, progress=False).model


def tried(few: tuple[np.ndarray, np.ndarray]) -> tuple[float, float, float]:
    """Return the accuracies with the encoder frozen, thawed afterwards, and from scratch."""
    frozen = {"encoder": rs.testmode(rs.freeze(trained)), "head": rs.Dense(64, 10)}
    frozen = fitted(frozen, few, 3e-3)
    thawed = fitted(rs.thaw(frozen), few, 3e-4)
    scratch = fitted({"encoder": encoder(), "head": rs.Dense(64, 10)}, few, 3e-3)
    return accuracy(frozen), accuracy(thawed), accuracy(scratch)


def sample(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw so many images of each digit."""
    order = np.random.default_rng(seed).permutation(len(training[1]))
    chosen = np.concatenate([order[training[1][order] == digit][:count] for digit in range(10)])
    return training[0][chosen], training[1][chosen]


WAYS = ("encoder frozen", "then thawed", "from scratch")
table = 100 * np.array(
    [[tried(sample(count, seed)) for seed in range(REPEATS)] for count in LABELS]
)  # percent, (labels, draws, ways)
print("labels per digit  " + "  ".join(f"{way:>14}" for way in WAYS))
for count, means in zip(LABELS, table.mean(1), strict=True):
    print(f"{count:16}  " + "  ".join(f"{mean:12.1f} %" for mean in means))

# %% [markdown]
# ## Picture

# %%
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
for way, values in zip(WAYS, np.moveaxis(table, 2, 0), strict=True):
    (line,) = axes.plot(LABELS, values.mean(1), marker="o", label=way)
    axes.fill_between(LABELS, values.min(1), values.max(1), color=line.get_color(), alpha=0.2)
axes.set_xscale("log")
axes.set_xticks(LABELS, [str(count) for count in LABELS])
axes.minorticks_off()
axes.set(
    title=f"Lowest, mean and highest of {REPEATS} draws of the labels",
    xlabel="labels for each digit",
    ylabel="test accuracy in %",
)
axes.legend()
OUT.mkdir(exist_ok=True)
figure.savefig(OUT / "frozen.png", dpi=120)
print(f"wrote {OUT / 'frozen.png'}")
