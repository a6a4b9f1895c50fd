# SPDX-License-Identifier: Apache-2.0
"""Digits: from data to a saved model.

A small convolutional network learns the 1 797 scanned digits that come with scikit-learn.
The model is saved, loaded into a fresh one and compared; a damaged copy of the file is
refused. Run it with `make demo`, or cell by cell in an editor that knows `# %%`; `TINY=1`
makes it a matter of seconds.
"""

# %%
import os
import tempfile
import time
from pathlib import Path

import jax
import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits

import rosin as rs

mpl.use("Agg")  # draw into the file, also where there is no screen
import matplotlib.pyplot as plt

SEED = 0
TINY = "TINY" in os.environ
EPOCHS = 1 if TINY else 20
PICTURE = Path(os.environ.get("OUT", ".")) / "digits.png"

# %% [markdown]
# ## Data
#
# Images are `(batch, height, width, channels)`; labels stay whole numbers. A fifth of the
# images, drawn at random with a fixed seed and evenly over the classes, is for the test.

# %%
digits = load_digits()
images = (digits.images / 16).astype(np.float32)[..., None]
labels = digits.target.astype(np.int32)
training, test = rs.splitobs((images, labels), at=0.8, shuffle=True, stratified=labels, seed=SEED)

# %% [markdown]
# ## Model
#
# Dropout and batch normalisation carry state; nothing has to be threaded through.


# %%
def build() -> rs.Chain:
    """Build the network, with random weights from the ambient stream."""
    return rs.Chain(
        rs.Conv((3, 3), 1, 32, pad="same"),
        rs.BatchNorm(32, rs.relu),
        rs.Conv((3, 3), 32, 32, pad="same"),
        rs.BatchNorm(32, rs.relu),
        rs.MaxPool((2, 2)),
        rs.Conv((3, 3), 32, 64, pad="same"),
        rs.BatchNorm(64, rs.relu),
        rs.MaxPool((2, 2)),
        rs.flatten,
        rs.Dropout(0.5),
        rs.Dense(256, 10),
    )


def loss(model: rs.Chain, x: rs.Array, y: rs.Array) -> rs.Array:
    """Compare class scores with labels, smoothed against overconfidence."""
    return rs.logitcrossentropy(model(x), y, label_smoothing=0.1)


rs.seed(SEED)
model = build()
print(rs.summary(model, (1, 8, 8, 1)), end="\n\n")

# %% [markdown]
# ## Training
#
# First at full rate, then for half as long at a tenth of it. Changing a hyperparameter
# does not compile the step again.

# %%
loader = rs.DataLoader(training, batch_size=64, shuffle=True, seed=SEED)
watch = {
    "validation": rs.DataLoader(test, batch_size=len(test[1])),
    "metrics": {"accuracy": rs.Accuracy()},
}
start = time.perf_counter()
first = rs.train(loss, model, loader, rs.setup(rs.AdamW(2e-3), model), epochs=EPOCHS, **watch)
slower = rs.adjust(first.opt_state, learning_rate=2e-4)
result = rs.train(loss, first.model, loader, slower, epochs=max(EPOCHS // 2, 1), **watch)
seconds = time.perf_counter() - start
history = first.history + result.history
score = history["validation_accuracy"][-1]
print(f"\ntrained in {seconds:.1f} s, test accuracy {100 * score:.2f} %")

# %% [markdown]
# ## Saving and loading
#
# The file holds arrays and names, no code. It is loaded into a model built anew, with
# other random weights; a file that was cut short is refused as a whole.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "digits.safetensors"
    rs.save(path, result.model)
    size = path.stat().st_size
    loaded = rs.load(path, like=build())
    scores = np.asarray(jax.jit(loaded)(test[0]))
    equal = bool((scores == np.asarray(jax.jit(result.model)(test[0]))).all())
    print(f"saved {size:_} bytes; predictions of the loaded model are equal: {equal}")

    cut = Path(folder) / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[: size // 2])
    try:
        rs.load(cut, like=build())
    except rs.FileError as error:
        print(f"\nThe same file cut in half is refused:\n{error}\n")

# %% [markdown]
# ## Picture

# %%
figure = plt.figure(figsize=(12, 5), layout="constrained")
left, right = figure.subfigures(1, 2)
history.plot(left)
left.suptitle("Training")
right = right.subplots()

predicted = scores.argmax(axis=-1)
confusion = np.zeros((10, 10), int)
np.add.at(confusion, (test[1], predicted), 1)
right.imshow(np.log1p(confusion), cmap="Blues")
for row, column in np.ndindex(*confusion.shape):
    if confusion[row, column]:
        shade = "white" if row == column else "black"
        right.text(column, row, confusion[row, column], ha="center", va="center", color=shade)
right.set(
    title=f"Test images: {100 * score:.2f} % of {len(predicted)} right",
    xlabel="predicted digit",
    ylabel="scanned digit",
    xticks=range(10),
    yticks=range(10),
)
figure.savefig(PICTURE, dpi=120)
print(f"wrote {PICTURE}")

# %%
if not equal:
    raise SystemExit("the loaded model differs from the saved one")
