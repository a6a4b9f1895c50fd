# SPDX-License-Identifier: Apache-2.0
"""The loader: data in batches, epoch after epoch, from a position that can be saved.

The loader reads in the caller's thread, which is the fastest way for arrays in memory. It
knows its data as a `Source` only and its order as an `Order`, so that its state, which
counts batches handed out, would mean the same if they were read ahead or elsewhere.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from rosin.core.types import PyTree
from rosin.core.validation import (
    expect_at_least,
    expect_kind,
    expect_known,
    expect_state,
    is_whole,
    refuse,
)
from rosin.data.order import SEED_BOUND, Order, resolve_seed
from rosin.data.sources import ArraySource, as_source, described
from rosin.errors import RangeError, StructureError, shown

STATE_VERSION = 1


class DataLoader:
    """Hand out data in batches.

    Each `for` loop over a loader is one epoch, and each shuffled epoch has an order of its
    own, which `seed` and the number of the epoch determine. Batches are NumPy arrays in
    the structure of `data`, made anew each time, in a precision and byte order that JAX
    takes: float64 arrives as float32 unless JAX's 64-bit mode is on.

    Args:
        data: An array, a tuple, named tuple or dict of arrays, of any depth, whose first
            axes count the observations; or a `Source`. NumPy arrays are read in place.
            JAX arrays are copied to the host once.
        batch_size: Observations in a batch; at least 1.
        shuffle: Whether every epoch goes through the observations in a new order.
        partial: Whether an epoch ends with a smaller batch when `batch_size` does not
            divide the data. Without it up to `batch_size - 1` observations are left out,
            others in each shuffled epoch, and all batches have one shape, so that a
            compiled step compiles once.
        seed: Chooses the orders, from 0 to 2**63 - 1; left out, it is drawn once from the
            ambient stream, which `rs.seed` sets.

    Raises:
        RangeError: `batch_size` is not a whole number of at least 1, or without `partial`
            more than there are observations; `seed` is out of range.
        ShapeError: Arrays differ in length or have no axis, or there is no observation.
        DtypeError: An array holds Python objects or random keys.
        StructureError: `data` is neither arrays nor a source, `shuffle` or `partial` is
            not a boolean.
        StateError: A seed is to be drawn while a function is traced.

    Examples:
        >>> x, y = np.zeros((10, 3), np.float32), np.arange(10)
        >>> loader = DataLoader((x, y), batch_size=4, shuffle=True, seed=0)
        >>> for images, labels in loader:
        ...     print(images.shape, labels)
        (4, 3) [3 6 9 1]
        (4, 3) [5 7 2 0]
        (2, 3) [8 4]

    Source:
        MLUtils.jl `DataLoader`, with `batchsize` spelled `batch_size`. Theirs takes the
        last axis for the observations, draws its orders from a generator that nobody can
        wind back, and shrinks a batch that is larger than the data with a warning.
    """

    def __init__(
        self,
        data: PyTree,
        *,
        batch_size: int = 1,
        shuffle: bool = False,
        partial: bool = True,
        seed: int | None = None,
    ) -> None:
        expect_at_least(1, subject="DataLoader", batch_size=batch_size)
        expect_kind(bool, subject="DataLoader", shuffle=shuffle, partial=partial)
        self._source = as_source(data, subject="DataLoader")
        length = len(self._source)
        if batch_size > length and not partial:
            refuse(
                RangeError,
                subject="DataLoader",
                expected=f"batch_size of at most {length}, the number of observations",
                got=shown(batch_size),
                fix=f"pass batch_size={length}, or partial=True",
            )
        number = resolve_seed(seed, shuffle=shuffle, subject="DataLoader")
        self._order = Order(length, int(batch_size), shuffle, partial, number)
        self._epoch = 0
        self._step = 0
        self._continues = False  # whether the next loop starts where the loader stands
        self._live = object()  # marks the one iterator that may go on

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return self._order.steps

    def __iter__(self) -> Iterator[PyTree]:
        """Start an epoch and hand out its batches.

        The epoch starts at its first batch. The one exception is the first loop after
        `restore`, which goes on from the restored position. An epoch that a loop broke
        off counts as used up: the next loop starts the next one. `next(iter(loader))`
        breaks an epoch off, too.

        There is one position, hence one live iterator: starting another, or restoring,
        ends those before it.

        Raises:
            StateError: The iterator was ended in this way, and is asked to go on.

        Examples:
            >>> loader = DataLoader(np.arange(4), batch_size=2)
            >>> [batch.tolist() for batch in loader], loader.epoch
            ([[0, 1], [2, 3]], 1)
        """
        if self._step and not self._continues:
            self._epoch, self._step = self._epoch + 1, 0
        self._continues = False
        self._live = object()
        return self._batches(self._live)

    def _batches(self, live: object) -> Iterator[PyTree]:
        for rows in self._order.batches(self._epoch, self._step):
            self._expect_live(live)
            batch = self._source[rows]
            self._step += 1
            yield batch
        self._expect_live(live)
        self._epoch, self._step = self._epoch + 1, 0

    def _expect_live(self, live: object) -> None:
        expect_state(
            live is self._live,
            subject=self,
            expected="one loop at a time over a loader",
            got="an iterator from before another loop or restore began",
            fix="build a second DataLoader for the second loop",
        )

    @property
    def epoch(self) -> int:
        """The number of the present epoch, from 0; one more when a loop has finished.

        Examples:
            >>> loader = DataLoader(np.arange(4))
            >>> _ = list(loader), list(loader)
            >>> loader.epoch
            2
        """
        return self._epoch

    @property
    def step(self) -> int:
        """How many batches of the present epoch have been handed out.

        Examples:
            >>> loader = DataLoader(np.arange(4))
            >>> [loader.step for batch in loader], loader.step
            ([1, 2, 3, 4], 0)
        """
        return self._step

    @property
    def state(self) -> dict[str, int]:
        """The position and what it depends on, as plain numbers for a checkpoint.

        It counts the batches handed out: read in the loop's body, it says that this batch
        is done with. Read after a `break`, it is the place of the break.

        Examples:
            >>> DataLoader(np.arange(4), batch_size=2, seed=3).state
            {'version': 1, 'seed': 3, 'length': 4, 'batch_size': 2,
             'shuffle': False, 'partial': True, 'epoch': 0, 'step': 0}
        """
        order = self._order
        return {
            "version": STATE_VERSION,
            "seed": order.seed,
            "length": order.length,
            "batch_size": order.batch_size,
            "shuffle": order.shuffle,
            "partial": order.partial,
            "epoch": self._epoch,
            "step": self._step,
        }

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to the position of a state, so that the next loop continues from there.

        The loop that follows hands out the very batches that were still to come, at no
        cost that grows with their number; none, if the state was read at the last batch
        of an epoch. The state's seed replaces the loader's. To go on after a `break`
        rather than start the next epoch: `loader.restore(loader.state)`.

        Args:
            state: What `state` returned, of a loader with the same number of observations
                and the same arguments.

        Raises:
            StructureError: `state` is not a dict, or its keys are not those of a state.
            RangeError: A value is out of range, or not that of this loader. Nothing
                changed.

        Examples:
            >>> data = np.arange(6)
            >>> loader = DataLoader(data, batch_size=2, shuffle=True, seed=0)
            >>> for batch in loader:
            ...     break
            >>> other = DataLoader(data, batch_size=2, shuffle=True)
            >>> other.restore(loader.state)
            >>> len(list(other))
            2
        """
        self._expect_keys(state)
        self._expect_values(state)
        self._order = self._order._replace(seed=int(state["seed"]))
        self._epoch, self._step = int(state["epoch"]), int(state["step"])
        self._continues = True
        self._live = object()

    def _expect_keys(self, state: Mapping[str, int]) -> None:
        expect_kind(Mapping, subject=self, state=state)
        known = list(self.state)
        expect_known([str(key) for key in state], known, subject=self, what="keys of a state")
        missing = [key for key in known if key not in state]
        if missing:
            refuse(
                StructureError,
                subject=self,
                expected=f"a state with the keys {', '.join(known)}",
                got=f"one without {', '.join(missing)}",
                fix="pass what loader.state returned, unchanged",
            )

    def _expect_values(self, state: Mapping[str, int]) -> None:
        own = self.state
        equal = ("version", "length", "batch_size", "shuffle", "partial")
        below = {"seed": SEED_BOUND, "epoch": SEED_BOUND, "step": len(self) + 1}
        faults = [
            f"{name}: expected {own[name]}, got {shown(state[name])}"
            for name in equal
            if not _same(state[name], own[name])
        ]
        faults += [
            f"{name}: expected a whole number from 0 to {bound - 1}, got {shown(state[name])}"
            for name, bound in below.items()
            if not is_whole(state[name]) or not 0 <= state[name] < bound
        ]
        if faults:
            refuse(
                RangeError,
                subject=self,
                expected="a state of a loader with this length and these arguments",
                got=f"one that differs in {', '.join(fault.split(':')[0] for fault in faults)}",
                fix="build the loader with the data and arguments that the state was saved with",
                details=tuple(faults),
            )

    def __repr__(self) -> str:
        """Show the call that builds this loader, with arrays as dtype[shape]."""
        order = self._order
        options = f", batch_size={order.batch_size}"
        options += f", shuffle=True, seed={order.seed}" if order.shuffle else ""
        options += "" if order.partial else ", partial=False"
        source = self._source
        data = described(source.arrays if isinstance(source, ArraySource) else source)
        return f"DataLoader({data}{options})"


def _same(value: object, own: int) -> bool:
    """Tell whether two values are equal, booleans only to booleans."""
    booleans = (bool, np.bool_)
    alike = isinstance(value, booleans) if isinstance(own, booleans) else is_whole(value)
    return alike and value == own
