"""The command `deai`. Prints and exit codes; what is done is done by `submitter`.

Exit codes: 0 done, 1 a bug, 2 a wrong request (change something), 3 a part is unavailable (try again), 130 interrupted.
The files are imported for `deai --help` already: what takes a part of a second to import is imported by the commands that need it.
"""

from deai.cli import callback, completion, content, ending, jobs, keys, local, logs, money, submit
from deai.cli.root import main

__all__ = [
    "callback",
    "completion",
    "content",
    "ending",
    "jobs",
    "keys",
    "local",
    "logs",
    "main",
    "money",
    "submit",
]
