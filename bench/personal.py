"""How much of what is personal is taken out before training: `python -m bench.personal --locomo FOLDER --text FILES`.

On a made set (``tests/support/personal.py``) of every kind; on LoCoMo's conversations, how many mentions of the two
speakers' first names go, in their conversation and in each turn by itself; on WikiText, which holds nobody's numbers
or addresses, what is taken for some.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.report import Aim, finish, table
from bench.training.data import documents
from services.trainer.curation.forms import Kind
from services.trainer.curation.personal import find
from services.trainer.curation.scrubbing import Scrubber
from tests.support.personal import INTRODUCED, MENTIONED, OTHERWISE, PLANTS, Planted, names, planted

SEED, EACH = 1, 500
AIM = 0.98


def shares(sentences: Sequence[Planted]) -> tuple[float, float]:
    """(recall, precision): of what was planted, and of what was found."""
    right = found = 0
    for one in sentences:
        here = find(one.text)
        found += len(here)
        right += any(each.kind is one.kind and each.start <= one.start and each.end >= one.end for each in here)
    return right / len(sentences), right / found if found else float("nan")


def made_set() -> dict[str, tuple[float, float]]:
    """Kind → (recall, precision)."""
    sentences = list(planted(SEED, EACH))
    rows = {str(kind): shares([one for one in sentences if one.kind is kind]) for kind in PLANTS}
    rows["NAME, introduced"] = shares(list(names(SEED, EACH, INTRODUCED)))
    rows["NAME, only mentioned"] = shares(list(names(SEED, EACH, MENTIONED)))
    return rows


def speakers(paths: Iterable[Path], *, known: bool) -> tuple[int, int]:
    """(mentions of the speakers' first names, those of them that are left); ``known``: the names were told before."""
    mentions = left = 0
    for path in paths:
        read = json.loads(path.read_text())
        texts = [turn["text"] for session in read["sessions"] for turn in session["turns"]]
        called = [name.split()[0] for name in read["speakers"]]
        scrubber = Scrubber(called if known else ())
        scrubber.learn(texts)
        name = re.compile(rf"\b(?:{'|'.join(map(re.escape, called))})\b")
        mentions += sum(len(name.findall(text)) for text in texts)
        left += sum(len(name.findall(scrubber.scrub(text))) for text in texts)
    return mentions, left


def speakers_by_themselves(paths: Iterable[Path]) -> tuple[int, int]:
    """(mentions of the speakers' first names that nobody greets, those of them that are left in a turn by itself)."""
    mentions = left = 0
    for path in paths:
        read = json.loads(path.read_text())
        called = "|".join(re.escape(name.split()[0]) for name in read["speakers"])
        mention = re.compile(rf"(?<!Hey )(?<!Hi )(?<!Thanks )(?<!Thanks, )(?<!Hey, )\b(?:{called})\b")
        texts = [turn["text"] for session in read["sessions"] for turn in session["turns"]]
        mentions += sum(len(mention.findall(text)) for text in texts)
        left += sum(len(mention.findall(Scrubber().scrub(text))) for text in texts)
    return mentions, left


def taken_for_personal(texts: Sequence[str]) -> dict[str, float]:
    """Kind → how often in a million characters."""
    counts = Counter(found.kind for text in texts for found in find(text))
    characters = sum(map(len, texts))
    return {str(kind): 1e6 * counts[kind] / characters for kind in Kind if counts[kind]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.personal", description=__doc__)
    parser.add_argument("--locomo", type=Path, help="folder with LoCoMo's conversations, one JSON each")
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="WikiText files")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    rows = made_set()
    print(table(("made set", "recall", "precision"), [(name, *both) for name, both in rows.items()]))
    found = sum(value not in Scrubber().scrub(text) for text, value in OTHERWISE)
    print(f"written otherwise than the forms expect: {found} of {len(OTHERWISE)} taken out")
    figures: dict[str, Any] = {"made set": rows, "otherwise": (found, len(OTHERWISE))}
    if args.locomo:
        paths = sorted(args.locomo.glob("*.json"))
        for known in (False, True):
            mentions, left = speakers(paths, known=known)
            how = "told before" if known else "from greetings and introductions alone"
            print(f"speakers' first names in LoCoMo, {how}: {mentions - left} of {mentions} mentions taken out")
            figures[f"locomo, {how}"] = (mentions, left)
        mentions, left = speakers_by_themselves(paths)
        print(f"the same, ungreeted, in each turn by itself: {mentions - left} of {mentions} taken out")
        figures["locomo, each turn by itself"] = (mentions, left)
    if args.text:
        texts = documents(args.text)
        began = time.process_time()
        figures["text"] = taken_for_personal(texts)
        pace = sum(map(len, texts)) / (time.process_time() - began)
        print(table(("running text", "in a million characters"), list(figures["text"].items())))
        print(f"{pace / 1e6:.2f} million characters a processor's second")
    held = list(rows.values())
    finish(
        [
            Aim("least recall of a kind", min(recall for recall, _ in held), AIM, at_least=True),
            Aim("least precision of a kind", min(precision for _, precision in held), AIM, at_least=True),
        ],
        figures,
        args.json,
    )


if __name__ == "__main__":
    main()
