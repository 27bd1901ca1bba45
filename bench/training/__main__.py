"""What training is worth, and what it costs: `python -m bench.training ablation|speed|accelerator`.

``ablation`` pretrains a small decoder on plain text, then measures the recipe's stages on the STS benchmark. ``speed``
runs the product's loop beside the published recipe by Hugging Face's ``Trainer`` and peft, on the processor.
``accelerator`` does the same at the shape of a 7 B model with random weights; it needs a GPU with 80 GB.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from statistics import fmean, median
from typing import Any

from bench.report import Aim, finish, table
from bench.training.data import documents, pairs

LIFT_AIM = 10.0
CPU_AIM = 1.3
GPU_AIMS = {"published": 2.0, "tuned": 1.3}
MFU_AIM = 0.5
APART_AIM = 0.01


def run_ablation(args: argparse.Namespace) -> tuple[list[Aim], dict[str, Any]]:
    """The table of stages."""
    from bench.training.picture import picture
    from bench.training.seeds import chosen, measure_all, rows

    recipe = chosen(args.shape, args.mntp, args.simcse)
    splits = {path.stem: pairs(path) for path in args.sts}
    seeds = range(1 if args.quick else args.seeds)
    found = measure_all(documents(args.text), splits, recipe, seeds, args.cache, args.processes)
    columns = ("stage", *splits, *(f"{split}, whitened" for split in splits), "mean cosine", "processor s")
    print(
        "\nSpearman x 100, mean ± standard deviation of the seeds\n" + table(columns, list(rows(found, list(splits))))
    )
    bits = fmean(one.bits_per_byte for one in found)
    losses = {name: fmean(one.losses[name] for one in found) for name in found[0].losses}
    print(f"decoder: {bits:.3f} bits a byte of unread text; last losses: {losses}")
    if args.picture is not None:
        args.picture.write_text(picture(found, list(splits)))
    figures = {"recipe": recipe.model_dump(), "seeds": [one.model_dump() for one in found]}
    lifts = {split: fmean(one.lift(split) for one in found) for split in splits}
    aims = [
        Aim(f"MNTP and SimCSE over causal on {split}", lift, LIFT_AIM, "points", at_least=True)
        for split, lift in lifts.items()
    ]
    return aims, figures | {"lifts": lifts}


def run_speed(args: argparse.Namespace) -> tuple[list[Aim], dict[str, Any]]:
    """The table of ways, on the processor or the GPU."""
    from bench.training import speed

    case = speed.SMALL
    if args.command == "accelerator":
        case = speed.REHEARSAL if args.rehearsal else speed.SEVEN_B
    on_gpu = case.device == "cuda"
    names = [speed.OURS, *speed.PEERS, *([speed.COMPILED] if args.compiled else [])]
    with tempfile.TemporaryDirectory() as folder:
        found = speed.compare(case, Path(folder), 1 if args.quick else 3, names=names)
    middles = {peer: found.middle(peer) for peer in names[1:]}
    rows = [
        (name, median(pace.clock for pace in paces), *(f"{ratio:.2f}" for ratio in middles.get(name, ())))
        for name, paces in found.paces.items()
    ]
    columns = ("loop", "tokens/s", "ours over it", "by processor time", "processor s to warm up")
    shown = [(*row, *("—" * (len(columns) - 1 - len(row))), f"{median(found.warm_s[str(row[0])]):.0f}") for row in rows]
    print("\n" + table(columns, shown))
    wanted = {} if args.rehearsal else GPU_AIMS if on_gpu else {speed.PUBLISHED: CPU_AIM}
    # One thread's processor time is the same beside other work; the clock isn't. A GPU has only the clock.
    held = {peer: ratio.clock if on_gpu else ratio.processor for peer, ratio in middles.items()}
    aims = [Aim(f"over {peer}", held[peer], aim, "times", at_least=True) for peer, aim in wanted.items()]
    aims += [Aim(f"loss beside {peer}", apart, APART_AIM) for peer, apart in found.apart.items()]
    if on_gpu:
        aims.append(Aim("MFU", found.mfu, MFU_AIM, at_least=True))
    figures = {
        "tokens_per_s": {name: [pace.clock for pace in paces] for name, paces in found.paces.items()},
        "tokens_per_processor_s": {name: [pace.processor for pace in paces] for name, paces in found.paces.items()},
        "ratios": {peer: ratio._asdict() for peer, ratio in middles.items()},
        "losses": found.losses,
        "loss_apart": found.apart,
        "mfu": found.mfu,
        "warm_processor_s": found.warm_s,
        "case": case.model_dump(),
    }
    return aims, figures


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ablation = commands.add_parser("ablation", help="what each stage adds, on the STS benchmark")
    ablation.add_argument("--text", type=Path, nargs="+", required=True, help="WikiText files to train on")
    ablation.add_argument(
        "--sts", type=Path, nargs="+", required=True, help="splits of the STS benchmark, such as sts-dev.csv"
    )
    ablation.add_argument("--cache", type=Path, help="folder that keeps pretrained decoders for the next run")
    ablation.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    ablation.add_argument("--processes", type=int, default=1, help="seeds at once, of one thread each (default: 1)")
    ablation.add_argument("--picture", type=Path, help="where to draw the stages, as SVG")
    for part, example in (("shape", "layers=6"), ("mntp", "steps=200"), ("simcse", "batch=256")):
        ablation.add_argument(f"--{part}", nargs="+", default=[], metavar="NAME=VALUE", help=f"such as {example}")
    speed = commands.add_parser("speed", help="tokens a second on the processor beside the published recipe")
    gpu = commands.add_parser("accelerator", help="the same at the shape of a 7 B model, on a GPU")
    speed.add_argument(
        "--compiled", action="store_true", help="our loop through torch.compile too; it needs a C++ compiler"
    )
    speed.set_defaults(rehearsal=False)
    gpu.set_defaults(compiled=False)
    gpu.add_argument("--rehearsal", action="store_true", help="every step of it, tiny and on the processor")
    for command in (ablation, speed, gpu):
        command.add_argument("--quick", action="store_true", help="one seed, or one round")
        command.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    if args.command == "accelerator" and not args.rehearsal and not gpu_is_there():
        parser.error("torch sees no GPU; --rehearsal goes through the same steps without one")
    return args


def gpu_is_there() -> bool:
    """Whether torch can compute on one."""
    import torch

    return torch.cuda.is_available()


def main() -> None:
    args = parsed()
    # Libraries warn of what they will rename; the report is the table.
    warnings.simplefilter("ignore", FutureWarning)
    if args.command == "ablation":
        aims, figures = run_ablation(args)
    else:
        aims, figures = run_speed(args)
    finish(aims, figures, args.json)


if __name__ == "__main__":
    main()
