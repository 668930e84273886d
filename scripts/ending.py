"""How a program ends that started others."""

import signal
import sys


def end_in_order() -> None:
    """From here on a signal to end raises, so that what was started, and is stopped in a `finally`, ends too."""
    # A shell that starts a program in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, _: sys.exit(128 + number))
