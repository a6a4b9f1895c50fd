# SPDX-License-Identifier: Apache-2.0
"""Constructors called with arguments that they do not take."""

import pytest

import rosin as rs
from rosin.errors import StructureError


class Strict(rs.Module):
    """A layer whose own code raises a TypeError."""

    def __init__(self, size):
        size + "one"


CALLS = {
    "misspelt": (lambda: rs.Dropout(probab=0.5), "got probab", "'probability' is the near"),
    "of another library": (lambda: rs.LSTM(3, 4, num_layers=2), "among in_size", "'layers' is the"),
    "missing": (lambda: rs.Dense(3), "1 in order and 0 by name: missing", "pass out_size too"),
    "too many": (lambda: rs.Upsample(2), "(*, scale, size, mode", "those after the * by name"),
    "twice": (lambda: rs.Dense(3, 4, in_size=3), "multiple values", "those after the * by name"),
    "one's own class": (Strict, "the arguments (size)", "pass size too"),
    "any layers": (rs.Parallel, "(connection, *layers, **named)", "pass connection too"),
}


@pytest.mark.parametrize(("call", "text", "fix"), CALLS.values(), ids=CALLS)
def test_arguments_that_do_not_fit_are_refused_with_those_that_do(call, text, fix):
    with pytest.raises(StructureError) as caught:
        call()
    assert text in str(caught.value)
    assert fix in caught.value.fix


def test_a_type_error_of_the_constructor_itself_stays():
    with pytest.raises(TypeError, match="unsupported operand") as caught:
        Strict(1)
    assert not isinstance(caught.value, rs.RosinError)
