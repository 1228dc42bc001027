"""Whether two values are the same, in type and content."""

from __future__ import annotations

import math
import sys

from pyisolate.tensor.tensor import Tensor


def is_same(left, right):
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left.hex() == right.hex() or (math.isnan(left) and math.isnan(right))
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(is_same, left, right))
    if isinstance(left, set):
        return sorted(map(repr, left)) == sorted(map(repr, right))
    if isinstance(left, dict):
        return is_same(list(left.items()), list(right.items()))
    if isinstance(left, Tensor):
        return (left.dtype, tuple(left.shape), bytes(left.data)) == (right.dtype, tuple(right.shape), bytes(right.data))
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(left, numpy.ndarray):
        return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
    return left == right
