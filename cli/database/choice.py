"""Which database an installation keeps its data in: chosen when it is made, and kept."""

from __future__ import annotations

from cli.database.external import VARIABLE, Address, parse
from cli.database.inspection import inspect
from cli.errors import CommandError, Exit
from cli.installation import Installation
from libs.shared.durable import write_private


def chosen(url: str | None) -> Address | None:
    """What ``MONGARS_DATABASE_URL`` names. Raises CommandError when it is no address."""
    return parse(url) if url else None


def keep(installation: Installation, address: Address | None) -> None:
    """Raises CommandError when ``address`` is not the database that was chosen; a new password for it is kept."""
    if address is None:
        return
    at = installation.marker.database
    if at is None:
        raise CommandError(
            f"the installation in {installation.folder.root} keeps its data in a PostgreSQL of its own, "
            f"and {VARIABLE} names another",
            f"unset {VARIABLE}, or make another installation with --state DIR",
            code=Exit.REFUSED,
        )
    if at != address.url:
        raise CommandError(
            f"the installation in {installation.folder.root} keeps its data in {at}, "
            f"and {VARIABLE} names {address.url}",
            f"unset {VARIABLE}; where the same database has moved, write that into {installation.folder.marker}",
            code=Exit.REFUSED,
        )
    if address.password is not None and address.password != kept_password(installation):
        write_private(installation.folder.database_password, address.password.encode())


def look(installation: Installation, *, patience_s: float) -> None:
    """Raises CommandError when the installation's external database can't be used."""
    assert installation.marker.database is not None
    inspect(Address(installation.marker.database, kept_password(installation)), new=False, patience_s=patience_s)


def kept_password(installation: Installation) -> str | None:
    """None: the server asks for none, or PostgreSQL's own ways (``PGPASSWORD``, ``~/.pgpass``) hold it."""
    try:
        return installation.folder.database_password.read_text()
    except FileNotFoundError:
        return None
