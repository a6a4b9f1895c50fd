# SPDX-License-Identifier: Apache-2.0
"""Where batches come from: sources, their order, the loader; splitting; one-hot labels.

The contract that everything here stands on is `source[int64 indices] -> batch`.
"""
