# SPDX-License-Identifier: Apache-2.0
"""Training: one compiled step, the loop over it, the guard against non-finite numbers."""
