"""The administrator's account: made at the first start, its one-time password shown once."""

from __future__ import annotations

import asyncio
import uuid

from cli.bus import as_command
from cli.installation import Installation, write_marker
from libs.shared.contracts.accounts import CHANGE_USER, CREATE_USER, READ_USER, ChangeUser, CreateUser, UserRef
from libs.shared.contracts.common import Role
from libs.shared.credentials import hash_password, new_password
from libs.shared.errors import UserNotFound

ADMIN_NAME = "admin"


def one_time_password(installation: Installation) -> str | None:
    """A password that must be changed at the first login; None once one was announced."""
    if installation.marker.admin_announced:
        return None
    password = new_password()
    asyncio.run(_give(installation, hash_password(password)))
    return password


def announced(installation: Installation) -> None:
    """Remembers that the password was shown: a start that was killed before this makes another."""
    write_marker(installation.folder, installation.marker.model_copy(update={"admin_announced": True}))


async def _give(installation: Installation, password_hash: str) -> None:
    async with as_command(installation) as bus:
        try:
            admin = await bus.request(READ_USER, UserRef(name=ADMIN_NAME))
        except UserNotFound:
            await bus.request(
                CREATE_USER,
                CreateUser(
                    user_id=uuid.uuid4().hex,
                    name=ADMIN_NAME,
                    role=Role.ADMIN,
                    password_hash=password_hash,
                    must_change_password=True,
                ),
            )
        else:
            change = ChangeUser(user_id=admin.user_id, password_hash=password_hash, must_change_password=True)
            await bus.request(CHANGE_USER, change)
