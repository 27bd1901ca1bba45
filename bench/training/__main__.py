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
from statistics import fmean, median, stdev
from typing import Any

from bench.report import Aim, finish, table
from bench.training.data import documents, pairs, sentences
from bench.training.decoder import Shape

LIFT_AIM = 10.0
CPU_AIM = 1.3
GPU_AIMS = {"published": 2.0, "tuned": 1.3}
MFU_AIM = 0.5
APART_AIM = 0.01


def run_ablation(args: argparse.Namespace) -> tuple[list[Aim], dict[str, Any]]:
    """The table of stages."""
    from bench.training.ablation import STAGES, ablation, recipe

    texts = documents(args.text)
    shape = Shape()
    seeds = range(1 if args.quick else 3)
    found: dict[str, list[float]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory() as runs:
        for seed in seeds:
            print(f"seed {seed}", flush=True)
            chosen = recipe(seed, steps=args.mntp_steps, contrast_steps=args.simcse_steps, shape=shape)
            one = ablation(
                texts,
                sentences(texts),
                pairs(args.sts),
                shape=shape,
                chosen=chosen,
                cache=args.cache,
                runs=Path(runs),
            )
            for stage, value in one.items():
                found[stage].append(value)
                print(f"  {stage}: {value:.1f}", flush=True)
    rows = [(stage, fmean(values), stdev(values) if len(values) > 1 else "—") for stage, values in found.items()]
    print("\n" + table(("stage", "Spearman x 100", "standard deviation"), rows))
    lift = fmean(found[STAGES[-1]]) - fmean(found[STAGES[0]])
    figures = {"stages": found, "seeds": len(seeds), "shape": shape.model_dump(), "split": args.sts.name}
    return [Aim("MNTP and SimCSE over causal", lift, LIFT_AIM, "points", at_least=True)], figures


def run_speed(args: argparse.Namespace) -> tuple[list[Aim], dict[str, Any]]:
    """The table of ways, on the processor or the GPU."""
    from bench.training import speed

    on_gpu = args.command == "accelerator"
    case = speed.SEVEN_B if on_gpu else speed.SMALL
    with tempfile.TemporaryDirectory() as folder:
        found = speed.compare(case, Path(folder), 1 if args.quick else 3)
    middles = {peer: found.middle(peer) for peer in speed.PEERS}
    rows = [
        (name, median(pace.clock for pace in paces), *(f"{ratio:.2f}" for ratio in middles.get(name, ())))
        for name, paces in found.paces.items()
    ]
    columns = ("loop", "tokens/s", "ours over it", "by processor time")
    print("\n" + table(columns, [(*row, *("—" * (len(columns) - len(row)))) for row in rows]))
    wanted = GPU_AIMS if on_gpu else {speed.PUBLISHED: CPU_AIM}
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
        "case": case.model_dump(),
    }
    return aims, figures


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ablation = commands.add_parser("ablation", help="what each stage adds, on the STS benchmark")
    ablation.add_argument("--text", type=Path, nargs="+", required=True, help="WikiText files to train on")
    ablation.add_argument("--sts", type=Path, required=True, help="a split of the STS benchmark, such as sts-dev.csv")
    ablation.add_argument("--cache", type=Path, required=True, help="folder for pretrained decoders")
    ablation.add_argument("--mntp-steps", type=int, default=400)
    ablation.add_argument("--simcse-steps", type=int, default=60)
    speed = commands.add_parser("speed", help="tokens a second on the processor beside the published recipe")
    gpu = commands.add_parser("accelerator", help="the same at the shape of a 7 B model, on a GPU")
    for command in (ablation, speed, gpu):
        command.add_argument("--quick", action="store_true", help="one seed, or one round")
        command.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


def main() -> None:
    args = parsed()
    # Libraries warn of what they will rename; the report is the table.
    warnings.simplefilter("ignore", FutureWarning)
    if args.command == "ablation":
        args.cache.mkdir(parents=True, exist_ok=True)
        aims, figures = run_ablation(args)
    else:
        aims, figures = run_speed(args)
    finish(aims, figures, args.json)


if __name__ == "__main__":
    main()
