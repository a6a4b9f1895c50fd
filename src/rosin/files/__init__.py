# SPDX-License-Identifier: Apache-2.0
"""Files of arrays and names, never of code: reading them checked, writing them whole."""
