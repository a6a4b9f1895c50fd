# SPDX-License-Identifier: Apache-2.0
"""What `train(seed=...)` sets anew: the random keys in a tree, the order of the data."""

from typing import Any, TypeVar

import jax

from rosin.core.random import is_key

M = TypeVar("M")


def reseeded(tree: M, seed: int) -> M:
    """Give each random key of a tree a new one, which seed and place among the keys decide.

    The n-th key, in the order of `jax.tree.leaves` and counted from 0, becomes
    `fold_in(key(seed), n)` of its own kind; an array of keys is split from that.
    """
    leaves, structure = jax.tree.flatten(tree)
    places = [place for place, leaf in enumerate(leaves) if is_key(leaf)]
    for number, place in enumerate(places):
        leaf = leaves[place]
        key = jax.random.fold_in(jax.random.key(seed, impl=jax.random.key_impl(leaf)), number)
        leaves[place] = jax.random.split(key, leaf.shape) if leaf.shape else key
    return structure.unflatten(leaves)


def rewind(data: Any, seed: int) -> None:
    """Bring a loader to where one built with this seed starts; leave other data alone."""
    state = getattr(data, "state", None)
    if (
        hasattr(data, "restore")
        and isinstance(state, dict)
        and {"seed", "epoch", "step"} <= {*state}
    ):
        data.restore({**state, "seed": seed, "epoch": 0, "step": 0})
