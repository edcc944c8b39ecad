"""Which partition an order belongs to: Kafka's default partitioner, murmur2 of the order id.

The embedded log and a Kafka topic therefore place every order alike. Source of the algorithm:
org.apache.kafka.common.utils.Utils.murmur2 and toPositive (Apache Kafka).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_SEED = np.uint32(0x9747B28C)
_M = np.uint32(0x5BD1E995)


def order_hashes(order_ids: Sequence[bytes]) -> npt.NDArray[np.int32]:
    """The positive murmur2 hash of each order id (UTF-8), shape (n,).

    Ids of one length are hashed together, a column of four bytes at a time.
    """
    lengths = np.fromiter(map(len, order_ids), dtype=np.int64, count=len(order_ids))
    result = np.empty(len(order_ids), dtype=np.uint32)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        joined = b"".join([order_ids[i] for i in rows.tolist()])
        block = np.frombuffer(joined, dtype=np.uint8).reshape(len(rows), int(length))
        result[rows] = _murmur2(block)
    return (result & np.uint32(0x7FFFFFFF)).astype(np.int32)


def _murmur2(block: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Murmur2 of each row of a block of bytes, shape (rows, length)."""
    rows, length = block.shape
    h = np.full(rows, _SEED ^ np.uint32(length), dtype=np.uint32)
    words = length // 4
    for w in range(words):
        k = block[:, 4 * w : 4 * w + 4].copy().view("<u4")[:, 0]
        k = k * _M
        k ^= k >> np.uint32(24)
        k *= _M
        h = (h * _M) ^ k
    tail = block[:, 4 * words :].astype(np.uint32)
    for i in range(tail.shape[1] - 1, -1, -1):
        h ^= tail[:, i] << np.uint32(8 * i)
    if tail.shape[1]:
        h *= _M
    h ^= h >> np.uint32(13)
    h *= _M
    h ^= h >> np.uint32(15)
    return h
