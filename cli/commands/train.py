"""``mongars train``: training at home, while nobody needs the machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, Exit
from cli.options import JsonOption, StateOption, answer, chosen_installation, line

if TYPE_CHECKING:
    from cli.installation import Installation
    from libs.shared.contracts.training import StartRun, TrainingRun

app = typer.Typer(
    help="Train on this machine, while nobody needs it: each run makes way for requests, heat and power, and goes on "
    "by itself, also after a restart. docs/training.md says what is trained and how.",
    no_args_is_help=True,
)
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="As mongars train status shows it.")]
ModelOption = Annotated[
    str, typer.Option("--model", metavar="NAME", help="A Hugging Face folder in models: Llama, Mistral, Qwen, Gemma.")
]
RateOption = Annotated[float, typer.Option("--learning-rate", metavar="X", min=0, max=1, help="At the beginning.")]
CheckpointOption = Annotated[
    int, typer.Option("--checkpoint-steps", metavar="N", min=1, max=100_000, help="What a kill may cost.")
]
SeedOption = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, max=2**31 - 1, help="The same gives the same weights.")
]
DetachOption = Annotated[bool, typer.Option("--detach", metavar="", help="Ask for it, and don't wait for its end.")]


StsOption = Annotated[
    Path | None,
    typer.Option(
        "--sts",
        metavar="FILE",
        help="Pairs that people rated, to measure an encoder on: score, sentence and sentence with tabs between them, "
        "a pair a line.",
    ),
]
OtherTextOption = Annotated[
    Path | None,
    typer.Option("--text", metavar="FILE", help="A plain text that it hasn't seen and must not be worse at."),
]


@app.command("mntp")
def mntp(
    model: ModelOption,
    text: Annotated[
        Path | None,
        typer.Option("--text", metavar="FILE", help="A plain text to learn from; it is copied into the state folder."),
    ] = None,
    own: Annotated[
        bool,
        typer.Option(
            "--own",
            metavar="",
            help="Learn from what was said, too, as far as that is allowed: each whose words these are has to share "
            "(mongars consents share on), unless nobody else has an account.",
        ),
    ] = False,
    sts: StsOption = None,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, max=1_000_000, help="Of masked next-token prediction.")
    ] = 1000,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, max=4096, help="Rows a step.")] = 32,
    block_tokens: Annotated[
        int, typer.Option("--block-tokens", metavar="N", min=8, max=8192, help="Tokens of a row.")
    ] = 512,
    learning_rate: RateOption = 5e-5,
    contrast_steps: Annotated[
        int,
        typer.Option(
            "--contrast-steps", metavar="N", min=0, max=1_000_000, help="Of SimCSE after it; 0 leaves it out."
        ),
    ] = 1000,
    contrast_batch: Annotated[
        int,
        typer.Option("--contrast-batch", metavar="N", min=2, max=4096, help="Sentences that such a step tells apart."),
    ] = 128,
    sentence_tokens: Annotated[
        int, typer.Option("--sentence-tokens", metavar="N", min=4, max=8192, help="Longer sentences are cut.")
    ] = 128,
    contrast_learning_rate: Annotated[
        float, typer.Option("--contrast-learning-rate", metavar="X", min=0, max=1, help="At its beginning.")
    ] = 3e-5,
    checkpoint_steps: CheckpointOption = 100,
    seed: SeedOption = 0,
    detach: DetachOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a text encoder out of a language model (LLM2Vec): masked next-token prediction, then SimCSE.

    The defaults are the published ones. It has to be better than the model untrained, and than what embeds now, at the
    questions of conversations that may be used (mongars consents), or else at the pairs of --sts. Ctrl-C leaves the run
    going; mongars train cancel ends it. Exit code 0: it is kept, being better, or nothing could tell; then it has to be
    measured before it is used (with --detach: asked for), 1: it failed or was cancelled, 5: it can't be done here, or
    isn't better, and why.
    """
    from cli.training import asking
    from libs.shared.contracts.training import MntpOptions, RunKind, StartRun

    installation = chosen_installation(state)
    options = MntpOptions(
        steps=steps,
        batch=batch,
        block_tokens=block_tokens,
        learning_rate=learning_rate,
        contrast_steps=contrast_steps,
        contrast_batch=contrast_batch,
        sentence_tokens=sentence_tokens,
        contrast_learning_rate=contrast_learning_rate,
        checkpoint_steps=checkpoint_steps,
    )
    if text is None and not own:
        raise CommandError("there is nothing to learn from", "give --text FILE, or --own, or both", code=Exit.USAGE)
    name = asking.bring(installation.folder, text) if text is not None else None
    about: dict[str, object] = {
        "kind": RunKind.MNTP,
        "model": model,
        "text": name,
        "own": own,
        "seed": seed,
        "options": options,
    }
    about["sts"] = asking.bring(installation.folder, sts) if sts is not None else None
    _begin(installation, _wanted(StartRun, about), detach, as_json)


@app.command("adapter")
def adapter(
    model: ModelOption,
    name: Annotated[str, typer.Option("--name", metavar="ADAPTER", help="Under which it is kept and asked for.")],
    base: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="MODEL", help="The name under which the model is served, if it isn't the folder's."
        ),
    ] = None,
    owner: Annotated[
        list[str] | None,
        typer.Option("--owner", metavar="USER", help="Only this user's words; may be repeated. Else everybody's."),
    ] = None,
    rated_up: Annotated[bool, typer.Option("--rated-up", metavar="", help="Only answers that were rated up.")] = False,
    text: OtherTextOption = None,
    passes: Annotated[
        float, typer.Option("--passes", metavar="X", min=0.01, max=1000, help="So often each answer is read.")
    ] = 3.0,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, max=4096, help="Answers a step.")] = 16,
    row_tokens: Annotated[
        int, typer.Option("--row-tokens", metavar="N", min=16, max=8192, help="Longer exchanges are left out.")
    ] = 1024,
    learning_rate: RateOption = 2e-4,
    rank: Annotated[int, typer.Option("--rank", metavar="N", min=1, max=256, help="Of the adapter.")] = 16,
    checkpoint_steps: CheckpointOption = 100,
    seed: SeedOption = 0,
    detach: DetachOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an adapter out of conversations that their owners allow (mongars consents), and keep it where it helps.

    A fifth of the conversations is held out, more of few: where the adapter isn't better at them by more than chance,
    repeats itself more, or is worse at --text, it isn't kept.
    Exit code 0: kept (with --detach: asked for), 1: it failed or was cancelled, 5: refused, and why: it can't be done
    here, too little may be trained on, the name is taken, or it didn't help.
    """
    from cli.training import asking
    from libs.shared.contracts.training import RunKind, StartRun

    installation = chosen_installation(state)
    options = {
        "passes": passes,
        "batch": batch,
        "row_tokens": row_tokens,
        "learning_rate": learning_rate,
        "rank": rank,
        "checkpoint_steps": checkpoint_steps,
    }
    owners = asyncio.run(asking.owners(installation, owner or []))
    wanted = {"name": name, "base": base, "owners": owners, "rated_up": rated_up, "options": options}
    about: dict[str, object] = {"kind": RunKind.ADAPTER, "model": model, "seed": seed, "adapter": wanted}
    about["text"] = asking.bring(installation.folder, text) if text is not None else None
    _begin(installation, _wanted(StartRun, about), detach, as_json)


@app.command("evaluate")
def evaluate(
    subject: Annotated[
        str, typer.Argument(metavar="NAME_OR_RUN", help="An adapter or an encoder that is kept, or a run.")
    ],
    sts: StsOption = None,
    text: OtherTextOption = None,
    seed: SeedOption = 0,
    detach: DetachOption = False,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure an adapter or an encoder anew, on conversations that may be used and that it learnt nothing from.

    Exit code 0: better than what it is held against by more than chance (with --detach: asked for), 1: it failed or was
    cancelled, 5: it isn't, nothing can tell, or it can't be measured here, and why.
    """
    from cli.training import asking
    from libs.shared.contracts.training import RunKind, StartRun

    installation = chosen_installation(state)
    about: dict[str, object] = {"kind": RunKind.EVALUATE, "seed": seed, "evaluate": {"subject": subject}}
    for name, path in (("sts", sts), ("text", text)):
        about[name] = asking.bring(installation.folder, path) if path is not None else None
    _begin(installation, _wanted(StartRun, about), detach, as_json)


def _wanted(contract: type[StartRun], about: dict[str, object]) -> StartRun:
    from pydantic import ValidationError

    try:
        return contract.model_validate(about)
    except ValidationError as error:
        named = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        raise CommandError(
            f"that can't be a name: {named}", "give the folder's name in models", code=Exit.USAGE
        ) from None


def _begin(installation: Installation, wanted: StartRun, detach: bool, as_json: bool) -> None:
    from cli.progress import Progress
    from cli.training import asking
    from cli.training.showing import standing

    run = asyncio.run(asking.start(installation, wanted))
    if detach:
        _tell(installation, run, as_json)
        return
    told = Progress(quiet=as_json)
    told.say(f"run {run.run_id}; Ctrl-C leaves it going, mongars train cancel {run.run_id} ends it")
    with told.changing("queued") as say:
        run = asyncio.run(
            asking.follow(installation, run, lambda now: say(standing(now.progress) if now.progress else "queued"))
        )
    _tell(installation, run, as_json)
    if run.state.value != "done":
        raise typer.Exit(Exit.FAILED)
    if run.artefact is None:
        raise typer.Exit(Exit.REFUSED)


@app.command("status")
def status(
    run_id: Annotated[str | None, typer.Argument(metavar="[RUN]", help="One run; without it all of them.")] = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the training runs, newest first, or everything of one."""
    from cli.listing import show
    from cli.training import asking
    from cli.training.showing import TITLES, row

    installation = chosen_installation(state)
    if run_id is not None:
        _tell(installation, asyncio.run(asking.read(installation, _id(run_id))), as_json)
        return
    runs = asyncio.run(asking.every(installation, None))
    if as_json:
        answer([run.model_dump(mode="json") for run in runs])
    else:
        show(
            TITLES, [row(run) for run in runs], nothing="nothing was trained yet; begin with: mongars train mntp --help"
        )


@app.command("cancel")
def cancel(run_id: RunArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """End a run, wherever it stands; what has ended stays as it is."""
    from cli.training import asking

    installation = chosen_installation(state)
    _tell(installation, asyncio.run(asking.cancel(installation, _id(run_id))), as_json)


@app.command("rm")
def remove(run_id: RunArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Remove a run that has ended, with its folder. What came of it stays (mongars models adapters rm, mongars
    embedders rm), but for an encoder that its evaluation refused.

    Exit code 5: it hasn't ended, or there is none such.
    """
    from cli.training import asking

    asyncio.run(asking.remove(chosen_installation(state), _id(run_id)))
    if as_json:
        answer({"removed": run_id})
    else:
        line(f"Removed {run_id}.")


def _id(run_id: str) -> str:
    if not run_id.isalnum():
        raise CommandError(f"{run_id!r} is no run", "see: mongars train status", code=Exit.USAGE)
    return run_id


def _tell(installation: Installation, run: TrainingRun, as_json: bool) -> None:
    from cli.listing import show
    from cli.training.showing import MEASURES, facts, measures

    if as_json:
        answer(run.model_dump(mode="json"))
        return
    told = list(facts(run, installation.folder.training_runs))
    width = max(len(name) for name, _ in told)
    for name, value in told:
        line(f"{name.ljust(width)}  {value}")
    if rows := measures(run):
        show(MEASURES, rows, nothing="")
