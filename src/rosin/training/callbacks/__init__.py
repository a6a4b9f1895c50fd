# SPDX-License-Identifier: Apache-2.0
"""Callbacks: what looks at a run at named moments, and changes only what it declares."""
