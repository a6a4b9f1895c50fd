# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM during training: the step is finished, the run saved, then it ends."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

WATCHED = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Notes the first SIGINT or SIGTERM; the second acts as it did before.

    Only where Python's own handlers stand, and only in the main thread, which alone can
    take signals. As a `with` block it puts them back at the end.
    """

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Stand in for Python's handlers."""
        if threading.current_thread() is threading.main_thread():
            own = (signal.default_int_handler, signal.SIG_DFL)
            for number in WATCHED:
                if signal.getsignal(number) in own:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put Python's handlers back."""
        self._put_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._put_back()
        self.caught = signal.Signals(number)

    def _put_back(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
