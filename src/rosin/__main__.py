# SPDX-License-Identifier: Apache-2.0
"""`python -m rosin` is the command `rosin`."""

from rosin.cli.app import main

if __name__ == "__main__":
    main()
