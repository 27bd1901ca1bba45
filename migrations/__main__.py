"""``python -m migrations upgrade|check|revision``: the chain from the command line."""

from __future__ import annotations

import argparse

from migrations.run import check, upgrade, write_revision
from services.persistence.settings import get_settings


def main() -> None:
    """Works on the database of the state folder, or of ``MONGARS_DATABASE_URL``."""
    parser = argparse.ArgumentParser(prog="python -m migrations")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("upgrade", help="migrate to today's schema")
    verbs.add_parser("check", help="fail when the tables differ from the migrations")
    revision = verbs.add_parser("revision", help="write a migration from the difference")
    revision.add_argument("id")
    revision.add_argument("message")
    arguments = parser.parse_args()
    url = get_settings().database_address()
    if arguments.verb == "upgrade":
        upgrade(url)
    elif arguments.verb == "check":
        check(url)
    else:
        write_revision(url, arguments.message, arguments.id)


if __name__ == "__main__":
    main()
