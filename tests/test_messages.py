# SPDX-License-Identifier: Apache-2.0
"""Every message a user is likely to meet, word for word, in one file to be read aloud.

`python tests/test_messages.py` writes `tests/messages.txt` anew; read the difference.
"""

import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rosin as rs
from rosin.files import read
from rosin.files.renaming import Add, Rename, Transpose
from rosin.files.stored import convert
from rosin.files.tensors import write_tensors

PAGE = Path(__file__).with_name("messages.txt")
CHECKPOINTS = Path(__file__).parent / "reference" / "checkpoints"
KEY = jax.random.key(0)
X = np.ones((7, 4), np.float32)


class Affine(rs.Module):
    """A user's own layer."""

    weight: rs.Array
    bias: rs.Array

    def __call__(self, x):
        return x * self.weight + self.bias


def dense(a, b, *more):
    return rs.Dense(a, b, *more, key=KEY)


def mlp():
    return rs.Chain(dense(4, 3, rs.tanh), rs.BatchNorm(3), dense(3, 1))


def assign(target, name, value):
    setattr(target, name, value)


def step(loss, batch=(X,), model=None):
    model = mlp() if model is None else model
    return rs.trainstep(loss, model, batch, rs.setup(rs.Adam(), model))


def truncated(folder, keep=0.5, like=None, **options):
    path = Path(folder) / "model.safetensors"
    rs.save(path, mlp())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    return rs.load(path, like=like or mlp(), **options)


MISFITS = [
    Rename("layers[{i}].weight", "layers[{i}].weight", Transpose("OIHW->HWIO")),
    Rename(["layers[{i}].bias", "layers[{i}].other_bias"], "layers[{i}].bias", Add()),
    Rename("layers[1].scale", "layers[1].shift"),
]


def incomplete(folder):
    path = Path(folder) / "model.safetensors.index.json"
    rs.save(path, mlp(), max_shard_bytes=50)
    sorted(Path(folder).glob("model-*.safetensors"))[1].unlink()
    return rs.load(path, like=mlp())


def overflowing(folder):
    write_tensors(f"{folder}/a.safetensors", {"fc.weight": np.full((2, 3), 1e6, "f4")})
    return convert(f"{folder}/a.safetensors", f"{folder}/b.safetensors", dtype="float16")


def foreign(folder, data, name="model.pkl"):
    path = Path(folder) / name
    path.write_bytes(data)
    return read(path)


def objects(folder):
    path = Path(folder) / "words.npy"
    np.save(path, np.array(["a", None]), allow_pickle=True)
    return read(path)


def captured(other):
    return lambda model, x: other(x).mean()


def mean(model, x):
    return model(x).mean()


def decode(tokens, **options):
    layer = rs.MultiHeadAttention(4, heads=2, key=KEY, **{"causal": True, **options})
    return layer.decode(np.ones((1, tokens, 4), "f4"), layer.empty_cache(1, 4))


def told(*callbacks, **options):
    weight = jnp.ones(4)
    opt_state = rs.setup(rs.Descent(0.1), weight)
    return rs.train(
        lambda weight, x: (x * weight).mean(),
        weight,
        [X],
        opt_state,
        callbacks=callbacks,
        progress=False,
        **options,
    )


def callback(**contents):
    return type("Mine", (rs.Callback,), contents)()


CASES = {
    "a wrong width": lambda: rs.Chain(dense(4, 4), dense(5, 1))(X),
    "a wrong width under jit": lambda: jax.jit(rs.Chain(dense(4, 4), rs.Chain(dense(5, 1))))(X),
    "a wrong rank": lambda: rs.Chain(rs.Conv((3, 3), 1, 8, key=KEY))(X),
    "a wrong number of channels": lambda: rs.Conv((3, 3), 1, 8, key=KEY)(
        np.ones((1, 8, 8, 3), "f4")
    ),
    "an image smaller than the kernel": lambda: rs.Conv((3, 3), 1, 8, key=KEY)(
        np.ones((1, 2, 2, 1), "f4")
    ),
    "a wrong dtype": lambda: rs.Chain(dense(4, 3))(np.ones((7, 4), int)),
    "a wrong dtype for an embedding": lambda: rs.Embedding(5, 2, key=KEY)(X),
    "an index out of range": lambda: rs.Embedding(5, 2, key=KEY)(np.array([0, 5])),
    "a padding index that is no row": lambda: rs.Embedding(5, 2, padding_index=5, key=KEY),
    "offsets of bags that fall": lambda: rs.EmbeddingBag(5, 2, key=KEY)(
        np.array([0, 1, 2]), np.array([0, 3, 2])
    ),
    "batches of bilinear that differ": lambda: rs.Bilinear(4, 2, key=KEY)(X, X[:3]),
    "a slope above one": lambda: rs.leakyrelu(X, slope=2),
    "an activation of whole numbers": lambda: rs.gelu(np.arange(3)),
    "a layer as an activation": lambda: dense(4, 3, rs.BatchNorm(3)),
    "a layer with the name of a field": lambda: rs.Chain(layers=dense(4, 3)),
    "a model without its sizes": lambda: rs.Chain(dense(4, 3), rs.Dense(rs.auto, 2))(X),
    "a vocabulary to be filled in": lambda: rs.autosize(
        rs.Chain(rs.Embedding(rs.auto, 2)), (2, 3), dtype=jnp.int32
    ),
    "half of a size": lambda: rs.Dense(rs.auto, rs.auto / 2),
    "the shape of whole numbers": lambda: rs.summary(rs.Embedding(5, 2, key=KEY), (2, 3)),
    "a class in place of a model to load": lambda: rs.load("model.safetensors", like=rs.Chain),
    "a sequence without time": lambda: rs.Chain(rs.GRU(4, 3, key=KEY))(X[0]),
    "an LSTM given one array for its state": lambda: rs.LSTM(4, 3, key=KEY)(
        X[None], np.zeros((1, 3), "f4")
    ),
    "a length beyond the sequence": lambda: rs.LSTM(4, 3, key=KEY)(X[None], lengths=[8]),
    "a cell that returns no pair": lambda: rs.Recurrence(lambda x, state: x + state)(X, X[0]),
    "an undeclared field": lambda: assign(mlp()[0], "wieght", X),
    "a frozen field": lambda: assign(mlp()[0], "weight", X),
    "a frozen buffer": lambda: assign(mlp()[1], "running_mean", X),
    "an unknown field to replace": lambda: mlp()[0].replace(wieght=X),
    "a path that does not exist": lambda: rs.at(mlp(), "layers[0].wieght").get(),
    "a function in an array field": lambda: Affine(jnp.ones(3), jnp.tanh),
    "a number in an array field": lambda: Affine(jnp.ones(3), 2.0),
    "a negative rate": lambda: rs.Adam(-0.1),
    "a beta above one": lambda: rs.Adam(beta1=1.5),
    "an unknown hyperparameter": lambda: rs.adjust(rs.setup(rs.Adam(), mlp()), learning_rat=0.1),
    "a dropout above one": lambda: rs.Dropout(1.7, key=KEY),
    "a size of zero": lambda: rs.Dense(0, 2, key=KEY),
    "a size that is not whole": lambda: rs.Dense(2.5, 2, key=KEY),
    "a kernel without its axes": lambda: rs.Conv(3, 1, 8, key=KEY),
    "an output padding of a whole stride": lambda: rs.ConvTranspose(
        (3, 3), 8, 1, stride=2, output_padding=2, key=KEY
    ),
    "a scale and a size": lambda: rs.Upsample(scale=2, size=32),
    "a reflection wider than the image": lambda: rs.Chain(rs.Pad(4, mode="reflect"))(
        np.ones((1, 4, 9, 1), "f4")
    ),
    "groups that do not divide": lambda: rs.Conv((3,), 3, 4, groups=2, key=KEY),
    "a key that is no key": lambda: rs.Dense(2, 3, key=0),
    "heads that do not divide": lambda: rs.MultiHeadAttention(10, heads=4, key=KEY),
    "a mask of examples and keys": lambda: rs.MultiHeadAttention(4, heads=2, key=KEY)(
        np.ones((2, 3, 4), "f4"), mask=np.ones((2, 3, 3), bool)
    ),
    "a mask of numbers": lambda: rs.softmax(X, mask=X),
    "a cache that is full": lambda: decode(5),
    "decoding without causality": lambda: decode(1, causal=False),
    "a layer class in place of a layer": lambda: rs.Chain(rs.Dense),
    "a list of layers": lambda: rs.Chain([dense(2, 3), dense(3, 2)]),
    "one value per channel": lambda: rs.gradient(mean, rs.Chain(rs.BatchNorm(4)), X[:1]),
    "one value per group": lambda: rs.Chain(rs.GroupNorm(4, 4))(X),
    "groups of channels that do not divide": lambda: rs.GroupNorm(64, 48),
    "an array of zeros without direction": lambda: rs.WeightNorm(dense(2, 3), "bias", axis=()),
    "an integer model": lambda: rs.gradient(lambda m: m.sum(), jnp.ones(3, int)),
    "an empty batch": lambda: step(mean, (X[:0],)),
    "an empty batch in a loss": lambda: rs.mse(jnp.ones((0, 3)), jnp.ones((0, 3))),
    "losses of unequal shapes": lambda: rs.mse(jnp.ones((7, 1)), jnp.ones(7)),
    "a label out of range": lambda: rs.logitcrossentropy(jnp.ones((2, 3)), np.array([0, 3])),
    "a mask of numbers in a loss": lambda: rs.mse(jnp.ones(3), jnp.ones(3), mask=jnp.ones(3)),
    "one weight in place of one for each class": lambda: rs.logitcrossentropy(
        jnp.ones((2, 3)), np.array([0, 1]), weights=2.0
    ),
    "a label to ignore that nobody named": lambda: rs.logitcrossentropy(
        jnp.ones((2, 3)), np.array([0, -1])
    ),
    "logits and labels swapped": lambda: rs.logitcrossentropy(np.array([0, 1]), jnp.ones((2, 3))),
    "labels of floating point": lambda: rs.logitcrossentropy(jnp.ones((2, 3)), jnp.ones(2)),
    "one-hot rows for an embedding": lambda: rs.Embedding(4, 2, key=KEY)(X),
    "an argument of another library": lambda: rs.Conv((3, 3), 1, 8, padding=1),
    "a size in place of both": lambda: rs.Dense(3),
    "a list in place of an array": lambda: rs.relu([1.0, -1.0]),
    "a list in place of a tuple": lambda: rs.MaxPool([2, 2]),
    "the name of an activation": lambda: rs.Dense(4, 3, "relu"),
    "a blank among the labels": lambda: rs.ctc_loss(jnp.ones((1, 4, 3)), np.array([[0, 2]])),
    "a loss that is a vector": lambda: step(lambda m, x: m(x)),
    "a loss that is an integer": lambda: step(lambda m, x: m(x).argmax()),
    "a loss that is None": lambda: step(lambda m, x: None),
    "a loss that no parameter reaches": lambda: step(lambda m, x: x.mean()),
    "the model from outside": lambda: step(captured(mlp())),
    "a jit inside a gradient": lambda: rs.gradient(lambda m, x: jax.jit(m)(x + 0).mean(), mlp(), X),
    "training mode outside a gradient": lambda: rs.trainmode(mlp())(X),
    "the ambient stream under jit": jax.jit(lambda: rs.Dense(2, 3)),
    "a group that fits nothing": lambda: rs.setup(
        {"layer[0]": rs.Adam(1e-4), "**": rs.Adam()}, mlp()
    ),
    "a hyperparameter of two groups": lambda: rs.adjust(
        rs.setup({"layers[0]": rs.Adam(1e-4), "**": rs.Adam()}, mlp()), learning_rate=1e-3
    ),
    "a schedule out of range": lambda: rs.Adam(rs.Exp(1e-3, 1.1)),
    "an argument that optax asks for": lambda: rs.update(
        rs.setup(optax.polyak_sgd(), mlp()), mlp(), rs.gradient(mean, mlp(), X)
    ),
    "a rule in place of its state": lambda: rs.update(rs.Adam(), mlp(), mlp()),
    "the whole result as a gradient": lambda: rs.update(
        rs.setup(rs.Adam(), mlp()), mlp(), rs.withgradient(mean, mlp(), X)
    ),
    "a generator as data": lambda: rs.train(
        mean, mlp(), (b for b in [(X,)]), rs.setup(rs.Adam(), mlp()), epochs=2, progress=False
    ),
    "a batch with a NaN": lambda: rs.train(
        mean, mlp(), [(X * np.nan,)], rs.setup(rs.Adam(), mlp()), progress=False
    ),
    "a derivative that is infinite": lambda: rs.train(
        lambda m, x: jnp.sqrt(m(x) ** 2 * 0).mean(),
        mlp(),
        [(X,)],
        rs.setup(rs.Adam(), mlp()),
        progress=False,
    ),
    "a precision of another name": lambda: rs.trainstep(
        mean, mlp(), (X,), rs.setup(rs.Adam(), mlp()), precision="float16"
    ),
    "half precision without a module": lambda: rs.trainstep(
        lambda w, x: (x @ w).sum(), X.T, (X,), rs.setup(rs.Adam(), X.T), precision="bf16"
    ),
    "a batch that is not cut into equal parts": lambda: rs.trainstep(
        mean, mlp(), (X,), rs.setup(rs.Adam(), mlp()), accumulate=2
    ),
    "an average that nobody keeps": lambda: rs.train(
        mean,
        mlp(),
        [(X,)],
        rs.setup(rs.Adam(), mlp()),
        validation=[(X,)],
        evaluate_average=True,
    ),
    "one logit for a class": lambda: rs.Accuracy()(np.ones((4, 1), "f4"), np.ones(4, int)),
    "labels that are floats": lambda: rs.accuracy(X, np.ones(7, "f4")),
    "a batch that is no pair": lambda: rs.evaluate(mlp(), [X], rs.metrics.F1(3)),
    "a metric that is not called": lambda: rs.evaluate(mlp(), [X], {"accuracy": rs.Accuracy}),
    "a callback that reads more than it declares": lambda: told(
        callback(reads={"history"}, on_epoch_end=lambda self, run: run.model)
    ),
    "a callback that hears of an event that is none": lambda: callback(
        on_epoch_ends=lambda self, run: None
    ),
    "two callbacks that change one thing": lambda: told(
        rs.ReduceOnPlateau("loss"), callback(changes={"learning_rate"})
    ),
    "early stopping without validation": lambda: told(rs.EarlyStopping()),
    "data of unequal lengths": lambda: rs.DataLoader((X, X[:3]), batch_size=2),
    "a batch size of zero": lambda: rs.DataLoader(X, batch_size=0),
    "a pickle that runs a program": lambda: in_folder(
        lambda folder: foreign(folder, b"cos\nsystem\n(S'ls'\ntR.")
    ),
    "a pickle that is cut short": lambda: in_folder(lambda folder: foreign(folder, b"\x80\x04](")),
    "objects of NumPy": lambda: in_folder(objects),
    "weights of Keras": lambda: in_folder(
        lambda folder: foreign(folder, b"\x89HDF\r\n\x1a\n", "model.weights.h5")
    ),
    "a whole model of PyTorch": lambda: read(CHECKPOINTS / "refused.module.pt"),
    "a sparse tensor of PyTorch": lambda: read(CHECKPOINTS / "refused.sparse.pt"),
    "a truncated file": lambda: in_folder(truncated),
    "a file of another model": lambda: in_folder(
        lambda folder: truncated(folder, 1, rs.Chain(dense(4, 3), dense(3, 2)))
    ),
    "a tree of other dtypes": lambda: in_folder(
        lambda folder: truncated(folder, 1, rs.bf16(mlp()))
    ),
    "a part that the file does not have": lambda: in_folder(
        lambda folder: truncated(folder, 1, at="layer")
    ),
    "rules that do not fit a file": lambda: in_folder(
        lambda folder: truncated(folder, 1, names=MISFITS)
    ),
    "a dtype whose range a number exceeds": lambda: in_folder(overflowing),
    "a rule of two sources without a step": lambda: Rename(["a", "b"], "c"),
    "axes that a step cannot put in order": lambda: Transpose("OIHW"),
    "a model of several files that lacks one": lambda: in_folder(incomplete),
}


def in_folder(function):
    with tempfile.TemporaryDirectory() as folder:
        return function(folder)


def message(case):
    """Return what a case raises, as a traceback's last lines show it."""
    try:
        CASES[case]()
    except rs.RosinError as error:
        added = (n for n in getattr(error, "__notes__", ()) if not n.startswith("-----"))
        notes = "".join(f"\n{note}" for note in added)  # less what JAX adds of itself
        return f"{type(error).__name__}: {error}{notes}"
    return "(nothing was raised)"


def page():
    return "\n".join(f"# {case}\n{message(case)}\n" for case in CASES)


@pytest.mark.parametrize("case", CASES)
def test_a_message_has_its_four_parts_and_reads_as_reviewed(case):
    text = message(case)
    notes = ("at epoch", "in the callback")
    first, *_, last = [line for line in text.splitlines() if not line.startswith(notes)]
    assert ": expected " in first
    assert ", got " in first
    assert last.startswith("  fix: ")
    assert last.endswith(".")
    reviewed = PAGE.read_text(encoding="utf-8")
    assert f"# {case}\n{text}\n" in reviewed, "run python tests/test_messages.py and review"


@pytest.mark.parametrize("word", ["invalid", "please", "sorry", "!", "should", "  got"])
def test_no_message_pleads_or_shouts(word):
    assert word not in PAGE.read_text(encoding="utf-8").lower()


def test_the_page_holds_no_case_that_is_gone():
    titles = [line[2:] for line in PAGE.read_text().splitlines() if line.startswith("# ")]
    assert titles == list(CASES)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
