# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: contenders paired in one run, ratios of medians; `make bench` writes the page."""
