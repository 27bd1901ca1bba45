"""One coroutine a subject: load, decide, act. One request is one transaction, and what it tells follows the commit."""
