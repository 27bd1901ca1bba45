"""Hours of the day in which the machine may, or must not, be busy for nobody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time

_WRITTEN = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


@dataclass(frozen=True)
class Hours:
    """From ``begin`` until before ``end``, past midnight where that is earlier; all day where they are the same."""

    begin: time
    end: time

    @classmethod
    def read(cls, written: str) -> Hours:
        """Of ``22:00-07:00``. Raises ValueError."""
        found = _WRITTEN.fullmatch(written.strip())
        if found is None:
            raise ValueError("hours are written as 22:00-07:00")
        begin_h, begin_m, end_h, end_m = (int(part) for part in found.groups())
        if max(begin_h, end_h) > 24:
            raise ValueError("a day has 24 hours")
        return cls(time(begin_h % 24, begin_m), time(end_h % 24, end_m))

    def __contains__(self, now: time) -> bool:
        if self.begin == self.end:
            return True
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end
