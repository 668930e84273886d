import pytest
import requests
from docker.errors import APIError

from deai_provider.docker_engine import insist


def failing(explanation: str, times: int, calls: list[int]) -> None:
    calls.append(1)
    if len(calls) <= times:
        raise APIError("500 Server Error", response=requests.Response(), explanation=explanation)


def test_a_container_whose_end_the_engine_did_not_see_is_ended_again() -> None:
    calls: list[int] = []
    insist(lambda: failing("tried to kill container, but did not receive an exit event", 2, calls))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("explanation", "tries"), [("no such device", 1), ("but did not receive an exit event", 4)]
)
def test_other_failures_are_told_at_once_and_lasting_ones_in_the_end(explanation: str, tries: int) -> None:
    calls: list[int] = []
    with pytest.raises(APIError):
        insist(lambda: failing(explanation, 99, calls))
    assert len(calls) == tries
