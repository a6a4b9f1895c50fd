# SPDX-License-Identifier: Apache-2.0
"""Characters: a transformer that learns to write.

A language model of characters learns eleven of Shakespeare's sonnets, and writes on from a
few letters with a key-value cache. Part of the text is held out: the picture shows where the
model stops to learn English and begins to learn by heart. Run it with
`python examples/characters.py`; `TINY=1` makes it a matter of seconds.
"""

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np

import rosin as rs

mpl.use("Agg")  # draw into the file, also where there is no screen
import matplotlib.pyplot as plt

TINY = "TINY" in os.environ
HERE = Path(__file__).parent
OUT = Path(os.environ.get("OUT", HERE.parent / "out"))
EPOCHS = 2 if TINY else 12
CONTEXT = 16 if TINY else 128  # letters that the model sees at once
SIZE, HEADS, DEPTH = (16, 2, 1) if TINY else (64, 4, 2)

# %% [markdown]
# ## Data
#
# A letter is its place in the alphabet of the text. Windows of the text overlap; the last
# tenth of the text is for validation.

# %%
text = (HERE / "sonnets.txt").read_text(encoding="utf-8")
alphabet = sorted(set(text))
tokens = np.array([alphabet.index(letter) for letter in text], np.int32)
cut = len(tokens) * 9 // 10


def windows(tokens: np.ndarray, stride: int) -> np.ndarray:
    """Cut windows of one letter more than the model sees: the last is only a target."""
    return np.lib.stride_tricks.sliding_window_view(tokens, CONTEXT + 1)[::stride]


stride = 50 if TINY else 3
training, held_out = windows(tokens[:cut], stride), windows(tokens[cut:], CONTEXT // 2)
print(f"{len(text)} letters of {len(alphabet)} kinds, {len(training)} windows to learn from")

# %% [markdown]
# ## Model
#
# Called on a whole window it scores the next letter at every place at once. `decode` does
# the same for the letters that are new, with the keys and values of earlier ones in a cache.


# %%
class Writer(rs.Module):
    """A causal transformer over letters, with rotary positions."""

    embedding: rs.Embedding
    blocks: rs.TransformerEncoder
    head: rs.Dense

    def __init__(self, letters: int, size: int, heads: int, depth: int) -> None:
        """Build it with random weights from the ambient stream."""
        self.embedding = rs.Embedding(letters, size)
        rotary = rs.RotaryPositions()
        blocks = [
            rs.TransformerEncoderBlock(size, heads=heads, causal=True, rotary=rotary, dropout=0.15)
            for _ in range(depth)
        ]
        self.blocks = rs.TransformerEncoder(blocks)
        self.head = rs.Dense(size, letters)

    def __call__(self, tokens: rs.Array) -> rs.Array:
        """Map `(batch, time)` letters to `(batch, time, letters)` scores of the next."""
        return self.head(self.blocks(self.embedding(tokens)))

    def decode(self, tokens, cache):
        """Score what follows new letters, and move the cache on."""
        x, cache = self.blocks.decode(self.embedding(tokens), cache)
        return self.head(x), cache


def loss(model: Writer, window: rs.Array) -> rs.Array:
    """Compare the scores at each place with the letter that follows."""
    return rs.logitcrossentropy(model(window[:, :-1]), window[:, 1:])


rs.seed(0)
model = Writer(len(alphabet), SIZE, HEADS, DEPTH)
print(rs.summary(model, np.zeros((1, CONTEXT), np.int32)), end="\n\n")

# %% [markdown]
# ## Training
#
# The rate rises over the first steps, then falls along a cosine. It is data of the compiled
# step: moving it compiles nothing.

# %%
loader = rs.DataLoader((training,), batch_size=64, shuffle=True, partial=False, seed=0)
steps = EPOCHS * len(loader)
rate = rs.OneCycle(steps, 4e-3)
opt_state = rs.setup(rs.OptimiserChain(rs.ClipNorm(1.0), rs.AdamW(rate)), model)
validation = rs.DataLoader((held_out,), batch_size=64)
result = rs.train(loss, model, loader, opt_state, epochs=EPOCHS, validation=validation)
model = result.model

# %% [markdown]
# ## Writing
#
# One compiled step serves every letter: it scores, divides by a temperature, and draws. The
# model has seen no place beyond the length of a window, so it stops there.


# %%
@jax.jit
def draw(model, token, cache, key, temperature):
    """Draw the letter after the last one of `token`."""
    scores, cache = model.decode(token, cache)
    return jax.random.categorical(key, scores[:, -1:] / temperature), cache


def write(model, start: str, length: int, temperature: float, seed: int = 0) -> str:
    """Go on from the letters of `start`."""
    cache = model.blocks.empty_cache(1, len(start) + length)
    token = jnp.array([[alphabet.index(letter) for letter in start]])
    written = start
    for key in jax.random.split(jax.random.key(seed), length):
        token, cache = draw(model, token, cache, key, temperature)
        written += alphabet[int(token[0, 0])]
    return written


START = "When I "
length = CONTEXT - len(START)
samples = {t: write(model, START, length, t) for t in (0.3, 0.7, 1.0)}
for temperature, sample in samples.items():
    print(f"temperature {temperature}:\n{sample}\n")

# %% [markdown]
# ## Picture
#
# Losses are in nats a letter. The lowest validation loss is where learning by heart begins.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
history = result.history
epochs = history["epoch"]
left.plot(epochs, history["loss"], label="eleven sonnets, nine tenths")
left.plot(epochs, history["validation_loss"], label="the last tenth, held out")
left.axhline(np.log(len(alphabet)), color="grey", linestyle=":", label="guessing")
best = int(np.argmin(history["validation_loss"]))
left.annotate(
    "from here on it learns by heart",
    (epochs[best], history["validation_loss"][best]),
    xytext=(40, 60),
    textcoords="offset points",
    ha="center",
    arrowprops={"arrowstyle": "->"},
)
left.set(xlabel="epoch", ylabel="cross-entropy in nats per letter", ylim=(0, None))
left.legend()
right.axis("off")
shown = "\n\n".join(f"temperature {t}:\n{sample}" for t, sample in samples.items())
words = right.text(0, 1, shown, va="top", family="monospace", fontsize=9, transform=right.transAxes)
words.set_in_layout(False)  # the curves keep their room, however long a line is
OUT.mkdir(exist_ok=True)
figure.savefig(OUT / "characters.png", dpi=120)
print(f"wrote {OUT / 'characters.png'}")
