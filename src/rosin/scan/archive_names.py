# SPDX-License-Identifier: Apache-2.0
"""Names of members of archives: plain paths beneath one folder, each once."""

import unicodedata
from collections.abc import Sequence

from rosin.errors import shown
from rosin.scan.region import Region


def is_plain(name: str) -> bool:
    """Say whether a path leads nowhere but beneath the folder that it starts from.

    Examples:
        >>> is_plain("a/b.bin"), is_plain("../b.bin"), is_plain("/b.bin"), is_plain("")
        (True, False, False, False)
    """
    strange = not name.isprintable() or "\\" in name or ":" in name
    return not strange and not {"", ".", ".."} & set(name.split("/"))


def check_names(region: Region, names: Sequence[str]) -> None:
    """Refuse a name that leads elsewhere, or that two members have on some system.

    Raises:
        Refused: A name breaks a rule.
    """
    seen: set[str] = set()
    for name in names:
        region.expect_within("max_name_characters", len(name), unit="characters")
        if not is_plain(name.removesuffix("/")):
            region.refuse("archive-name", got=shown(name))
        # As file systems that ignore capitals, or normalise Unicode, see it.
        same = unicodedata.normalize("NFC", name.removesuffix("/")).casefold()
        if same in seen:
            region.refuse("archive-duplicate", got=f"{shown(name)} twice")
        seen.add(same)
