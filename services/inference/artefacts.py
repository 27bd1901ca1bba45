"""Which of the installation's artefacts this node should hold: what to fetch, what to let go, what is refused. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from libs.shared.artefacts.encoders import check_encoder
from libs.shared.artefacts.manifests import check_base, verified
from libs.shared.contracts.adapters import Adapters, BaseModelOf, KeptAdapter, Manifest, SignedManifest
from libs.shared.errors import ArtefactClash, ServiceError


@dataclass(frozen=True)
class Wanted:
    """One to be fetched."""

    manifest: Manifest
    signed: SignedManifest

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.manifest.files)


@dataclass(frozen=True)
class Errands:
    """What there is to do."""

    fetch: tuple[Wanted, ...] = ()
    """Those in service first, then the newest."""
    remove: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    """Name → code."""


def errands(told: Adapters, here: Mapping[str, str | None], bases: Mapping[str, BaseModelOf]) -> Errands:
    """Of adapters. ``here``: the folders that there are, each with the manifest that it was fetched by (None: somebody
    put it there by hand); ``bases``: the models of this node that take adapters, by name."""

    def of_use(manifest: Manifest) -> bool:
        if manifest.kind != "adapter" or manifest.base.name not in bases:
            return False
        check_base(manifest, bases[manifest.base.name])
        return True

    return _errands(told, here, of_use)


def encoder_errands(told: Adapters, here: Mapping[str, str | None]) -> Errands:
    """Of encoders: every node embeds with them, whatever models it serves."""

    def of_use(manifest: Manifest) -> bool:
        if manifest.kind != "encoder":
            return False
        check_encoder(manifest)
        return True

    return _errands(told, here, of_use)


def _errands(told: Adapters, here: Mapping[str, str | None], of_use: Callable[[Manifest], bool]) -> Errands:
    refused: dict[str, str] = {}
    keep: set[str] = set()
    fetch: list[tuple[KeptAdapter, Wanted]] = []
    for kept in told.adapters:
        try:
            manifest = verified(kept.signed, told.key)
            if not of_use(manifest):
                keep.add(kept.name)  # not here, or no longer, and no fault
                continue
            if kept.name in here and here[kept.name] is None:
                raise ArtefactClash(f"a folder {kept.name} was put there by hand: give that another name")
        except ServiceError as error:
            refused[kept.name] = error.code
            continue
        if here.get(kept.name) == kept.signed.body:
            keep.add(kept.name)
        else:
            fetch.append((kept, Wanted(manifest, kept.signed)))
    fetch.sort(key=lambda one: (not one[0].in_service, -one[1].manifest.created.timestamp()))
    gone = (name for name, body in here.items() if body is not None and name not in keep)
    return Errands(tuple(wanted for _, wanted in fetch), tuple(sorted(gone)), refused)
