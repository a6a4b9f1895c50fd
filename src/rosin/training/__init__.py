# SPDX-License-Identifier: Apache-2.0
"""Training: one compiled step, the loop over it, the guard against non-finite numbers."""

from rosin.core.lazy import lazily

__getattr__, __dir__ = lazily(__name__, lambda: {"metrics": f"{__name__}.metrics"})
