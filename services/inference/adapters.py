"""The LoRA adapters that lie in the models folder: what each is, whose it is, and why one can't be used."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from libs.shared.artefacts.folders import ABOUT_FILE, MANIFEST_FILE
from libs.shared.contracts.adapters import Manifest, SignedManifest
from libs.shared.errors import AdapterBroken, AdapterMismatched, ModelBroken, ServiceError
from libs.shared.gguf import WEIGHTS, read_header, read_tensors
from libs.shared.telemetry import get_logger
from services.inference.models import ADAPTERS_FOLDER, ModelSpec

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
MOST = 256
"""Further ones are not looked at."""
MOST_BYTES = 1024 * 1024
"""Of a description."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST_BASE = 400
"""Characters of the name of the model that an adapter is for."""
MOST_RANK = 4096
Format = Literal["peft", "gguf"]
FORMATS: Mapping[str, Format] = {"transformers": "peft", "llama_cpp": "gguf"}
"""Backend → what it reads."""
_OF_TRAINING = frozenset(
    {"auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "exclude_modules", "fan_in_fan_out"}
    | {
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_dropout",
        "megatron_core",
        "peft_version",
    }
    | {"qalora_group_size", "revision", "runtime_config", "target_modules", "task_type"}
)
"""Of peft's configuration, what changes nothing once the weights are there: they name their layers themselves."""
LayerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$", max_length=400)]
"""The end of a layer's name. peft takes an expression here, and one can be written that is never done matching."""

Value = TypeVar("Value")

log = get_logger(__name__)


@dataclass(frozen=True)
class Adapter:
    """One adapter in one format; it is equal to what it was as long as its files are."""

    name: str
    base: str
    """The model that it was made for, as whoever made it says."""
    format: Format
    path: Path
    """Of the weights."""
    version: tuple[tuple[str, int, int], ...]
    """Name, size and time of change of its files."""
    size: int
    """Bytes of the weights."""
    restricted: bool = False
    """Whether its manifest says whose words trained it, and so not everybody may use it."""


class About(BaseModel):
    """``adapter.json``: goes before what the weights say themselves."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base: str = Field(min_length=1, max_length=MOST_BASE)


class Lora(BaseModel):
    """What is honoured of peft's ``adapter_config.json``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    peft_type: Literal["LORA"]
    base_model_name_or_path: str | None = None
    r: int = Field(ge=1, le=MOST_RANK)
    lora_alpha: float = Field(gt=0, allow_inf_nan=False)
    rank_pattern: dict[LayerName, Annotated[int, Field(ge=1, le=MOST_RANK)]] = Field(default_factory=dict)
    alpha_pattern: dict[LayerName, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    use_rslora: bool = False
    bias: Literal["none"] = "none"
    init_lora_weights: bool | Literal["gaussian", "eva", "orthogonal"] = True
    """Other ways to begin leave the base model changed, which the weights alone don't tell."""

    def rank(self, layer: str) -> int:
        """What it says of this layer."""
        return next(_of_layer(self.rank_pattern, layer), self.r)

    def alpha(self, layer: str) -> float:
        """The strength, before it is divided by the rank."""
        return next(_of_layer(self.alpha_pattern, layer), self.lora_alpha)


def _of_layer(said: Mapping[str, Value], layer: str) -> Iterator[Value]:
    """Of what is said by the ends of layers' names, that of those which end this one's at a dot; the first counts."""
    parts = layer.split(".")
    ends = {".".join(parts[at:]) for at in range(len(parts))}
    return (value for name, value in said.items() if name in ends)


def fingerprint(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when an adapter comes, goes or is altered; reads no file. Raises OSError if the root can't be listed."""
    return tuple(entry for folder in candidates(root) for entry in _stamps_or_none(folder))


def candidates(root: Path) -> Iterator[Path]:
    """Folders that may hold an adapter, by name. What begins with a dot is still being put there."""
    if not root.is_dir():
        return
    found = sorted(path for path in root.iterdir() if not path.name.startswith(".") and path.is_dir())
    yield from found[:MOST]


def read_adapters(models: Path, wanted: Format) -> tuple[dict[str, Adapter], dict[str, str]]:
    """By name those of that format, and why others can't be read (name → code)."""
    found: dict[str, Adapter] = {}
    refused: dict[str, str] = {}
    for folder in candidates(models / ADAPTERS_FOLDER):
        try:
            if (adapter := _read(folder, wanted)) is not None:
                found[folder.name] = adapter
        except ServiceError as error:
            refused[sayable(folder.name)] = error.code
        except Exception as error:
            # Whatever is made of a folder that anybody may fill, it is the folder's fault.
            log.warning("adapter_unreadable", adapter=sayable(folder.name), exc_info=error)
            refused[sayable(folder.name)] = AdapterBroken.code
    return found, refused


def sayable(name: str) -> str:
    """A folder's name as telemetry can carry it: what is no adapter's name may hold bytes that are no text."""
    return name if NAME.fullmatch(name) else ascii(name)[1:-1][:80]


def is_for(adapter: Adapter, spec: ModelSpec) -> bool:
    """Whether it says that it was made for this model: by its name, its hub id, or the path that it was made with."""
    names = {spec.name, spec.hub, str(spec.path) if spec.path else None}
    return adapter.base in names or Path(adapter.base).name == spec.name


def read_lora(path: Path) -> Lora:
    """peft's configuration beside the weights at ``path``. Raises AdapterBroken."""
    try:
        lora = Lora.model_validate_json(_described(path.with_name(CONFIG_FILE)))
    except (OSError, ValidationError) as error:
        raise AdapterBroken(f"{path.parent.name} has no {CONFIG_FILE} of a plain LoRA adapter") from error
    asked = sorted(name for name, value in (lora.model_extra or {}).items() if value and name not in _OF_TRAINING)
    if asked:
        raise AdapterBroken(f"{path.parent.name} needs what isn't served here: {', '.join(asked)}")
    return lora


def check_shapes(name: str, shapes: Mapping[str, tuple[int, ...]], layers: Mapping[str, tuple[int, int]]) -> None:
    """``shapes``: the adapter's tensors as peft names them; ``layers``: the model's linear ones, as (out, in).

    Raises AdapterBroken for what is no LoRA, AdapterMismatched for one of another model.
    """
    if not shapes:
        raise AdapterBroken(f"{name} holds no weights")
    for layer, (down, up) in pairs(name, shapes).items():
        rank = down[0]
        if layers.get(layer) != (up[0], down[1]) or up[1] != rank:
            raise AdapterMismatched(f"{name} was made for a model of another shape, at {layer}")


def check_ranks(name: str, lora: Lora, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """peft makes room by the configuration, whatever the weights are. Raises AdapterBroken, AdapterMismatched."""
    for layer, (down, _) in pairs(name, shapes).items():
        if lora.rank(layer) != down[0]:
            raise AdapterMismatched(f"{name} is of another rank than it says, at {layer}")


def pairs(name: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
    """Layer → the shapes of its two matrices, in and out. Raises AdapterBroken."""
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for tensor, shape in shapes.items():
        matched = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", tensor)
        if matched is None or len(shape) != 2:
            raise AdapterBroken(f"{name} holds what is no LoRA of a linear layer: {tensor[:80]}")
        found.setdefault(matched[1], {})[matched[2]] = shape
    if any(len(both) != 2 for both in found.values()):
        raise AdapterBroken(f"{name} lacks half of a layer")
    return {layer: ((both["A"][0], both["A"][1]), (both["B"][0], both["B"][1])) for layer, both in found.items()}


def _read(folder: Path, wanted: Format) -> Adapter | None:
    """None: it has nothing of that format, which is no fault if it has the other."""
    path = _weights(folder, wanted)
    if path is None:
        if any(_weights(folder, other) for other in FORMATS.values()):
            return None
        raise AdapterBroken(f"{folder.name} has neither {WEIGHTS_FILE} nor one GGUF file")
    if not NAME.fullmatch(folder.name):
        raise AdapterBroken("an adapter is called by letters, digits, dots, dashes and underscores")
    if not path.name.isprintable():
        raise AdapterBroken(f"{folder.name}'s weights have a file name that is no text")
    said = _base(path, wanted)
    base = _about(folder) or said
    if not base or len(base) > MOST_BASE:
        raise AdapterMismatched(f"{folder.name} doesn't say which model it is for; write it into its {ABOUT_FILE}")
    stamps, size = tuple(_stamps(folder)), path.stat().st_size
    return Adapter(folder.name, base, wanted, path, stamps, size, _restricted(folder))


def _weights(folder: Path, wanted: Format) -> Path | None:
    if wanted == "peft":
        path = folder / WEIGHTS_FILE
        return path if path.is_file() else None
    files = [path for path in folder.glob("*.gguf") if path.is_file()]
    return files[0] if len(files) == 1 else None


def _about(folder: Path) -> str | None:
    try:
        return About.model_validate_json(_described(folder / ABOUT_FILE)).base
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise AdapterBroken(f"{folder.name}'s {ABOUT_FILE} can't be read") from error


def _restricted(folder: Path) -> bool:
    """By the manifest that it was fetched by; one that was put there by hand is everybody's."""
    try:
        signed = SignedManifest.model_validate_json(_described(folder / MANIFEST_FILE))
        return Manifest.model_validate_json(signed.body).owners is not None
    except FileNotFoundError:
        return False
    except (OSError, ValidationError) as error:
        raise AdapterBroken(f"{folder.name}'s {MANIFEST_FILE} can't be read") from error


def _base(path: Path, wanted: Format) -> str | None:
    """As the weights' own description has it."""
    if wanted == "peft":
        return read_lora(path).base_model_name_or_path
    try:
        header, tensors = read_header(path), read_tensors(path)
    except ModelBroken as error:
        raise AdapterBroken(f"{path.name} can't be read as GGUF") from error
    if header.metadata.get("adapter.type") != "lora" or path.stat().st_size < tensors.end:
        raise AdapterBroken(f"{path.name} is no LoRA adapter, or was cut short")
    if not tensors.kinds <= WEIGHTS:
        raise AdapterBroken(f"{path.name} holds numbers that no model can be multiplied with")
    base = header.metadata.get("general.base_model.0.name")
    if base is not None and not isinstance(base, str):
        raise AdapterBroken(f"{path.name} names its model by something that is no text")
    return base


def _described(path: Path) -> bytes:
    """Raises OSError, at once for a pipe, too, which nobody may ever write to."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path.name} is no regular file")
        return file.read(MOST_BYTES)


def _stamps_or_none(folder: Path) -> list[tuple[str, int, int]]:
    """A folder that can't be read hides no other one."""
    try:
        return _stamps(folder)
    except OSError:
        return [(folder.name, -1, -1)]


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    files = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    states = [(path, path.stat()) for path in files]
    return [(f"{folder.name}/{path.name}", state.st_size, state.st_mtime_ns) for path, state in states]
