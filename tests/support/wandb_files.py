"""Offline runs of wandb read back from their files, by wandb's own definition of a record."""

import json
import struct
import time


def chunks_of(data: bytes):
    """Yield the entries of a wandb file, which is a log of LevelDB after seven bytes.

    Blocks of 32 KiB; an entry's parts begin with checksum, length and type: whole, first, middle,
    last (github.com/google/leveldb, doc/log_format.md). One that is being written may end anywhere.
    """
    assert data[:4] == b":W&B"
    place, entry = 7, b""
    while place + 7 <= len(data):
        left = -place % 32768
        if 0 < left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        if place + 7 + length > len(data):  # is being written
            return
        entry += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield entry
            entry = b""


def records_of(folder) -> list:
    """The records of the one wandb file in a folder, once its process has written the last."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    for _ in range(200):
        records = [Record.FromString(entry) for entry in chunks_of(path.read_bytes())]
        if records and records[-1].HasField("exit"):
            return records
        time.sleep(0.05)
    raise TimeoutError(path)


def items_of(record_items) -> dict:
    """The values of a record by name; those of a table or a video as a dict."""
    found: dict = {}
    for item in record_items:
        keys = list(item.nested_key) or [item.key]
        place = found if len(keys) == 1 else found.setdefault(keys[0], {})
        place[keys[-1]] = json.loads(item.value_json)
    return found
