"""Hashing passwords beside the event loop, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from libs.shared.credentials import hash_password, new_password, verify_password
from libs.shared.errors import Overloaded

T = TypeVar("T")
_WAITING_PER_WORKER = 16
LONGEST_PASSWORD = 1024
SHORTEST_PASSWORD = 10


class Passwords:
    """``workers`` threads; sixteen callers may wait for each, further ones are refused."""

    def __init__(self, workers: int) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="password")
        self._places = workers * (1 + _WAITING_PER_WORKER)
        self._nobodys_hash: str | None = None

    async def hash(self, password: str) -> str:
        return await self._run(lambda: hash_password(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether they go together; as much work when there is no hash (no such account) as when there is one."""
        return await self._run(lambda: self._verify(password_hash, password))

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _verify(self, password_hash: str | None, password: str) -> bool:
        if self._nobodys_hash is None:
            self._nobodys_hash = hash_password(new_password())
        matches = verify_password(password_hash or self._nobodys_hash, password)
        return matches and password_hash is not None

    async def _run(self, work: Callable[[], T]) -> T:
        if self._places <= 0:
            raise Overloaded("Too many logins at this moment.", retry_after_s=1)
        self._places -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._places += 1
