# SPDX-License-Identifier: Apache-2.0
"""The scripts here need what no test needs, so they are not looked into for examples."""

collect_ignore_glob = ["*.py"]
