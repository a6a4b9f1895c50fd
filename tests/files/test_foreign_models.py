# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of three models of PyTorch give the same outputs in models of Rosin's layers.

The checkpoints have the published names and layouts and random weights; the script
`tests/reference/foreign.py` wrote them, with inputs and outputs.
"""

import jax
import numpy as np
import pytest

import rosin as rs
from rosin.errors import StructureError
from rosin.files import read
from rosin.files.renaming import Renaming
from rosin.files.rule_files import read_rules, write_rules
from rosin.files.tensors import write_tensors
from tests.files.foreign_models import MODELS, build
from tests.stored import FOLDER, stored

CASES = pytest.mark.parametrize("name", MODELS)


def checkpoint(name):
    return FOLDER / "foreign" / f"{name}.safetensors"


@CASES
def test_the_output_is_that_of_the_original(name, tmp_path):
    _, rules, prepared = MODELS[name]
    write_rules(tmp_path / "map.json", rules)
    read = read_rules(tmp_path / "map.json")
    assert read.rules == rules.rules
    model = rs.load(checkpoint(name), like=build(name), names=read)
    numbers = stored("foreign", name)
    got = jax.jit(model)(prepared(numbers["x"]))
    # float32 sums in another order; the outputs are of size 1
    np.testing.assert_allclose(got, numbers["y"], rtol=2e-5, atol=2e-5)


@CASES
def test_a_rule_less_is_a_list_of_what_does_not_fit(name):
    _, rules, _ = MODELS[name]
    for number, rule in enumerate(rules.rules):
        fewer = Renaming(rules.rules[:number] + rules.rules[number + 1 :])
        with pytest.raises(StructureError) as caught:
            rs.load(checkpoint(name), build(name), names=fewer)
        assert caught.value.details, rule


@CASES
def test_the_file_that_pytorch_itself_writes_gives_the_same_model(name):
    _, rules, _ = MODELS[name]
    pickled = FOLDER / "foreign" / f"{name}.pt"
    model = rs.load(checkpoint(name), build(name), names=rules)
    assert rs.equal(rs.load(pickled, build(name), names=rules), model)
    assert rs.equal(rs.loadmodel(build(name), read(pickled), names=rules), model)


def test_the_way_back_gives_the_published_names_and_layouts(tmp_path):
    original = rs.load_arrays(checkpoint("resnet18"))
    _, rules, _ = MODELS["resnet18"]
    model = rs.load(checkpoint("resnet18"), build("resnet18"), names=rules)
    rs.save(tmp_path / "a.safetensors", model)
    back = rules.inverse().rename(rs.load_arrays(tmp_path / "a.safetensors"))
    assert back.keys() == {n for n in original if not n.endswith("num_batches_tracked")}
    for name, array in back.items():
        np.testing.assert_array_equal(array, original[name])


def test_an_embedding_that_is_tied_in_name_only_is_refused(tmp_path):
    arrays = dict(rs.load_arrays(checkpoint("gpt2")))
    arrays["lm_head.weight"] = arrays["lm_head.weight"] + 1
    write_tensors(tmp_path / "a.safetensors", arrays)
    with pytest.raises(StructureError, match="equal values for Same"):
        rs.load(tmp_path / "a.safetensors", build("gpt2"), names=MODELS["gpt2"][1])
