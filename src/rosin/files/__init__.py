# SPDX-License-Identifier: Apache-2.0
"""Files of arrays and names, never of code: reading them checked, writing them whole."""

from rosin.files.importers.reading import read, read_tree

__all__ = ["read", "read_tree"]
