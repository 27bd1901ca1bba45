"""The text of the systemd unit: what it runs, as whom, and what it may touch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

INTERRUPTED = 130
STOP_S = 200
"""Longer than the longest drain of everything that ``up`` stops in order."""
_SYSTEM_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths={state}
ProtectHome={home}
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""
_USER_HARDENING = "NoNewPrivileges=yes\n"
"""The rest needs rights that a user's own systemd doesn't have."""


@dataclass(frozen=True)
class Service:
    """What the unit is about. ``user`` None: a unit of the user who installs it."""

    state: Path
    python: Path
    code: Path
    user: str | None


def render(service: Service) -> str:
    """The unit's text. Raises ValueError for a path that a unit can't quote."""
    state = _text(service.state)
    command = f"{_text(service.python)} -m cli up --state {state}"
    as_whom = f"User={service.user}\nGroup={service.user}\n" if service.user else ""
    hardening = _SYSTEM_HARDENING.format(state=state, home=_home(service)) if service.user else _USER_HARDENING
    wanted_by = "multi-user.target" if service.user else "default.target"
    network = "Wants=network-online.target\nAfter=network-online.target\n" if service.user else ""
    return f"""\
# Written by: mongars service install
[Unit]
Description=monGARS, a private assistant
{network}
[Service]
Type=exec
{as_whom}WorkingDirectory={_text(service.code)}
ExecStart={command}
# what up ends with when it was told to end before everything ran
SuccessExitStatus={INTERRUPTED}
Restart=on-failure
RestartSec=10
# up drains and stops every part in order when it is told to end; the parts themselves are told by it alone
KillMode=mixed
TimeoutStopSec={STOP_S}
UMask=0077
{hardening}
[Install]
WantedBy={wanted_by}
"""


def _home(service: Service) -> str:
    """Homes are hidden, unless what runs lies in one."""
    needed = (service.state, service.python, service.python.resolve(), service.code)
    return (
        "read-only" if any(path.is_relative_to("/home") or path.is_relative_to("/root") for path in needed) else "yes"
    )


def _text(path: Path) -> str:
    text = str(path)
    if any(character.isspace() or character in "\"'\\$%" for character in text):
        raise ValueError(f"a systemd unit can't name {text!r}")
    return text
