# SPDX-License-Identifier: Apache-2.0
"""RNN, LSTM, GRU, GRUv3: PyTorch's numbers, what Flux pins, layers, states, refusals."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.functional.initialisers import orthogonal

REFERENCE = np.load(
    Path(__file__).parent.parent / "reference" / "recurrent.npz", allow_pickle=False
)
KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(0, 1, (3, 5, 2)).astype(np.float32)
LENGTHS = [5, 2, 4]
SEQUENCES = [rs.RNN, rs.LSTM, rs.GRU, rs.GRUv3]
CELLS = [rs.RNNCell, rs.LSTMCell, rs.GRUCell, rs.GRUv3Cell]


# --- PyTorch ---------------------------------------------------------------------------

TORCH = {
    "rnn": rs.RNN,
    "relu": lambda *sizes, **options: rs.RNN(*sizes, rs.relu, **options),
    "lstm": rs.LSTM,
    "gru": rs.GRU,
}
VARIANTS = {
    "plain": {},
    "stacked": {"layers": 2},
    "ragged": {"layers": 2, "bidirectional": True},
}
CASES = {key.partition("/")[0] for key in REFERENCE}


def cells(layer):
    """Name the cells by PyTorch's suffixes."""
    for index, part in enumerate(layer.layers):
        if isinstance(part, rs.Bidirectional):
            yield f"l{index}", f"layers[{index}].forward.cell"
            yield f"l{index}_reverse", f"layers[{index}].backward.cell"
        else:
            yield f"l{index}", f"layers[{index}].cell"


def from_torch(cell, arrays, suffix, *, gradient=""):
    """Map PyTorch's arrays of one cell to ours."""
    b_ih, b_hh = (arrays[f"{gradient}bias_{end}_{suffix}"] for end in ("ih", "hh"))
    changes = {
        "weight": arrays[f"{gradient}weight_ih_{suffix}"].T,
        "recurrent_weight": arrays[f"{gradient}weight_hh_{suffix}"].T,
    }
    if isinstance(cell, rs.GRUCell):
        kept = b_hh.copy()
        kept[2 * cell.hidden_size :] = 0
        changes["recurrent_bias"] = b_hh[2 * cell.hidden_size :]
        changes["bias"] = b_ih if gradient else b_ih + kept
    else:
        changes["bias"] = b_ih if gradient else b_ih + b_hh
    return cell.replace(**changes)


def states(arrays, layer, end):
    """Arrange PyTorch's (layers * directions, batch, hidden) as our states."""
    parts = [arrays[f"{name}{end}"] for name in "hc" if f"{name}{end}" in arrays]
    each = [
        tuple(p[i] for p in parts) if len(parts) > 1 else parts[0][i] for i in range(len(parts[0]))
    ]
    if isinstance(layer.layers[0], rs.Bidirectional):
        each = list(zip(each[::2], each[1::2], strict=True))
    return tuple(each) if len(each) > 1 else each[0]


@pytest.mark.parametrize("case", sorted(CASES))
def test_outputs_states_and_gradients_are_those_of_pytorch(case):
    kind, variant = case.split()
    arrays = {k.partition("/")[2]: v for k, v in REFERENCE.items() if k.startswith(f"{case}/")}
    options = {"lengths": np.array(LENGTHS)} if variant == "ragged" else {}
    with jax.enable_x64(True):
        layer = rs.f64(TORCH[kind](2, 3, **VARIANTS[variant], return_state=True, key=KEY))
        for suffix, path in cells(layer):
            cell = rs.at(layer, path).get()
            layer = rs.at(layer, path).set(from_torch(cell, arrays, suffix))
        x = arrays["x"].copy()
        if variant == "ragged":
            for row, length in enumerate(LENGTHS):
                x[row, length:] = np.nan  # what pads is nobody's business

        @jax.jit
        def run(layer, x, state):
            y, last = layer(x, state, **options)
            parts = [y, *torch_order(last, layer)]
            loss = sum((p * jnp.cos(jnp.arange(p.size)).reshape(p.shape)).sum() for p in parts)
            return loss, (y, last)

        before = states(arrays, layer, "0")
        taken = jax.value_and_grad(run, (0, 1, 2), has_aux=True)
        (_, (y, last)), (dlayer, dx, dbefore) = taken(layer, jnp.asarray(x), before)
        close(y, arrays["y"])
        close(last, states(arrays, layer, "1"))
        close(dx, arrays["dx"])
        close(dbefore, states({k[1:]: v for k, v in arrays.items() if k[0] == "d"}, layer, "0"))
        for suffix, path in cells(layer):
            ours = rs.at(dlayer, path).get()
            close(ours, from_torch(ours, arrays, suffix, gradient="d"))


def torch_order(last, layer):
    """Stack our states as PyTorch's h, and c of an LSTM."""
    two = isinstance(layer, rs.LSTM)
    leaves = jax.tree.leaves(last)
    return [jnp.stack(leaves[i :: 1 + two]) for i in range(1 + two)]


def close(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


# --- what Flux pins --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "count"), list(zip(CELLS + SEQUENCES, [3, 3, 4, 4] * 2, strict=True))
)
def test_the_number_of_arrays(build, count):
    # Flux.jl test/layers/recurrent.jl; GRU has one more here, the bias of cuDNN.
    bare = 3 if build in (rs.GRUv3, rs.GRUv3Cell) else 2
    assert len(rs.trainables(build(2, 3, key=KEY))) == count
    assert len(rs.trainables(build(2, 3, bias=False, key=KEY))) == bare


@pytest.mark.parametrize("build", SEQUENCES)
def test_sequences_with_and_without_a_batch_and_the_default_state(build):
    layer = build(2, 4, key=KEY)
    y = layer(X)
    assert y.shape == (3, 5, 4)
    np.testing.assert_allclose(layer(X[0]), y[0], rtol=1e-6, atol=1e-7)
    zero, batch = np.zeros(4, np.float32), np.zeros((3, 4), np.float32)
    pair = (lambda s: (s, s)) if build is rs.LSTM else (lambda s: s)
    np.testing.assert_array_equal(layer(X, pair(zero)), y)
    np.testing.assert_array_equal(layer(X, pair(batch)), y)


@pytest.mark.parametrize("build", SEQUENCES)
def test_return_state_gives_a_state_to_go_on_from(build):
    layer = build(2, 4, return_state=True, key=KEY)
    y, last = layer(X)
    first, state = layer(X[:, :2])
    second, end = layer(X[:, 2:], state)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), y, rtol=1e-6, atol=1e-7)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), end, last)
    np.testing.assert_array_equal(jax.tree.leaves(last)[0], y[:, -1])


# --- layers, directions, lengths -------------------------------------------------------


@pytest.mark.parametrize("build", SEQUENCES)
def test_layers_and_directions_are_their_parts_put_together(build):
    layer = build(2, 3, layers=2, bidirectional=True, return_state=True, key=KEY)
    y, last = layer(X, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        x = X[row, :length]
        ends = []
        for part in layer.layers:
            cell, other = part.forward.cell, part.backward.cell
            a, end = by_cell(cell, x)
            b, other_end = by_cell(other, x[::-1])
            x = np.concatenate([a, b[::-1]], axis=-1)
            ends.append((end, other_end))
        np.testing.assert_allclose(y[row, :length], x, rtol=1e-5, atol=1e-6)
        assert not y[row, length:].any()
        for ours, expected in zip(jax.tree.leaves(last), jax.tree.leaves(ends), strict=True):
            np.testing.assert_allclose(ours[row], expected, rtol=1e-5, atol=1e-6)


def by_cell(cell, x):
    state, outputs = cell.initial_state(), []
    for step in x:
        y, state = cell(step, state)
        outputs.append(y)
    return np.stack(outputs), state


def test_a_mask_with_holes_skips_steps():
    layer = rs.LSTM(2, 3, return_state=True, key=KEY)
    mask = np.array([[0, 1, 0, 1, 1]], bool)
    y, last = layer(X[:1], mask=mask)
    short, end = layer(X[:1, [1, 3, 4]])
    np.testing.assert_allclose(y[:, [1, 3, 4]], short, rtol=1e-6, atol=1e-7)
    assert not y[:, [0, 2]].any()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), last, end)


def test_a_length_of_zero_leaves_the_state_and_gives_zeros():
    layer = rs.GRU(2, 3, return_state=True, key=KEY)
    state = np.full((3, 3), 0.5, np.float32)
    y, last = layer(X, state, lengths=[0, 5, 0])
    assert not y[0].any()
    np.testing.assert_array_equal(last[::2], state[::2])
    assert rs.GRU(2, 3, key=KEY)(X[0], lengths=2).shape == (5, 3)


def test_a_length_out_of_range_is_refused_or_under_jit_gives_nan():
    layer = rs.GRU(2, 3, key=KEY)
    with pytest.raises(rs.RangeError) as caught:
        layer(X, lengths=[5, 6, 1])
    assert (caught.value.expected, caught.value.got) == (
        "lengths from 0 to 5, the steps of x",
        "lengths from 1 to 6",
    )
    y = jax.jit(lambda n: layer(X, lengths=n))(jnp.array([5, 6, -1]))
    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1:]).all()


def test_dropout_acts_between_layers_and_in_training_alone():
    layer = rs.GRU(2, 3, layers=2, dropout=0.5, key=KEY)
    y, after = rs.recording(lambda m: m(X), layer)
    assert not np.allclose(y, layer(X))
    assert layer.dropout.key != after.dropout.key
    np.testing.assert_array_equal(rs.testmode(layer)(X), layer(X))
    everything = rs.GRU(2, 3, layers=2, dropout=1.0, return_state=True, key=KEY)
    (dropped, last), _ = rs.recording(lambda m: m(X), everything)
    np.testing.assert_allclose(last[0], everything.layers[0](X)[:, -1], rtol=1e-6)
    alone = everything.layers[1](np.zeros_like(dropped))
    np.testing.assert_allclose(dropped, alone, rtol=1e-6)


@pytest.mark.parametrize("build", SEQUENCES)
def test_a_trainable_state_is_where_every_sequence_begins(build):
    layer = build(2, 3, trainable_state=True, key=KEY)
    start = jax.tree.map(lambda s: s + 0.5, layer.layers[0].cell.start)
    moved = rs.at(layer, "layers[0].cell.start").set(start)
    np.testing.assert_allclose(moved(X), build(2, 3, key=KEY)(X, start), rtol=1e-6)
    np.testing.assert_array_equal(layer(X), build(2, 3, key=KEY)(X))
    grads = rs.gradient(lambda m: (m(X) ** 2).sum(), moved)
    assert all(g.any() for g in jax.tree.leaves(grads.layers[0].cell.start))


def test_the_forget_bias_starts_where_it_is_told():
    bias = rs.LSTM(2, 3, forget_bias=1.0, key=KEY).layers[0].cell.bias
    np.testing.assert_array_equal(bias, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    assert not rs.LSTMCell(2, 3, key=KEY).bias.any()


def test_initialisers_draw_gate_by_gate():
    u = rs.GRUCell(2, 4, recurrent_init=orthogonal, key=KEY).recurrent_weight
    for gate in jnp.split(u, 3, axis=-1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), atol=1e-6)
    assert len({float(gate[0, 0]) for gate in jnp.split(u, 3, axis=-1)}) == 3


@pytest.mark.parametrize("build", [rs.LSTM, rs.GRU])
def test_half_types_give_outputs_in_their_dtype_and_states_in_float32(build):
    layer = rs.bf16(build(2, 3, layers=2, bidirectional=True, return_state=True, key=KEY))
    y, last = layer(jnp.asarray(X, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(last)} == {jnp.dtype(jnp.float32)}
    again, _ = layer(jnp.asarray(X, jnp.bfloat16), last)
    assert again.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "change",
    [
        rs.bf16,
        rs.f32,
        rs.testmode,
        rs.freeze,
        lambda layer: jax.tree.map(lambda leaf: leaf, layer),
        lambda layer: rs.combine(*rs.partition(layer)),
        lambda layer: rs.destructure(layer)[1](rs.destructure(layer)[0]),
    ],
)
@pytest.mark.parametrize(
    "build",
    [
        lambda: rs.LSTM(2, 3, return_state=True, key=KEY),
        lambda: rs.Recurrence(rs.GRUCell(2, 3, key=KEY), return_state=True),
        lambda: rs.Bidirectional(
            rs.GRUCell(2, 3, key=KEY), rs.GRUCell(2, 3, key=KEY), return_state=True
        ),
    ],
    ids=["LSTM", "Recurrence", "Bidirectional"],
)
def test_return_state_survives_every_transformation(build, change):
    changed = change(build())
    assert changed.return_state
    assert isinstance(changed(X), tuple)


def test_layers_print_as_the_call_that_builds_them():
    assert repr(rs.LSTM(2, 3, key=KEY)) == "LSTM(2, 3)"
    layer = rs.RNN(
        2,
        3,
        rs.relu,
        layers=2,
        bidirectional=True,
        dropout=0.5,
        bias=False,
        trainable_state=True,
        return_state=True,
        key=KEY,
    )
    assert repr(layer).replace("\n    ", " ").replace(",\n)", ")") == (
        "RNN( 2, 3, relu, layers=2, bidirectional=True, dropout=0.5, bias=False, "
        "trainable_state=True, return_state=True)"
    )


def test_layers_stacked_by_hand_are_layers():
    layer = rs.GRU(2, 3, layers=2, key=KEY)
    one, two = (rs.GRU(size, 3, key=KEY) for size in (2, 3))
    one = one.replace(layers=layer.layers[:1])
    two = two.replace(layers=layer.layers[1:])
    np.testing.assert_array_equal(rs.Chain(one, two)(X), layer(X))


# --- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize("build", SEQUENCES)
@pytest.mark.parametrize(
    "arguments",
    [
        {"in_size": 0},
        {"hidden_size": 2.5},
        {"layers": 0},
        {"layers": 2, "dropout": 1.5},
        {"dropout": 0.1},
    ],
)
def test_arguments_out_of_range_are_refused(build, arguments):
    with pytest.raises(rs.RangeError) as caught:
        build(**({"in_size": 2, "hidden_size": 3} | arguments), key=KEY)
    assert str(caught.value).startswith(f"{build.__name__}:")


@pytest.mark.parametrize("flag", ["bidirectional", "return_state", "trainable_state", "bias"])
def test_flags_are_booleans(flag):
    with pytest.raises(rs.StructureError):
        rs.GRU(2, 3, **{flag: 1}, key=KEY)


def test_a_forget_bias_without_a_bias_is_refused():
    with pytest.raises(rs.StructureError, match="forget_bias"):
        rs.LSTM(2, 3, bias=False, forget_bias=1.0, key=KEY)


@pytest.mark.parametrize(
    ("call", "kind", "expected"),
    [
        (lambda m: m(X[0, 0]), rs.ShapeError, "shape (..., time, features)"),
        (lambda m: m(X[..., :1]), rs.ShapeError, "shape (..., 2)"),
        (lambda m: m(X, np.zeros((3, 3), "f4")), rs.StructureError, "a pair (h, c)"),
        (lambda m: m(X, (X[:, 0], X[:, 0])), rs.ShapeError, "a state of shape (3, 3) or (3,)"),
        (lambda m: m(X, lengths=[1, 2]), rs.ShapeError, "lengths of shape (3,)"),
        (lambda m: m(X, lengths=[1.0, 2, 3]), rs.DtypeError, "lengths of an integer dtype"),
        (lambda m: m(X, mask=np.ones((3, 5), int)), rs.DtypeError, "mask of dtype bool"),
        (lambda m: m(X, mask=np.ones((3, 4), bool)), rs.ShapeError, "mask of shape (3, 5)"),
        (
            lambda m: m(X, lengths=LENGTHS, mask=np.ones((3, 5), bool)),
            rs.StructureError,
            "lengths or mask",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(call, kind, expected):
    with pytest.raises(kind) as caught:
        call(rs.LSTM(2, 3, key=KEY))
    assert expected in caught.value.expected
    assert caught.value.fix


def test_states_without_a_part_for_each_layer_are_refused_with_their_place():
    model = rs.Chain(rs.GRU(2, 3, layers=2, key=KEY))
    with pytest.raises(rs.StructureError) as caught:
        model[0](X, np.zeros((3, 3), "f4"))
    assert caught.value.expected == "a state with 2 parts, one for each layer"
    with pytest.raises(rs.StructureError) as caught:
        rs.GRU(2, 3, bidirectional=True, key=KEY)(X, np.zeros((3, 3), "f4"))
    assert caught.value.expected == "a state with 2 parts, one for each direction"
    with pytest.raises(rs.ShapeError) as caught:
        model(X[..., :1])
    assert caught.value.where == ".layers[0].layers[0].cell"
