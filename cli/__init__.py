"""The ``mongars`` command: makes, starts, watches and stops an installation on one machine."""

import os

from libs.shared.quick_imports import NO_PLUGINS

os.environ.setdefault(*NO_PLUGINS)
