# SPDX-License-Identifier: Apache-2.0
"""Layers: modules whose call is their equation."""
