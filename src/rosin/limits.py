# SPDX-License-Identifier: Apache-2.0
"""Every bound on foreign input, in one frozen dataclass with the units in the names.

Readers take `limits=` and check a bound before they allocate what it bounds. The defaults
fit honest model files of today with room to spare; raise one for one call with
`dataclasses.replace(rosin.Limits(), max_file_bytes=...)`.
"""

import dataclasses

from rosin.errors import RangeError, shown


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a reader accepts.

    Args:
        max_file_bytes: The whole file; of a model of several files, all of them together.
        max_header_bytes: The JSON header of a safetensors file.
        max_tensors: Named arrays in one file, or in all files of one model.
        max_name_characters: The name of one array.
        max_axes: Axes of one array.
        max_metadata_bytes: All free-form metadata of one file, as UTF-8.
        max_nesting: Nested lists and objects inside JSON or a pickle; folders in folders.
        max_pickle_steps: Opcodes of one pickle: up to three for each number or text in it;
            texts of one GGUF file; fields of one ONNX file.
        max_pickle_containers: Lists, dicts, tuples and sets in what a pickle holds in the end.
        max_text_bytes: All texts of one pickle, GGUF or ONNX file.
        max_members: Files in one archive, those in archives inside it included.
        max_archive_depth: Containers around a file.
        max_unpacked_bytes: What all compressed parts of one file unpack to.
        max_expansion_ratio: The same, for each byte of the file; the first 16 MiB are free.
        max_shards: Files that one index names.
        max_index_bytes: The JSON index of a model of several files, renaming rules, or settings.
        max_table_bytes: A table of numbers as text, such as the history of a training.

    Examples:
        >>> Limits().max_axes
        32
    """

    max_file_bytes: int = 2**40
    max_header_bytes: int = 100_000_000
    max_tensors: int = 1_000_000
    max_name_characters: int = 1_024
    max_axes: int = 32
    max_metadata_bytes: int = 100_000_000
    max_nesting: int = 64
    max_pickle_steps: int = 1_000_000
    max_pickle_containers: int = 200_000
    max_text_bytes: int = 2**25
    max_members: int = 100_000
    max_archive_depth: int = 3
    max_unpacked_bytes: int = 2**35
    max_expansion_ratio: int = 200
    max_shards: int = 1_000
    max_index_bytes: int = 100_000_000
    max_table_bytes: int = 2**24

    def __post_init__(self) -> None:
        """Refuse a bound that is not a whole number of at least 1."""
        for field in dataclasses.fields(self):
            value: object = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise RangeError(
                    subject="Limits",
                    expected=f"{field.name} to be a whole number of at least 1",
                    got=shown(value),
                    fix=f"pass {field.name} as a positive int, or leave it out",
                )
