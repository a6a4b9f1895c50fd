# SPDX-License-Identifier: Apache-2.0
"""Training: one compiled step, the loop over it, the guard against non-finite numbers.

`rosin.train` names two things, this package and the function `train` inside it: Python puts
a package in the place of whatever has its name as soon as one of its modules is imported.
So the package can be called, and says what the function says.
"""

import sys
import types
from typing import Any


class _CallablePackage(types.ModuleType):
    """A package that stands for the function of its name."""

    @property
    def __doc__(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The documentation of the function."""
        return self.__wrapped__.__doc__

    @property
    def __wrapped__(self) -> Any:
        """The function, which `inspect` and `help` look for here."""
        from rosin.train.loop import train

        return train

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Train."""
        return self.__wrapped__(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
