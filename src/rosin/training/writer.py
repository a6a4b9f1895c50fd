# SPDX-License-Identifier: Apache-2.0
"""Writing files beside the training: one thread, one file set at a time, no error lost."""

import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

Job = Callable[[], None]


class Writer:
    """Writes the files of one moment at a time, in a thread of its own.

    Those of a later moment wait until they are done, and so does the end of the process. An
    error is raised by the next `write` or `wait`.
    """

    def __init__(self) -> None:
        self.written: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def write(self, jobs: Mapping[Path, Job]) -> None:
        """Start to write files; each job writes the one it stands for."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(jobs,), name="rosin-writer")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the job on its way, and raise what went wrong in it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, jobs: Mapping[Path, Job]) -> None:
        for path, job in jobs.items():
            try:
                job()
            except BaseException as error:  # noqa: BLE001  handed over to the thread that trains
                error.add_note(f"while {path.name!r} was written beside the training")
                self._error = self._error or error
            else:
                self.written.put(path)
