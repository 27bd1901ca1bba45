"""``python -m services.scheduler.replaying.child PARENT``: arrivals and ways in, seconds out.

It ends with its parent, and lets everything else on the machine pass.
"""

from __future__ import annotations

import sys

from libs.shared.background.aside import step_aside
from libs.shared.parent import end_with
from services.scheduler.replaying.exchange import ReplayJob
from services.scheduler.replaying.simulating import replayed


def main(parent: int) -> None:
    end_with(parent)
    step_aside()
    job = ReplayJob.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(replayed(job).model_dump_json().encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
