# SPDX-License-Identifier: Apache-2.0
"""What a model is: an immutable tree of arrays, its gradient, its state and its randomness."""
