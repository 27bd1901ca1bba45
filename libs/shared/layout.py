"""Where everything of one installation lies in its state folder; every path is derived here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FORMAT_VERSION = 1
"""Rises when a newer release could not be read by an older one."""


@dataclass(frozen=True)
class StateFolder:
    """Paths below ``root``; nothing here touches the disk. Folders are 0700 and files 0600 unless said."""

    root: Path

    @property
    def marker(self) -> Path:
        """JSON: format version, installation id, product version, ports."""
        return self.root / "installation.json"

    @property
    def caretaker(self) -> Path:
        """JSON: how each periodic duty last went."""
        return self.root / "caretaker.json"

    @property
    def alerts(self) -> Path:
        """JSON: the addresses that alerts are sent to."""
        return self.root / "alerts.json"

    @property
    def alerts_state(self) -> Path:
        """JSON: what was alerted of, and what is still to be sent."""
        return self.root / "alerts-state.json"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def installation_key(self) -> Path:
        """32 raw bytes that seal the users' keys."""
        return self.keys / "installation.key"

    @property
    def token_key(self) -> Path:
        """32 raw bytes that sign access tokens."""
        return self.keys / "tokens.key"

    @property
    def database_password(self) -> Path:
        """Of the application role; URL-safe text."""
        return self.keys / "database.password"

    @property
    def tls_authority(self) -> Path:
        """PEM, public: what other machines may trust."""
        return self.keys / "tls" / "authority.pem"

    @property
    def tls_authority_key(self) -> Path:
        return self.keys / "tls" / "authority.key"

    @property
    def tls_certificate(self) -> Path:
        """PEM with its chain: what the gateway shows on the network."""
        return self.keys / "tls" / "gateway.pem"

    @property
    def tls_key(self) -> Path:
        return self.keys / "tls" / "gateway.key"

    @property
    def nodes_authority(self) -> Path:
        """PEM, public: what joined machines pin; on such a machine, its installation's."""
        return self.keys / "tls" / "nodes-authority.pem"

    @property
    def nodes_authority_key(self) -> Path:
        return self.keys / "tls" / "nodes-authority.key"

    @property
    def entrance_certificate(self) -> Path:
        """PEM with its chain: what joined machines are shown."""
        return self.keys / "tls" / "entrance.pem"

    @property
    def entrance_key(self) -> Path:
        return self.keys / "tls" / "entrance.key"

    @property
    def invitations(self) -> Path:
        """A file for each open invitation of another machine, with its secret's hash."""
        return self.root / "invitations"

    @property
    def joined_nodes(self) -> Path:
        """JSON: the machines that joined, with their public keys."""
        return self.root / "joined-nodes.json"

    def nkey(self, principal: str) -> Path:
        """The seed with which ``principal`` authenticates at the broker."""
        return self.keys / "nats" / f"{principal}.nk"

    @property
    def upstreams(self) -> Path:
        """JSON: the servers of models that were added; their keys are in ``upstream_key``."""
        return self.root / "upstreams.json"

    def upstream_key(self, name: str) -> Path:
        """With which the upstream ``name`` is asked, where it wants one."""
        return self.keys / "upstreams" / f"{name}.key"

    @property
    def broker(self) -> Path:
        """JetStream's store."""
        return self.root / "broker"

    @property
    def database(self) -> Path:
        """PGDATA; owned by the database's user."""
        return self.root / "database" / "data"

    @property
    def database_socket(self) -> Path:
        """Folder of PostgreSQL's Unix socket (0750)."""
        return self.root / "database" / "run"

    @property
    def slots(self) -> Path:
        """The data keys' slot file: beside the database, never in it."""
        return self.root / "slots" / "data-keys.slots"

    @property
    def backups(self) -> Path:
        """What is kept of backups: their list, their schedule, how the last went, the journal of forgettings."""
        return self.root / "backups"

    @property
    def backup_list(self) -> Path:
        """JSON, written by persistence alone."""
        return self.backups / "list.json"

    @property
    def forgettings(self) -> Path:
        """The journal of what was forgotten, sealed, a line each: replayed when an older backup is restored."""
        return self.backups / "forgettings.journal"

    @property
    def recovery_key(self) -> Path:
        """JSON: the public half of the recovery key, to which backups are sealed."""
        return self.keys / "recovery.json"

    @property
    def restored_adapters(self) -> Path:
        """Adapters out of a backup, until persistence has put them into the store."""
        return self.root / "restored-adapters"

    @property
    def models(self) -> Path:
        """Model files, and the embedder's built graph."""
        return self.root / "models"

    @property
    def training(self) -> Path:
        """What is trained from and what came of it, read and written by the trainer alone but for its texts."""
        return self.root / "training"

    @property
    def training_texts(self) -> Path:
        """Plain text files to train on, put there by whoever owns the folder."""
        return self.training / "texts"

    @property
    def training_runs(self) -> Path:
        """A folder for each run, named by its id."""
        return self.training / "runs"

    @property
    def sleep(self) -> Path:
        """What the optimizer knows: its cycles, the week's pattern, what other nodes tried, a folder for each phase."""
        return self.root / "sleep"

    @property
    def rates(self) -> Path:
        """JSON, a file for each model and machine: how fast it was, written by inference alone."""
        return self.root / "rates"

    @property
    def loads(self) -> Path:
        """A mark for each adapter that is being loaded, written by inference alone."""
        return self.root / "loads"

    @property
    def ray(self) -> Path:
        return self.root / "ray"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Sockets, process ids and configurations of what runs now; emptied when it is stopped."""
        return self.root / "run"

    @property
    def supervisor_socket(self) -> Path:
        """Where whoever owns the folder asks its supervisor."""
        return self.run / "supervisor.sock"
