# SPDX-License-Identifier: Apache-2.0
"""What a metric is: a small immutable object that knows how to add up over batches."""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import jax
import numpy as np

from rosin.core.display import value_text
from rosin.core.types import PyTree

Of: TypeAlias = Callable[..., Any] | None
"""Makes what a metric measures of a model and a batch; None stands for the default."""

Value: TypeAlias = float | np.ndarray[Any, Any]
"""What a metric comes to."""


class Metric(abc.ABC):
    """A quantity that adds up over batches on the device and is finished on the host.

    What is added up is its *state*, a tree of arrays: `empty()` is that of no data,
    `measure(...)` that of one batch, `merge(a, b)` that of both, and `result(state)` its
    value. `update(state, ...)` merges a batch into a state, as one compiled program that
    waits for nothing. However the data is cut into batches, counts come out the same, and
    sums to the last few units of a float32.

    Subclass it for a metric of your own: give it these four methods, and leave the object
    as it is once it is made. `measure` and `merge` are traced, `result` is not. The
    metrics of `rs.metrics` are frozen dataclasses, so that two of equal options compare
    as equal and share what was compiled.

    Args:
        of: Called as `of(model, *batch)`, returns the arguments of `measure` as a tuple.
            Left out, a batch `(x, y)` gives `model(x)` and `y`.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> class Largest(rs.metrics.Metric):
        ...     def empty(self):
        ...         return jnp.array(-jnp.inf)
        ...     def measure(self, prediction, target):
        ...         return jnp.abs(prediction - target).max()
        ...     def merge(self, a, b):
        ...         return jnp.maximum(a, b)
        ...     def result(self, state):
        ...         return float(state)
        >>> batches = [(jnp.array([1.0, 2.0]), jnp.array([1.5, 2.0]))] * 2
        >>> rs.evaluate(rs.Chain(rs.relu), batches, {"largest": Largest()})
        {'largest': 0.5}
    """

    of: Of = None

    grows: ClassVar[bool] = False
    """Whether a state is a tuple that grows with the data, so that `merge` joins tuples."""

    @abc.abstractmethod
    def empty(self) -> PyTree:
        """Return the state of no data."""

    def expect(self, *inputs: Any, **named: Any) -> None:
        """Refuse what cannot be measured; here values may be looked at, if there are any."""
        del inputs, named

    @abc.abstractmethod
    def measure(self, *inputs: Any, **named: Any) -> PyTree:
        """Return the state of one batch."""

    @abc.abstractmethod
    def merge(self, a: PyTree, b: PyTree) -> PyTree:
        """Return the state of the data of both."""

    @abc.abstractmethod
    def result(self, state: PyTree) -> Value:
        """Return the value, a float or a NumPy array; NaN where it is not defined."""

    def update(self, state: PyTree, *inputs: Any, **named: Any) -> PyTree:
        """Merge a batch into a state, without waiting for it to be computed."""
        self.expect(*inputs, **named)
        if self.grows:
            return self.merge(state, _measured(self, inputs, named))
        return _updated(self, state, inputs, named)

    def __repr__(self) -> str:
        """Show the call that makes this metric, without what is left at its default."""
        fields: Any = dataclasses.fields(self) if dataclasses.is_dataclass(self) else ()
        given = [(field, getattr(self, field.name)) for field in fields]
        texts = [f"{f.name}={value_text(value)}" for f, value in given if value != f.default]
        return f"{type(self).__name__}({', '.join(texts)})"

    def __call__(self, *inputs: Any, **named: Any) -> Value:
        """Measure one batch on its own."""
        return self.result(self.update(self.empty(), *inputs, **named))


@functools.partial(jax.jit, static_argnums=0)
def _measured(metric: Metric, inputs: tuple[Any, ...], named: dict[str, Any]) -> PyTree:
    return metric.measure(*inputs, **named)


@functools.partial(jax.jit, static_argnums=0)
def _updated(
    metric: Metric, state: PyTree, inputs: tuple[Any, ...], named: dict[str, Any]
) -> PyTree:
    return metric.merge(state, metric.measure(*inputs, **named))
