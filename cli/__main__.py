"""``python -m cli``: the same as the ``mongars`` command."""

from cli.main import main

main()
