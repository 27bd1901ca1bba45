"""A run in a process of its own: ``python -m services.trainer.child RUN_FOLDER PARENT``.

It ends with its parent, lets everything else on the machine pass, and says how it goes in lines of JSON.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from libs.shared.background.aside import step_aside
from libs.shared.contracts.training import RunProgress
from libs.shared.errors import RunUnderWay, ServiceError
from libs.shared.parent import end_with
from services.trainer.spec import ADAPTER, ENCODER, FILE, RunSpec
from services.trainer.telling import REFUSED, STOPPED, UNDER_WAY, Done, Refused, Stands


class Stopped(Exception):
    """It was asked to stop; all that it has learnt lies in its folder."""


def tell(word: Stands | Done | Refused) -> None:
    """To whoever began this process."""
    sys.__stdout__.write(word.model_dump_json() + "\n")  # type: ignore[union-attr]  # it is there: a pipe
    sys.__stdout__.flush()  # type: ignore[union-attr]  # likewise


def main(folder: Path, parent: int) -> int:
    """The exit code."""
    end_with(parent, exit_code=UNDER_WAY)
    step_aside()
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    from services.trainer.alone import alone

    try:
        with alone(folder):
            spec = RunSpec.model_validate_json((folder / FILE).read_bytes())
            tell(_trained(spec, folder, lambda: bool(asked_to_stop)))
    except Stopped:
        return STOPPED
    except RunUnderWay:
        return UNDER_WAY
    except ServiceError as error:
        tell(Refused(code=error.code, detail=error.detail))
        return REFUSED
    return 0


def _trained(spec: RunSpec, folder: Path, stop: Callable[[], bool]) -> Done:
    def report(phase: Any, progress: Any = None) -> None:
        if progress is None:
            tell(Stands(progress=RunProgress(phase=phase)))
            return
        fields = ("step", "steps", "loss", "tokens_per_s", "mfu", "seconds_left")
        tell(Stands(progress=RunProgress(phase=phase, **{name: getattr(progress, name) for name in fields})))

    done: Done | None
    if spec.evaluate is not None:
        from services.trainer.measuring_anew import measure_anew

        done = measure_anew(spec, spec.evaluate, folder, report)
    elif spec.adapter is not None:
        from services.trainer.answering import train_adapter

        done = train_adapter(spec, spec.adapter, folder, folder / ADAPTER, report, stop)
    else:
        from services.trainer.making_encoders import make_encoder

        done = make_encoder(spec, folder, folder / ENCODER, report, stop)
    if done is None:
        raise Stopped
    return done


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what a library prints is no word of ours
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
