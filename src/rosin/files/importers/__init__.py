# SPDX-License-Identifier: Apache-2.0
"""Reading foreign formats as data: what `rosin.scan` understood becomes NumPy arrays."""
