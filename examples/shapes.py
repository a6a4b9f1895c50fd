# SPDX-License-Identifier: Apache-2.0
"""Shapes: a residual network on colour images of 32 by 32 pixels.

The images have the shape of CIFAR's, and are drawn here: ten kinds of figure in random
colours, places, sizes and angles, over noise. A small ResNet learns to name them, with
batch normalisation, label smoothing and images mirrored at random. Run it with
`python examples/shapes.py`; `TINY=1` makes it a matter of seconds.

Source: He et al. 2015, Deep Residual Learning, section 4.2 (the networks for CIFAR-10).
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
OUT = Path(os.environ.get("OUT", Path(__file__).parent.parent / "out"))
EPOCHS = 1 if TINY else 16
IMAGES = 256 if TINY else 4096
WIDTHS = (4, 8, 8) if TINY else (16, 32, 64)
BLOCKS = 1  # of each width; the paper has 3, 5, 7, 9 or 18

# %% [markdown]
# ## Data
#
# A figure is where a function of the plane is below its size: a disc, a ring, polygons,
# stars, a cross, a crescent. NumPy draws them in turned and shifted coordinates.

# %%
KINDS = (
    "disc",
    "ring",
    "triangle",
    "square",
    "pentagon",
    "hexagon",
    "three-point star",
    "five-point star",
    "cross",
    "crescent",
)


def polygon(u, v, corners: int, dent: float = 0.0):
    """Return the distance from the middle in units of a polygon's edge; dents make a star."""
    angle = np.arctan2(v, u) % (2 * np.pi / corners) - np.pi / corners
    edge = np.cos(np.pi / corners) / np.cos(angle)
    star = 1 - dent * np.cos(angle * corners / 2)
    return np.hypot(u, v) / (star if dent else edge)


def inside(kind: str, u, v):
    """Tell which points of the plane belong to a figure of radius 1."""
    radius = np.hypot(u, v)
    return {
        "disc": lambda: radius < 0.85,
        "ring": lambda: (radius < 0.95) & (radius > 0.5),
        "triangle": lambda: polygon(u, v, 3) < 1.1,
        "square": lambda: polygon(u, v, 4) < 1,
        "pentagon": lambda: polygon(u, v, 5) < 1,
        "hexagon": lambda: polygon(u, v, 6) < 1,
        "three-point star": lambda: polygon(u, v, 3, 0.75) < 1.1,
        "five-point star": lambda: polygon(u, v, 5, 0.6) < 1.1,
        "cross": lambda: np.minimum(np.abs(u), np.abs(v)) < np.where(radius < 1, 0.28, 0),
        "crescent": lambda: (radius < 0.95) & (np.hypot(u - 0.45, v) > 0.75),
    }[kind]()


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images `(count, 32, 32, 3)` of values about -1 to 1, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(len(KINDS), size=count).astype(np.int32)
    y, x = np.mgrid[0:32, 0:32]
    images = np.empty((count, 32, 32, 3), np.float32)
    for image, label in zip(images, labels, strict=True):
        across, down = random.uniform(11, 20, 2)
        size, angle = random.uniform(6, 11), random.uniform(0, 2 * np.pi)
        a, b = (x - across) / size, (y - down) / size
        u, v = a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)
        ground, ink = random.uniform(-0.8, 0.8, (2, 3))
        ink += 0.6 * np.sign(ink - ground)  # never the colour of the ground
        figure = np.where(inside(KINDS[label], u, v)[..., None], ink, ground)
        image[:] = figure + random.normal(0, 0.15, image.shape)
    return images, labels


training, test = draw(IMAGES, seed=0), draw(IMAGES // 4, seed=1)

# %% [markdown]
# ## Model
#
# A block is two convolutions and a shortcut. Where the number of channels grows, the image
# shrinks, and a convolution of one pixel adapts the shortcut.


# %%
class Block(rs.Module):
    """Two convolutions with a shortcut around them."""

    layers: rs.Chain
    shortcut: rs.Chain | None

    def __init__(self, width: int, out_width: int) -> None:
        """Build it; the image is halved where the width changes."""
        stride = 1 if width == out_width else 2
        self.layers = rs.Chain(
            rs.Conv((3, 3), width, out_width, stride=stride, pad=1, bias=False),
            rs.BatchNorm(out_width, rs.relu),
            rs.Conv((3, 3), out_width, out_width, pad=1, bias=False),
            rs.BatchNorm(out_width),
        )
        self.shortcut = (
            None
            if stride == 1
            else rs.Chain(
                rs.Conv((1, 1), width, out_width, stride=stride, bias=False),
                rs.BatchNorm(out_width),
            )
        )

    def __call__(self, x: rs.Array) -> rs.Array:
        """Map `(batch, height, width, channels)` to images of `out_width` channels."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return rs.relu(self.layers(x) + shortcut)


def resnet(widths: tuple[int, ...], blocks: int, classes: int) -> rs.Chain:
    """Stack blocks between a first convolution and a mean over the image."""
    first, out = widths[0], widths[-1]
    pairs = [(a, b) for a, b in zip((first, *widths), widths, strict=False)]
    stack = [Block(a if n == 0 else b, b) for a, b in pairs for n in range(blocks)]
    return rs.Chain(
        rs.Conv((3, 3), 3, first, pad=1, bias=False),
        rs.BatchNorm(first, rs.relu),
        *stack,
        rs.GlobalMeanPool(),
        rs.flatten,
        rs.Dense(out, classes),
    )


rs.seed(0)
model = resnet(WIDTHS, BLOCKS, len(KINDS))
print(rs.summary(model, (1, 32, 32, 3)), end="\n\n")

# %% [markdown]
# ## Training
#
# `mirrored` is NumPy and works on whole batches, in front of the compiled step.


# %%
def loss(model: rs.Chain, x: rs.Array, y: rs.Array) -> rs.Array:
    """Compare class scores with labels, smoothed against overconfidence."""
    return rs.logitcrossentropy(model(x), y, label_smoothing=0.1)


class Mirrored:
    """Batches of which half of the images, drawn at random, are turned left to right."""

    def __init__(self, loader: rs.DataLoader, seed: int) -> None:
        self.loader = loader
        self.random = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Count the batches."""
        return len(self.loader)

    def __iter__(self):
        """Go through the batches."""
        for images, labels in self.loader:
            turned = self.random.random(len(images)) < 0.5
            yield np.where(turned[:, None, None, None], images[:, :, ::-1], images), labels


loader = Mirrored(rs.DataLoader(training, batch_size=128, shuffle=True, seed=0), seed=0)
rule = rs.AdamW(rs.OneCycle(EPOCHS * len(loader), 5e-3))
result = rs.train(
    loss,
    model,
    loader,
    rs.setup(rule, model),
    epochs=EPOCHS,
    validation=rs.DataLoader(test, batch_size=256),
    metrics={"accuracy": rs.Accuracy()},
)
score = result.history["validation_accuracy"][-1]
print(f"test accuracy {100 * score:.1f} %")

# %% [markdown]
# ## Picture

# %%
images, labels = test
predicted = np.asarray(jax.jit(result.model)(jnp.asarray(images[:256]))).argmax(-1)
figure = plt.figure(figsize=(13, 5.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
result.history.plot(left)
left.suptitle(f"{100 * score:.1f} % of {len(labels)} test images right")
order = np.argsort(predicted[:24] == labels[:24], kind="stable")  # the wrong ones first
for axes, index in zip(right.subplots(4, 6).flat, order, strict=True):
    axes.imshow(np.clip(images[index] / 3 + 0.5, 0, 1))
    good = predicted[index] == labels[index]
    text = KINDS[predicted[index]] if good else f"{KINDS[predicted[index]]}?"
    axes.set_title(text, fontsize=8, color="black" if good else "crimson")
    axes.axis("off")
OUT.mkdir(exist_ok=True)
figure.savefig(OUT / "shapes.png", dpi=120)
print(f"wrote {OUT / 'shapes.png'}")
