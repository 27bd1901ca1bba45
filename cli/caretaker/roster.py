"""The duties that every installation has; a new one is a line here."""

from __future__ import annotations

from cli.alerts.duty import DUTY, alerts
from cli.backups.duty import carry_journal, make_scheduled
from cli.caretaker.duties import Duty
from cli.caretaker.space import free_space

DUTIES: tuple[Duty, ...] = (
    Duty("space", 60.0, free_space, timeout_s=10.0),
    Duty(DUTY, 60.0, alerts, timeout_s=120.0, first_after_s=20.0),
    Duty("backup", 60.0, make_scheduled, timeout_s=6 * 3600.0, first_after_s=30.0),
    Duty("forgettings", 20.0, carry_journal, timeout_s=300.0),
)
