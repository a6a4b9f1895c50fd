# SPDX-License-Identifier: Apache-2.0
"""How exact Rosin's numbers are: `make numerics` measures it and writes the page.

A section of the page is a function without arguments that returns a `report.Section`; it
joins by one entry in `numerics.__main__.SECTIONS`. What it can build on: `ulps` has the
inputs (every half number, a stratified sample of the single ones) and counts errors in
units of the last place. References are formulas in float64 that are safe where the
measured code need not be, or mpmath where there is no such formula.
"""
