# SPDX-License-Identifier: Apache-2.0
"""Optimisers: rules on optax, and the state that applies them to a model."""
