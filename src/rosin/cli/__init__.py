# SPDX-License-Identifier: Apache-2.0
"""The command `rosin`: one thin command for each verb, over what the library does.

`app` lists the commands; each has a file of its own and imports what it needs when it runs,
so that help and a scan start at once. `telling` turns errors into text and exit codes,
`findings_text` is how a scan reads on a terminal.
"""
