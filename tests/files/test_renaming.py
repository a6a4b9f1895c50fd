# SPDX-License-Identifier: Apache-2.0
"""Renaming rules as a whole: who takes what, what is made, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import StructureError
from rosin.files import renaming as module
from rosin.files.items import Item
from rosin.files.renaming import (
    Add,
    Drop,
    Flip,
    Join,
    Rename,
    Renaming,
    Reorder,
    Reshape,
    Same,
    Split,
    Stack,
    Transpose,
    Unstack,
)


def ones(*shape):
    return np.ones(shape, np.float32)


def renamed(rules, **arrays):
    return Renaming(rules).rename({name.replace("__", "."): a for name, a in arrays.items()})


def faults(rules, arrays):
    with pytest.raises(StructureError) as caught:
        Renaming(rules).rename(arrays)
    return caught.value.details


# --- who takes what -----------------------------------------------------------------------


def test_the_first_rule_that_fits_takes_a_name_and_others_stay():
    rules = [Drop("a.x"), Rename("a.{*rest}", "b.{*rest}"), Rename("a.y", "never")]
    got = renamed(rules, a__x=ones(1), a__y=ones(2), c=ones(3))
    assert {name: array.size for name, array in got.items()} == {"b.y": 2, "c": 3}


def test_arrays_pass_through_as_they_are():
    array = ones(3)
    assert renamed([Rename("a", "b")], a=array)["b"] is array


def test_several_sources_go_into_the_steps_in_their_order():
    rules = [Rename(["k.{i}", "q.{i}"], "fused[{i}]", Join(0))]
    arrays = {"q.0": ones(1), "k.0": 2 * ones(1), "k.1": 3 * ones(1), "q.1": 4 * ones(1)}
    got = Renaming(rules).rename(arrays)
    assert {name: a.tolist() for name, a in got.items()} == {
        "fused[0]": [2, 1],
        "fused[1]": [3, 4],
    }


def test_a_placeholder_of_the_source_alone_is_counted_through():
    arrays = {f"h.{i}.w": i * ones(2) for i in (10, 2, 1, 0, 3, 4, 5, 6, 7, 8, 9)}
    (got,) = Renaming([Rename("h.{i}.w", "stack", Stack())]).rename(arrays).values()
    assert got[:, 0].tolist() == list(range(11))


def test_a_placeholder_of_the_target_alone_numbers_what_comes_out():
    got = renamed([Rename("stack", "h.{i+1}.w", Unstack())], stack=np.eye(3))
    assert {name: a.argmax() for name, a in got.items()} == {"h.1.w": 0, "h.2.w": 1, "h.3.w": 2}


def test_all_blocks_in_one_array_are_split_at_once():
    rules = [Rename("h.{i}.qkv", ["q", "k", "v"], Stack(), Split(3, axis=-1))]
    got = Renaming(rules).rename({"h.0.qkv": np.arange(6.0), "h.1.qkv": np.arange(6, 12.0)})
    assert got["k"].tolist() == [[2, 3], [8, 9]]


def test_each_source_is_read_once_and_only_for_what_is_wanted():
    reads = []

    def item(name):
        def read():
            reads.append(name)
            return ones(6)

        return Item(np.dtype(np.float32), (6,), read)

    rules = Renaming([Rename("{n}.qkv", ["{n}.q", "{n}.k", "{n}.v"], Split(3))])
    made = rules.apply({"a.qkv": item("a"), "b.qkv": item("b")})
    assert reads == []
    assert {name: str(one) for name, one in made.items()}["a.k"] == "float32[2]"
    for part in "qkv":
        made[f"a.{part}"].read()
    assert reads == ["a"]
    made["a.q"].read()
    assert reads == ["a", "a"]


def test_a_dense_weight_behind_a_flattened_image_sees_the_same_values():
    rng = np.random.default_rng(0)
    image, weight = rng.normal(size=(3, 2, 4)), rng.normal(size=(5, 3 * 2 * 4))  # channels first
    steps = Reshape((5, 3, 2, 4)), Transpose("OCHW->HWCO"), Reshape((-1, 5))
    got = renamed([Rename("w", "v", *steps)], w=weight)["v"]
    ours = image.transpose(1, 2, 0).reshape(-1) @ got
    np.testing.assert_allclose(ours, weight @ image.reshape(-1), rtol=1e-12)  # another order


# --- faults -----------------------------------------------------------------------------------


def test_every_fault_is_listed_at_once():
    rules = [
        Rename(["a.{i}", "b.{i}"], "c.{i}", Add()),
        Rename("h.{i}", "stack", Stack()),
        Rename("t", "u", Transpose("ab->ba")),
        Rename("x", "y"),
        Rename(["m", "n"], "o", Same()),
    ]
    arrays = {
        "a.0": ones(1),
        "h.0": ones(1),
        "h.2": ones(1),
        "t": ones(3),
        "x": ones(1),
        "y": ones(1),
        "m": ones(2),
        "n": np.ones(2),
    }
    assert faults(rules, arrays) == (
        "b.0 is missing beside a.0",
        "h.1 is missing beside h.0 and h.2",
        "t float32[3]: expected 2 axes for Transpose('ab->ba')",
        "y is filled twice, by y and x",
        "m and n float32[2]: expected arrays of one dtype to be merged",
    )


def test_a_number_below_zero_cannot_be_filled_in():
    (fault,) = faults([Rename("layer{s}", "stages[{s-1}]")], {"layer0": ones(1)})
    assert "cannot count" in fault


def test_random_keys_numbers_and_texts_are_renamed_but_not_changed():
    items = {"n": Item.of(3), "k": Item(np.dtype("u4"), (2,), lambda: None, "rbg")}
    got = Renaming([Rename("{a}", "x.{a}")]).apply(items)
    assert got == {"x.n": items["n"], "x.k": items["k"]}
    for name in items:
        with pytest.raises(StructureError, match="no random keys, numbers or texts"):
            Renaming([Rename(name, "x", Flip((0,)))]).apply(items)


def test_the_number_of_arrays_made_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MAX_NAMES", 5)
    assert faults([Rename("a", "{i}", Unstack())], {"a": ones(7)}) == (
        "more than 5 arrays are made",
    )
    assert len(renamed([Rename("a", "{i}", Unstack())], a=ones(5))) == 5


def test_a_step_that_meets_wrong_values_is_a_fault():
    with pytest.raises(StructureError, match="equal values for Same"):
        renamed([Rename(["a", "b"], "c", Same())], a=ones(2), b=0 * ones(2))


# --- rules that cannot be --------------------------------------------------------------------


BAD = {
    "no source": lambda: Rename([], "a"),
    "no target": lambda: Rename("a", []),
    "a wild card": lambda: Rename("*.w", "a"),
    "a placeholder from nowhere": lambda: Rename("a", "b.{i}"),
    "a placeholder to nowhere": lambda: Rename("a.{i}", "b"),
    "two placeholders to nowhere": lambda: Rename("a.{i}.{j}", "b", Stack()),
    "one from nowhere and one to nowhere": lambda: Rename("a.{i}", "b.{j}", Stack(), Unstack()),
    "a rest that is counted": lambda: Rename("a.{*i}", "b", Stack()),
    "a rest from nowhere": lambda: Rename("a", "b.{*i}", Unstack()),
    "sources that differ": lambda: Rename(["a.{i}", "b"], "c.{i}", Add()),
    "targets that differ": lambda: Rename("a.{i}", ["b.{i}", "c"], Split(2)),
    "a source twice": lambda: Rename(["a", "a"], "b", Add()),
    "a target twice": lambda: Rename("a", ["b", "b"], Split(2)),
    "counted with two sources": lambda: Rename(["a.{i}", "b.{i}"], "c", Stack()),
    "two sources and no step": lambda: Rename(["a", "b"], "c"),
    "two sources and a step for each": lambda: Rename(["a", "b"], "c", Flip((0,))),
    "two targets and no step": lambda: Rename("a", ["b", "c"]),
    "fewer parts than targets": lambda: Rename("a", ["b", "c"], Split(3)),
    "a split of two": lambda: Rename(["a", "b"], ["c", "d"], Split(2)),
    "parts without number": lambda: Rename("a", ["c", "d"], Unstack()),
    "a function as a step": lambda: Rename("a", "b", np.transpose),
    "a class as a step": lambda: Rename("a", "b", Add),
    "a function as a rule": lambda: Renaming([str.upper]),
    "a dict as a rule": lambda: Renaming([{"from": "a", "to": "b"}]),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_a_rule_that_cannot_be_is_refused_when_it_is_made(make):
    with pytest.raises(StructureError):
        make()


def test_a_rule_shows_the_call_that_builds_it():
    rule = Rename(["a", "b"], "c", Join(1), Reorder((1, 0)))
    assert repr(rule) == (
        "Rename(['a', 'b'], 'c', Join(axis=1, sizes=None), Reorder(order=(1, 0), axis=0))"
    )
    assert eval(repr(rule)) == rule


# --- the way back ------------------------------------------------------------------------------


def test_rules_are_undone():
    rules = Renaming(
        [
            Rename("conv{i+1}.weight", "convs[{i}].weight", Transpose("OIHW->HWIO"), Flip((0, 1))),
            Rename("qkv", ["q", "k", "v"], Transpose("OI->IO"), Split(3, axis=1)),
            Rename(["r", "z"], "gates", Join(-1)),
            Rename("h.{i}.w", "blocks", Stack(1), Reorder((1, 0))),
            Drop("steps"),
        ]
    )
    rng = np.random.default_rng(0)
    arrays = {
        "conv1.weight": rng.normal(size=(2, 3, 4, 5)),
        "conv2.weight": rng.normal(size=(3, 2, 4, 5)),
        "qkv": rng.normal(size=(6, 4)),
        "r": rng.normal(size=(2, 2)),
        "z": rng.normal(size=(2, 2)),
        **{f"h.{i}.w": rng.normal(size=4) for i in range(3)},
        "other": rng.normal(size=2),
    }
    made = rules.rename({**arrays, "steps": ones(1)})
    assert "convs[1].weight" in made
    back = rules.inverse().rename(made)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize(
    "rule",
    [
        Rename(["a", "b"], "c", Add()),
        Rename("a", "b", Reshape((-1,))),
        Rename("a.{i}", "b", Join()),
        Rename(["a", "b"], "c", Same()),
    ],
    ids=["sum", "reshape", "joined without number", "tied"],
)
def test_what_forgets_cannot_be_undone(rule):
    with pytest.raises(StructureError, match="can be undone"):
        Renaming([rule]).inverse()


# --- loading -----------------------------------------------------------------------------------


def test_a_file_is_loaded_under_other_names_with_all_options(tmp_path):
    path = tmp_path / "a.safetensors"
    rs.save(path, {"net": {"fc": {"weight": jnp.arange(6.0).reshape(3, 2), "bias": jnp.ones(3)}}})
    model = rs.bf16(rs.Chain(rs.Dense(2, 3), rs.Dense(3, 1)))
    got = rs.load(
        path,
        like=model,
        at="net",
        names=[Rename("fc.weight", "layers[0].weight", Transpose("OI->IO"))],
        partial=rs.Partial(missing=["layers[0].bias", "layers[1]"], unexpected=["fc.bias"]),
        convert="rounded",
    )
    assert got[0].weight.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert rs.equal(got[1], model[1])


def test_shapes_that_the_steps_make_are_compared_before_anything_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    rs.save(path, {"w": jnp.ones((3, 2))})
    monkeypatch.setattr("rosin.files.models.read_all", None)
    with pytest.raises(StructureError) as caught:
        rs.load(path, {"v": jnp.ones((3, 2))}, names=[Rename("w", "v", Transpose("ab->ba"))])
    assert caught.value.details == (
        "different: v is float32[2,3] in the file, float32[3,2] in the tree",
    )


def test_left_over_names_are_listed_as_the_file_has_them(tmp_path):
    path = tmp_path / "a.safetensors"
    rs.save(path, {"fc": {"weight": jnp.ones(1), "scale": jnp.ones(1)}})
    with pytest.raises(StructureError) as caught:
        rs.load(path, {"w": jnp.ones(1)}, names=[Rename("fc.weight", "w")])
    assert caught.value.details == ("unexpected: fc.scale float32[1]",)


def test_random_keys_keep_their_kind_under_another_name(tmp_path):
    path = tmp_path / "a.safetensors"
    key = jax.random.key(3, impl="rbg")
    rs.save(path, {"old": key, "n": 3})
    got = rs.load(path, {"new": jax.random.key(0, impl="rbg"), "m": 0}, names=[
        Rename("old", "new"), Rename("n", "m"),
    ])  # fmt: skip
    assert rs.equal(got, {"new": key, "m": 3})


def test_arrays_at_hand_are_put_into_a_model():
    model = rs.Dense(2, 3)
    arrays = {"w": np.ones((2, 3)), "b": np.zeros(3)}
    rules = [Rename("w", "weight"), Rename("b", "bias")]
    got = rs.loadmodel(model, arrays, names=rules, convert="rounded")
    assert got.weight.dtype == jnp.float32
    assert got.weight.sum() == 6
    with pytest.raises(StructureError) as caught:
        rs.loadmodel(model, arrays)
    assert len(caught.value.details) == 4
    with pytest.raises(StructureError):
        rs.loadmodel(rs.Dense, arrays)
