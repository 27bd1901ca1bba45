"""``mongars backup`` and ``mongars restore``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError, Exit
from cli.interrupting import signals_interrupt
from cli.listing import show
from cli.options import JsonOption, StateOption, answer, chosen_installation, line
from cli.progress import Progress
from cli.settings import get_settings

if TYPE_CHECKING:
    from cli.backups.making import Made
    from cli.backups.recovery_key import RecoveryKey
    from libs.shared.contracts.backups import Backup

app = typer.Typer(
    help="Make encrypted backups while everything runs, check and schedule them. Without a command: create.",
    invoke_without_command=True,
)
ToOption = Annotated[
    Path | None,
    typer.Option(
        "--to",
        metavar="DIR|FILE",
        help="A folder, or a file that ends with .backup; without it the schedule's folder.",
        show_default=False,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--recovery-key-file",
        metavar="FILE",
        help="A file with the recovery key; - reads it from standard input. Without it you are asked.",
        show_default=False,
    ),
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")]


@app.callback()
def backup(context: typer.Context, to: ToOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Make a backup (the same as: mongars backup create)."""
    if context.invoked_subcommand is None:
        create(to, state, as_json)


@app.command("create")
def create(to: ToOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Make a backup now, while everything runs.

    It prints the cut: every turn that was answered before that moment is in the backup. Opening it needs the recovery
    key; making it doesn't.
    """
    from cli.backups import making, records

    installation = chosen_installation(state)
    schedule = records.schedule_of(installation.folder) if to is None else None
    target = to or (Path(schedule.to) if schedule else None)
    if target is None:
        raise CommandError("where should the backup go?", "name a folder on another disk: --to DIR", code=Exit.USAGE)
    with signals_interrupt():
        _tell(making.make(installation, target, Progress(quiet=as_json)), as_json)


@app.command("scheduled", hidden=True)
def scheduled(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Make the scheduled backup now, and delete those that the schedule doesn't keep. The caretaker calls it."""
    from cli.backups import keeping

    with signals_interrupt():
        _tell(keeping.scheduled(chosen_installation(state), Progress(quiet=as_json)), as_json)


@app.command("carry", hidden=True)
def carry(state: StateOption = None, as_json: JsonOption = False) -> None:
    """Copy the journal of forgettings beside the backups. The caretaker calls it."""
    from cli.backups import keeping

    folders = keeping.carry(chosen_installation(state).folder)
    if as_json:
        answer({"folders": folders})


@app.command("list")
def list_backups(
    state: StateOption = None,
    every: Annotated[bool, typer.Option("--all", metavar="", help="Also those that failed or are deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the backups that this installation made, newest first, and whether their files are there."""
    from cli.backups import keeping

    found = [b for b in keeping.listed(chosen_installation(state).folder) if every or b.state in ("making", "kept")]
    if as_json:
        answer([_row(backup) for backup in found])
        return
    show(
        ("id", "cut", "state", "MiB", "file"),
        [(b.backup_id[:8], _time(b.cut_at), _state(b), f"{b.size_bytes / 2**20:.1f}", b.place) for b in found],
        nothing="no backup was made yet; make one with: mongars backup create --to DIR",
    )


@app.command("verify")
def verify(file: FileArgument, key_file: KeyFileOption = None, as_json: JsonOption = False) -> None:
    """Read a whole backup and say whether it is as it was made; nothing is written.

    Without the recovery key (an empty answer) only the file's frame and checksum are looked at: decay is found, not an
    alteration by somebody who means it. Exit code 5: it is damaged.
    """
    from cli.backups import checking

    key = _recovery_key(key_file, needed=False)
    if key is None:
        told = checking.outer(file)
        said: dict[str, Any] = {"checked": "frame and checksum alone, without the recovery key", **told}
        words = (
            f"The frame and the checksum of {file} fit. What is in it was not looked at: that needs the recovery key."
        )
    else:
        about, account = checking.opened(file, key)
        cut = about.backup
        said = {
            "checked": "everything",
            "backup_id": cut.backup_id,
            "product_version": about.product_version,
            "schema_revision": about.schema_revision,
            "cut": {"at": cut.cut_at, "epoch": cut.cut.epoch, "sequence": cut.cut.sequence},
            "counts": about.counts,
            "keys": about.keys,
            "adapters": about.adapters,
            "adapter_bytes": about.adapter_bytes,
            "members": [member.model_dump() for member in account.members],
        }
        words = (
            f"{file} is whole: {about.counts.get('turns', 0)} turns up to {_time(cut.cut_at)}, "
            f"made by monGARS {about.product_version}."
        )
    if as_json:
        answer(said)
    else:
        line(words)


@app.command("schedule")
def schedule(
    daily: Annotated[
        str | None, typer.Option("--daily", metavar="HH:MM", help="When, by this machine's clock.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The folder, best on another disk.")] = None,
    keep_daily: Annotated[int, typer.Option("--keep-daily", metavar="N", min=1, max=3660, help="Days to keep.")] = 7,
    keep_weekly: Annotated[int, typer.Option("--keep-weekly", metavar="N", min=0, max=520, help="Weeks to keep.")] = 4,
    off: Annotated[bool, typer.Option("--off", metavar="", help="No backups by themselves any more.")] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a backup made every day, and old ones deleted; without options: show what is set.

    Of the last N days and weeks with a backup the newest each is kept. The newest is never deleted, nor one that you
    made by hand. What was missed while the installation was off is made at its next start.
    """
    from cli.backups import records

    folder = chosen_installation(state).folder
    if off:
        records.set_schedule(folder, None)
    elif daily is not None or to is not None:
        before = records.schedule_of(folder)
        records.set_schedule(folder, _schedule(before, daily, to, keep_daily, keep_weekly))
    now, last = records.schedule_of(folder), records.last_of(folder)
    if as_json:
        answer({"schedule": now and now.model_dump(), "last": last.model_dump()})
        return
    if now is None:
        line("No backups are scheduled.")
    else:
        line(f"Every day at {now.daily} to {now.to}; kept: {now.keep_daily} days, {now.keep_weekly} weeks.")
    for told in last_lines(last):
        line(told)


@app.command("recovery-key")
def recovery_key(
    replace: Annotated[
        bool, typer.Option("--replace", metavar="", help="Make another; older backups still need the older key.")
    ] = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the recovery key of an installation that has none, and show it: this once and never again.

    Backups are sealed to it, and only it opens them. The installation keeps the half that seals. Write it down and
    keep it elsewhere: without it no backup can be restored.
    """
    from cli.backups import recovery_key as keys

    folder = chosen_installation(state).folder
    if keys.kept(folder) is not None and not replace:
        raise CommandError(
            "this installation has a recovery key; it was shown when it was made, and isn't kept here",
            "if it is lost, make another for the backups to come: mongars backup recovery-key --replace",
            code=Exit.REFUSED,
        )
    made = keys.RecoveryKey.new()
    if as_json:
        answer({"recovery_key": made.words, "name": made.seal.name})
    else:
        line(
            f"{made.words}\n\nWrite it down and keep it elsewhere. It is shown only now, and only it opens the backups."
        )
    keys.keep(folder, made.seal)  # only now: what was never shown must not seal anything


def restore(
    file: FileArgument,
    state: Annotated[
        Path, typer.Option("--state", metavar="NEWDIR", help="An empty folder, in which the installation is made.")
    ],
    key_file: KeyFileOption = None,
    forgettings: Annotated[
        list[Path] | None,
        typer.Option(
            "--forgettings",
            metavar="FILE|DIR",
            help="A newer journal of forgettings than the one that lies beside the backup; may be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an installation of a backup in an empty folder; it isn't started.

    The whole backup is checked first: of a damaged one nothing is written. A backup of an older version is brought to
    this one. What was forgotten after the backup, as the journals beside it know, is forgotten before anything is
    served. With MONGARS_DATABASE_URL set the data goes into that empty database.
    """
    from cli.backups import restoring
    from cli.database import choice
    from cli.installation import state_folder

    settings = get_settings()
    key = _recovery_key(key_file, needed=True)
    assert key is not None
    wanted = restoring.Wanted(
        file=file.expanduser().resolve(),
        folder=state_folder(state),
        key=key,
        environment=settings.environment,
        journals=restoring.journals_of(forgettings or ()),
        external=choice.chosen(settings.database_url),
    )
    with signals_interrupt():
        restored = restoring.restore(wanted, Progress(quiet=as_json))
    if as_json:
        answer(restored.as_json())
        return
    found = restored.found
    line(
        f"Restored: {found['turns']} turns of {found['users']} accounts up to {_time(restored.about.backup.cut_at)}; "
        f"{found['forgettings_replayed']} forgettings that came later were replayed."
    )
    if found["ledger_broken_at"] is not None:
        line(
            f"The ledger of settings does not fit from entry {found['ledger_broken_at']} on, as when it was backed up."
        )
    if restored.about.adapters:
        line(f"{restored.about.adapters} adapters come into the store at the first start.")
    if found["runs_ended"]:
        line(f"{found['runs_ended']} training runs that had not ended are failed now: ask for them again.")
    line(f"Start it with: mongars up --state {restored.installation.folder.root}")


def last_lines(last: Any) -> list[str]:
    """How the last backup went, for people."""
    told = []
    if last.success is not None:
        told.append(f"last whole: {_time(last.success.at)}, {last.success.place}")
    if last.failing:
        told.append(f"failed since: {_time(last.failure.at)}, {last.failure.problem}")
    return told or ["none was made yet"]


def _recovery_key(file: Path | None, *, needed: bool) -> RecoveryKey | None:
    from cli.backups.recovery_key import RecoveryKey

    if file is not None:
        try:
            text = sys.stdin.read() if str(file) == "-" else file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} can't be read: {error}", code=Exit.USAGE) from None
        return RecoveryKey.read(text)
    if sys.stdin.isatty():
        import getpass

        if typed := getpass.getpass("Recovery key (MGR1-…): " if needed else "Recovery key (empty: without it): "):
            return RecoveryKey.read(typed)
    if needed:
        raise CommandError("this needs the recovery key", "give it with --recovery-key-file FILE", code=Exit.USAGE)
    return None


def _schedule(before: Any, daily: str | None, to: Path | None, keep_daily: int, keep_weekly: int) -> Any:
    from pydantic import ValidationError

    from cli.backups.records import Schedule

    if to is None and before is None:
        raise CommandError("where should the backups go?", "name a folder: --to DIR", code=Exit.USAGE)
    try:
        return Schedule(
            daily=daily or (before.daily if before else "03:00"),
            to=str(to.expanduser().resolve()) if to else before.to,
            keep_daily=keep_daily,
            keep_weekly=keep_weekly,
            since=datetime.now(UTC),
        )
    except ValidationError:
        raise CommandError(f"{daily} is no time of day", "write it so: --daily 03:00", code=Exit.USAGE) from None


def _tell(made: Made, as_json: bool) -> None:
    if as_json:
        answer(made.as_json())
        return
    size, position = made.backup.size_bytes / 2**20, made.cut.position
    line(
        f"{made.backup.place} ({size:.1f} MiB, {made.took_s:.1f} s)\n"
        f"Cut: {made.cut.at.isoformat(timespec='milliseconds')} (stream {position.epoch}, {position.sequence}). "
        "Every turn that was answered before is in it."
    )
    if made.adapters:
        line(f"Adapters: {len(made.adapters)}, {made.adapter_bytes / 2**20:.1f} MiB of it.")


def _row(backup: Backup) -> dict[str, Any]:
    return backup.model_dump(mode="json") | {"present": Path(backup.place).is_file()}


def _state(backup: Backup) -> str:
    return backup.state if backup.state != "kept" or Path(backup.place).is_file() else "file not there"


def _time(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")
