"""What the api is made of, built once from settings and bus and passed to whoever needs it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Self

from libs.shared.bus.base import Bus
from libs.shared.contracts.accounts import ACCOUNT_CHANGED
from libs.shared.contracts.sessions import LIMITS
from libs.shared.disk_room import DiskRoom
from libs.shared.errors import ServiceError
from libs.shared.telemetry import get_logger
from services.api.accounts import Accounts
from services.api.gate import Gate
from services.api.live.telling import Live
from services.api.lockout import Lockout, Patience
from services.api.logins import Logins
from services.api.passwords import Passwords
from services.api.preemption import Preemption
from services.api.rate_limits import RateLimits
from services.api.readiness import Readiness
from services.api.revocations import Revocations
from services.api.settings import ApiSettings
from services.api.tokens import TokenSigner

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that routes use. ``clock`` tells seconds since the epoch."""

    settings: ApiSettings
    bus: Bus
    clock: Callable[[], float]
    accounts: Accounts
    revocations: Revocations
    limits: RateLimits
    passwords: Passwords
    logins: Logins
    gate: Gate
    readiness: Readiness
    preemption: Preemption
    live: Live
    archives: asyncio.Semaphore
    """How many archives may be imported at the same time."""
    importers: set[str] = field(default_factory=set)
    """Users whose archive is being imported: one of each."""

    @classmethod
    def build(
        cls,
        settings: ApiSettings,
        bus: Bus,
        signing_key: bytes,
        clock: Callable[[], float] = time,
        steady: Callable[[], float] = monotonic,
    ) -> Self:
        limits_bucket = bus.bucket(LIMITS)
        fresh_s = settings.credential_cache_s
        accounts = Accounts(bus, fresh_s=fresh_s, grace_s=settings.credential_grace_s, clock=clock, steady=steady)
        revocations = Revocations(limits_bucket, fresh_s=fresh_s, clock=clock, steady=steady)
        tokens = TokenSigner(signing_key, lifetime_s=settings.access_token_s, clock=clock)
        limits = RateLimits(
            requests_per_minute=settings.rate_limit_per_minute,
            tokens_per_minute=settings.rate_limit_tokens_per_minute,
            clock=clock,
        )
        passwords = Passwords(settings.password_workers)
        lockout = Lockout(
            limits_bucket,
            secret=signing_key,
            patience=Patience(settings.login_failures, settings.login_delay_s, settings.login_delay_max_s),
            clock=clock,
        )
        logins = Logins(
            bus,
            passwords=passwords,
            lockout=lockout,
            tokens=tokens,
            revocations=revocations,
            accounts=accounts,
            refresh_lifetime_s=settings.refresh_token_s,
            clock=clock,
        )
        gate = Gate(accounts=accounts, tokens=tokens, revocations=revocations, limits=limits, clock=clock)
        return cls(
            settings=settings,
            bus=bus,
            clock=clock,
            accounts=accounts,
            revocations=revocations,
            limits=limits,
            passwords=passwords,
            logins=logins,
            gate=gate,
            readiness=Readiness(bus),
            preemption=Preemption(bus, steady),
            live=Live(bus, most=settings.event_streams, boot=secrets.token_hex(4)),
            archives=asyncio.Semaphore(settings.archives_at_once),
        )

    async def start(self) -> None:
        """Hears of changed accounts and ended sessions, and takes over the limits as they were."""
        await self.bus.subscribe(ACCOUNT_CHANGED, self.accounts.forget)
        await self.revocations.start()
        await self.live.start()
        await self.limits.load(self.bus.bucket(LIMITS))

    async def save_limits(self) -> None:
        """Saves the rate limits every few seconds, until cancelled."""
        bucket = self.bus.bucket(LIMITS)
        room = DiskRoom(self.settings.folder.root, self.settings.disk_reserve_mib)
        while True:
            await asyncio.sleep(self.settings.rate_limit_flush_s)
            if room.short():  # not worth a broker whose disk is full
                continue
            try:
                await self.limits.save(bucket)
            except ServiceError as error:
                log.warning("rate_limits_unsaved", code=error.code)

    async def stop(self) -> None:
        """Saves what a restart should know. The bus must still be there."""
        try:
            await self.limits.save(self.bus.bucket(LIMITS))
        except ServiceError as error:
            log.warning("rate_limits_unsaved", code=error.code)
        self.passwords.close()
