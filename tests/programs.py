# SPDX-License-Identifier: Apache-2.0
"""What JAX makes of a function: how large its program is."""

import jax
from jax.extend.core import jaxprs_in_params


def size(function, *arguments):
    """Count the equations of a traced function, those inside loops and calls too."""
    return _equations(jax.make_jaxpr(function)(*arguments).jaxpr)


def _equations(jaxpr):
    inner = (part for e in jaxpr.eqns for part in jaxprs_in_params(e.params))
    return len(jaxpr.eqns) + sum(map(_equations, inner))
