"""Messages between bncheck and the child process: JSON, and arrays in NumPy's own format.

Nothing that comes from the user's process is ever unpickled.
"""

import io
import json
import struct
from typing import Any, BinaryIO

import numpy as np

_LENGTH = struct.Struct("<QQ")
LARGEST = 1 << 32
"""Bytes of the longer part of a message."""


def send(stream: BinaryIO, message: Any) -> None:
    """Write one message: dicts, lists, strings, numbers and arrays."""
    arrays: list[Any] = []
    header = json.dumps(_packed(message, arrays)).encode()
    body = io.BytesIO()
    for array in arrays:
        np.lib.format.write_array(body, array, allow_pickle=False)
    data = body.getvalue()
    stream.write(_LENGTH.pack(len(header), len(data)) + header + data)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read one message; raises ``EOFError`` where the other side has gone, ``ValueError`` where
    what it wrote is no message.
    """
    header_length, body_length = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    if max(header_length, body_length) > LARGEST:
        raise ValueError("these are no lengths: something else has written here")
    header = _exactly(stream, header_length)
    body = io.BytesIO(_exactly(stream, body_length))
    arrays: list[Any] = []
    while body.tell() < body_length:
        arrays.append(np.lib.format.read_array(body, allow_pickle=False))
    return _unpacked(json.loads(header), arrays)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = stream.read(count - len(parts))
        if not part:
            raise EOFError("the other side has gone")
        parts += part
    return bytes(parts)


def _packed(message: Any, arrays: list[Any]) -> Any:
    if isinstance(message, np.ndarray | np.generic):
        arrays.append(np.asarray(message))
        return {"@array": len(arrays) - 1}
    if isinstance(message, dict):
        return {key: _packed(value, arrays) for key, value in message.items()}
    if isinstance(message, list | tuple):
        return [_packed(value, arrays) for value in message]
    return message


def _unpacked(message: Any, arrays: list[Any]) -> Any:
    if isinstance(message, dict):
        if "@array" in message:
            return arrays[message["@array"]]
        return {key: _unpacked(value, arrays) for key, value in message.items()}
    if isinstance(message, list):
        return [_unpacked(value, arrays) for value in message]
    return message
