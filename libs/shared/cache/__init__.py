"""Caches in layers: inside a process, and shared between processes in a key-value bucket.

The shared layer lies in the broker's files. A value that holds what someone said, or anything else personal or secret,
belongs into a ``TtlCache`` of one process and never into a ``SharedLayer``.
"""

from libs.shared.cache.layered import LayeredCache
from libs.shared.cache.process import AWAY, TtlCache
from libs.shared.cache.shared import SharedLayer

__all__ = ["AWAY", "LayeredCache", "SharedLayer", "TtlCache"]
