# SPDX-License-Identifier: Apache-2.0
"""What JAX compiles, by its own log."""

import contextlib
import logging
import re

import jax

COMPILED = re.compile(r"Finished XLA compilation of jit\((.+?)\)")


class Names(logging.Handler):
    """Collects the names of compiled functions."""

    def __init__(self):
        super().__init__()
        self.names = []

    def emit(self, record):
        """Take the name out of a line that tells of a compilation."""
        self.names += COMPILED.findall(record.getMessage())


@contextlib.contextmanager
def compilations():
    """Yield a list that fills with the name of each function that JAX compiles meanwhile."""
    handler, logger = Names(), logging.getLogger("jax")
    before = jax.config.jax_log_compiles
    logger.addHandler(handler)
    jax.config.update("jax_log_compiles", True)
    try:
        yield handler.names
    finally:
        jax.config.update("jax_log_compiles", before)
        logger.removeHandler(handler)
