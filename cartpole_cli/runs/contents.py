"""What a checkpoint may hold: dense tensors and plain data, of no more than the file itself.

torch's `weights_only` runs no code, but reads much else: sparse tensors, ones of a shape and no numbers, ones that
repeat a number a billion times, compressed archives, lists within lists.
"""

import io
import zipfile
from typing import Any

import torch
from torch import Tensor

MAX_DEPTH = 64
MAX_ENTRIES = 2_000_000
MAX_BITS = 1024
"""Of a whole number: NumPy's generators have 128."""
PLAIN = (str, float, bool, type(None))


def check_archive(payload: bytes) -> None:
    """Raises ValueError if it is no archive as torch writes them, uncompressed."""
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise ValueError("no archive of torch's") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("compressed, which torch's archives are not")
    if sum(entry.file_size for entry in entries) > len(payload):
        raise ValueError("its parts are larger than the whole")


def check_contents(content: Any, size: int) -> None:
    """Raises ValueError if there is anything but dense tensors on the CPU and plain data in `content`.

    Args:
        content: what was unpickled.
        size: bytes of the file, which no tensor exceeds.
    """
    waiting, num_entries = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        num_entries += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
        if num_entries > MAX_ENTRIES:
            raise ValueError(f"more than {MAX_ENTRIES:,} entries")
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for entry in value.items() for part in entry]
        elif isinstance(value, list | tuple):
            waiting += [(part, depth + 1) for part in value]
        elif isinstance(value, Tensor):
            _check_tensor(value, size)
        elif isinstance(value, int):
            if value.bit_length() > MAX_BITS:
                raise ValueError(f"a whole number of more than {MAX_BITS} bits")
        elif not isinstance(value, PLAIN):
            raise ValueError(f"a {type(value).__name__}, which is no plain data")


def _check_tensor(tensor: Tensor, size: int) -> None:
    dense = type(tensor) in {Tensor, torch.nn.Parameter} and tensor.layout is torch.strided
    if not dense or tensor.is_nested or tensor.is_quantized or tensor.device.type != "cpu":
        raise ValueError("a tensor that is not dense, or on no CPU")
    if tensor.nelement() * tensor.element_size() > size:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)}, larger than the file")
