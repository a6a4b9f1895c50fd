# SPDX-License-Identifier: Apache-2.0
"""Autoencoder: a variational one, that draws digits.

An encoder maps a scanned digit to a normal distribution over two numbers, a decoder maps two
numbers back to a digit. Trained together they lay the digits out on a map, and a walk over
the map draws digits that nobody wrote. Run it with `python examples/autoencoder.py`; `TINY=1`
makes it a matter of seconds.

Source: Kingma & Welling 2013, Auto-Encoding Variational Bayes.
"""

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits

import rosin as rs

mpl.use("Agg")  # draw into the file, also where there is no screen
import matplotlib.pyplot as plt

TINY = "TINY" in os.environ
OUT = Path(os.environ.get("OUT", Path(__file__).parent.parent / "out"))
EPOCHS = 2 if TINY else 150

# %% [markdown]
# ## Data
#
# Grey values from 0 to 1, read as the chance that a pixel is ink.

# %%
digits = load_digits()
pixels = (digits.images / 16).astype(np.float32).reshape(len(digits.images), 64)
training, test = rs.splitobs(pixels, at=0.9, shuffle=True, seed=0)

# %% [markdown]
# ## Model
#
# Drawing from the distribution needs randomness. The key is a buffer of the model, like that
# of `Dropout`: split in training, recorded, saved with the model. In inference the
# mean is taken.


# %%
class Autoencoder(rs.Module):
    """Encoder, a draw, decoder."""

    encoder: rs.Chain
    mean: rs.Dense
    log_variance: rs.Dense
    decoder: rs.Chain
    key: rs.Buffer[rs.Key]

    def __init__(self, hidden: int, latent: int, seed: int) -> None:
        """Build it with random weights from the ambient stream."""
        self.encoder = rs.Chain(rs.Dense(64, hidden, rs.gelu), rs.Dense(hidden, hidden, rs.gelu))
        self.mean = rs.Dense(hidden, latent)
        self.log_variance = rs.Dense(hidden, latent)
        self.decoder = rs.Chain(
            rs.Dense(latent, hidden, rs.gelu),
            rs.Dense(hidden, hidden, rs.gelu),
            rs.Dense(hidden, 64),
        )
        self.key = jax.random.key(seed)

    def __call__(self, x: rs.Array) -> tuple[rs.Array, rs.Array, rs.Array]:
        """Map `(batch, 64)` pixels to the logits of pixels, the means and log variances."""
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean
        if self.training:
            key, new_key = jax.random.split(self.key)
            self.record(key=new_key)
            z = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)
        return self.decoder(z), mean, log_variance


def loss(model: Autoencoder, x: rs.Array) -> rs.Array:
    """Bound the negative log likelihood of an image from above, in nats."""
    logits, mean, log_variance = model(x)
    pixels = rs.logitbinarycrossentropy(logits, x, reduction=None).sum(-1)
    divergence = (jnp.exp(log_variance) + mean**2 - 1 - log_variance).sum(-1) / 2
    return jnp.mean(pixels + divergence)


rs.seed(0)
model = Autoencoder(hidden=32 if TINY else 256, latent=2, seed=1)
loader = rs.DataLoader((training,), batch_size=128, shuffle=True, partial=False, seed=0)
rate = rs.CosAnneal(2e-3, 1e-5, EPOCHS * len(loader), restart=False)
result = rs.train(
    loss,
    model,
    loader,
    rs.setup(rs.Adam(rate), model),
    epochs=EPOCHS,
    validation=[(test,)],
)
model = result.model
print(f"bound on the test images: {result.history['validation_loss'][-1]:.2f} nats")

# %% [markdown]
# ## Picture
#
# Left, where the encoder puts the digits; right, what the decoder draws on a grid over the
# same map: places of equal probability under the standard normal distribution.


# %%
def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Lay images `(n, 64)` out in rows, a pixel apart."""
    framed = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)), constant_values=0.5)
    rows = framed.reshape(-1, columns, 10, 10)
    return rows.swapaxes(1, 2).reshape(-1, columns * 10)


means = np.asarray(jax.jit(lambda m, x: m(x)[1])(model, pixels))
side = 4 if TINY else 12
quantiles = jax.scipy.stats.norm.ppf((jnp.arange(side) + 0.5) / side)
grid = jnp.stack(jnp.meshgrid(quantiles, quantiles[::-1]), -1).reshape(-1, 2)
drawn = np.asarray(jax.jit(lambda m, z: rs.sigmoid(m.decoder(z)))(model, grid))
scanned = test[:18]
restored = np.asarray(jax.jit(lambda m, x: rs.sigmoid(m(x)[0]))(model, scanned))

figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(16, 4.8), layout="constrained", width_ratios=(1.3, 1, 1)
)
points = left.scatter(*means.T, c=digits.target, cmap="tab10", s=8, vmin=-0.5, vmax=9.5)
figure.colorbar(points, ax=left, ticks=range(10), label="digit (the model never saw it)")
left.set(title="The map of the encoder", xlabel="first number", ylabel="second number")
middle.imshow(sheet(drawn, side), cmap="Greys", vmin=0, vmax=1)
middle.set(title="What the decoder draws there", xticks=[], yticks=[])
pairs = np.stack([scanned, restored], axis=1).reshape(-1, 64)
right.imshow(sheet(pairs, 6), cmap="Greys", vmin=0, vmax=1)
right.set(title="Test images, each with its restoration", xticks=[], yticks=[])
OUT.mkdir(exist_ok=True)
figure.savefig(OUT / "autoencoder.png", dpi=120)
print(f"wrote {OUT / 'autoencoder.png'}")
