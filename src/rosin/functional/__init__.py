# SPDX-License-Identifier: Apache-2.0
"""Arrays in, arrays out: the mathematics of the layers, without any `Module`."""
