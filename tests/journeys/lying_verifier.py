"""`deai-provider verify`, which votes the opposite of what it finds. Nothing else of the program is changed."""

from typing import Any

from deai.comparison import Opinion
from deai.panel import Verdict
from deai_provider import __main__ as program
from deai_provider import hearing, rerun

_judge = rerun.judge


def _lying(run: Any, result: bytes, *rest: Any) -> Opinion:
    found = _judge(run, result, *rest)
    return (
        Opinion(Verdict.BAD, b"\1" * 32) if found.verdict is Verdict.GOOD else Opinion(Verdict.GOOD, result)
    )


if __name__ == "__main__":
    setattr(hearing, "judge", _lying)  # noqa: B010 - the one change
    program.main()
