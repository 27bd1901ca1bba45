"""LoRA adapters beside one torch model, several in memory at once; used by the thread that generates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from time import perf_counter
from typing import Any

from libs.shared.errors import AdapterBroken, AdapterMismatched, BackendFailed, ModelDoesNotFit
from libs.shared.telemetry import get_logger
from services.inference.adapters import Adapter, check_ranks, check_shapes, pairs, read_lora
from services.inference.fit import KEPT_FREE_MIB, MIB

NEWEST_WEIGHT = 0.2
COPIES = 2
"""Of an adapter's weights in memory while it is loaded: as they were read, and inside the model."""

log = get_logger(__name__)


def linear_layers(model: Any) -> dict[str, tuple[int, int]]:
    """The layers that an adapter may change, by name, each with how many values go out and in."""
    import torch

    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
    return {name: (layer.out_features, layer.in_features) for name, layer in found.items()}


def check(adapter: Adapter, layers: Mapping[str, tuple[int, int]]) -> None:
    """Reads its description and its header, no weights. Raises AdapterBroken, AdapterMismatched, BackendFailed."""
    try:
        # Seconds on a small board: here nobody waits for an answer meanwhile.
        import_module("peft")
    except ImportError as error:
        raise BackendFailed("adapters need peft installed", reason="not_installed") from error
    shapes = _shapes(adapter)
    check_shapes(adapter.name, shapes, layers)
    check_ranks(adapter.name, read_lora(adapter.path), shapes)


def _shapes(adapter: Adapter) -> dict[str, tuple[int, ...]]:
    safetensors: Any = import_module("safetensors")
    try:
        with safetensors.safe_open(adapter.path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (safetensors.SafetensorError, OSError) as error:
        raise AdapterBroken(f"{adapter.name}'s weights can't be read") from error


def _read(adapter: Adapter) -> bytes:
    """Its weights, read and not mapped: whoever shortens a mapped file ends the process that looks at it."""
    with adapter.path.open("rb") as file:
        data = file.read(adapter.size + 1)
    if len(data) != adapter.size:
        raise AdapterBroken(f"{adapter.name}'s weights are being changed")
    return data


class Residents:
    """The adapters in memory: at most ``most``, the one that was used longest ago makes room."""

    def __init__(self, model: Any, most: int, available_mib: Callable[[], float]) -> None:
        self._model = model
        self.layers = linear_layers(model)
        self._most = most
        self._available_mib = available_mib
        self._tuner: Any = None
        self._inside: dict[Adapter, str] = {}
        """Each with its name inside the model, in the order of their last use."""
        self._made = 0
        self._active: Adapter | None = None
        self.loaded: tuple[Adapter, ...] = ()
        """For other threads: replaced, never changed."""
        self.load_s: float | None = None
        """How long loading one takes, on average."""

    def use(self, adapter: Adapter | None) -> None:
        """The model answers with it, or as itself, until it is told otherwise.

        Raises ModelDoesNotFit, AdapterBroken, AdapterMismatched; the model then answers as itself.
        """
        if adapter is not None:
            self.load(adapter)
        if adapter == self._active:
            return
        if adapter is None:
            self._rest()
            return
        self._tuner.set_adapter(self._inside[adapter], inference_mode=True)
        self._tuner.enable_adapter_layers()
        self._active = adapter

    def load(self, adapter: Adapter) -> None:
        """Brings it into memory; the model goes on as it is. Raises as ``use`` does."""
        if adapter in self._inside:
            self._inside[adapter] = self._inside.pop(adapter)
            return
        import torch

        began = perf_counter()
        self.use(None)
        self._make_room(adapter)
        self._made += 1
        inside = f"adapter{self._made}"
        try:
            self._inject(adapter, inside)
        except Exception as error:
            self._leave(inside)
            if isinstance(error, AdapterMismatched | AdapterBroken):
                raise
            if isinstance(error, MemoryError | torch.OutOfMemoryError):
                raise ModelDoesNotFit(f"{adapter.name} found no room", needed_mib=round(adapter.size / MIB)) from error
            # Whatever damaged weights raise in there, it is their fault.
            raise AdapterBroken(f"{adapter.name} can't be loaded by peft") from error
        self._inside[adapter] = inside
        took = perf_counter() - began
        self.load_s = took if self.load_s is None else self.load_s + NEWEST_WEIGHT * (took - self.load_s)
        self.loaded = tuple(self._inside)
        log.info("adapter_loaded", adapter=adapter.name, seconds=round(took, 3))

    def keep(self, adapters: Collection[Adapter]) -> None:
        """All others leave the memory: their files are gone, or are others now."""
        for adapter in [one for one in self._inside if one not in adapters]:
            self._drop(adapter)

    def _make_room(self, adapter: Adapter) -> None:
        while len(self._inside) >= self._most:
            self._drop(next(iter(self._inside)))
        needed_mib = COPIES * adapter.size / MIB
        while needed_mib > (free_mib := self._available_mib() - KEPT_FREE_MIB):
            if not self._inside:
                raise ModelDoesNotFit(
                    f"{adapter.name} needs {needed_mib:.0f} MiB and {max(0.0, free_mib):.0f} MiB are free",
                    needed_mib=round(needed_mib),
                    available_mib=round(free_mib + KEPT_FREE_MIB),
                )
            self._drop(next(iter(self._inside)))

    def _drop(self, adapter: Adapter) -> None:
        if adapter == self._active:
            self.use(None)
        self._tuner.delete_adapter(self._inside.pop(adapter))
        self.loaded = tuple(self._inside)

    def _inject(self, adapter: Adapter, inside: str) -> None:
        """It lies beside the model's own weights, of no effect yet."""
        import torch

        peft: Any = import_module("peft")
        safetensors: Any = import_module("safetensors.torch")
        weights = safetensors.load(_read(adapter))
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        check_shapes(adapter.name, shapes, self.layers)
        lora, layers = read_lora(adapter.path), sorted(pairs(adapter.name, shapes), key=len, reverse=True)
        # Before peft makes room for what the configuration says.
        check_ranks(adapter.name, lora, shapes)
        config = peft.LoraConfig(
            r=lora.r,
            lora_alpha=lora.lora_alpha,
            # By their whole names: exactly those for which there are weights. The longest come first, since peft takes
            # the first that ends a layer's name.
            rank_pattern={layer: lora.rank(layer) for layer in layers} if lora.rank_pattern else {},
            alpha_pattern={layer: lora.alpha(layer) for layer in layers} if lora.alpha_pattern else {},
            use_rslora=lora.use_rslora,
            target_modules=layers,
            inference_mode=True,
        )
        if self._tuner is None:
            self._tuner = peft.LoraModel(self._model, config, inside)
        else:
            self._tuner.peft_config[inside] = config
            self._tuner.inject_adapter(self._model, inside)
        self._rest()
        with torch.no_grad():
            for layer in layers:
                module = self._model.get_submodule(layer)
                for half in "AB":
                    given = weights[f"base_model.model.{layer}.lora_{half}.weight"]
                    place = getattr(module, f"lora_{half}")[inside].weight
                    if place.shape != given.shape:
                        raise AdapterMismatched(f"{adapter.name} is of another rank than it says, at {layer}")
                    place.copy_(given)
        self._model.eval()

    def _rest(self) -> None:
        """The model answers as itself."""
        self._tuner.set_adapter([], inference_mode=True)
        self._tuner.disable_adapter_layers()
        self._active = None

    def _leave(self, inside: str) -> None:
        """What was begun of one that can't be loaded goes again."""
        if self._tuner is not None and inside in self._tuner.peft_config:
            self._rest()
            self._tuner.delete_adapter(inside)
