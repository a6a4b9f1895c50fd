# SPDX-License-Identifier: Apache-2.0
"""First values of parameters, each called as `init(key, shape)`.

An initialiser with options is made with `functools.partial(glorot_uniform, gain=2.0)`.
All draw in float32 or wider and round to the dtype asked for last.

The fans of a shape are what flows into and out of one output: of `(in, out)` its two
sizes, of `(*kernel, in / groups, out)` these times the size of the kernel, and of `(n,)`
1 and n.
"""

from rosin.functional.initialisers.plain import (
    constant,
    normal,
    ones,
    truncated_normal,
    uniform,
    zeros,
)
from rosin.functional.initialisers.scaled import (
    glorot_normal,
    glorot_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
)
from rosin.functional.initialisers.structured import identity_init, orthogonal, sparse_init

__all__ = [
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "identity_init",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "sparse_init",
    "truncated_normal",
    "uniform",
    "zeros",
]
