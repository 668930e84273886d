"""Disputes, on a real chain and in real containers: verifiers re-run the job, and the escrow does what they find."""

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import image as builder
from deai.chain import JobClosed
from deai.job import Address, JobId, JobState, Outcome, Terms, Wei
from deai.panel import CaseClosed, Committed, Phase, Revealed, SeatDrawn, SeatSlashed, Verdict
from deai.submitter import Submitter
from tests.journeys.court import DAI, SEAT_STAKE, CourtNet, provider_command, until
from tests.journeys.users import IMAGE, ROOT, CliInProcess, Jobs

HONEST = (0, 1, 2)
LIAR, SILENT = 3, 4
ALL_HONEST, CHEAT_SEEN, LIE_SEEN = 0, 1, 2
"""Resource classes: verifiers who stake in one judge its jobs alone."""
_WRITE = "import pathlib, time; pathlib.Path('/outputs/answer.txt').write_text({answer})"
ANSWER = _WRITE.format(answer="'42'")
CLOCK = _WRITE.format(answer="str(time.time_ns())")
FEE = Wei(3 * DAI // 10)


@pytest.fixture(scope="module")
def court(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CourtNet]:
    with CourtNet(tmp_path_factory.mktemp("court"), print) as net:
        CliInProcess(net.client_environment()).json(
            "add", builder.build(ROOT / ".cache" / "image").archive, "--image", IMAGE
        )
        for index in HONEST:
            net.stake(index, ALL_HONEST)
            net.start_verifier(index)
        yield net


@pytest.fixture
def submitter(court: CourtNet) -> Iterator[Submitter]:
    with court.submitter() as submitter:
        yield submitter


@dataclass
class Books:
    """What everybody has, to be compared with later."""

    court: CourtNet
    submitter: Submitter

    def take(self) -> dict[str, int]:
        """All as of one block: verifiers move what they earned into their own hands at any time."""
        while True:
            head = self.submitter.chain.head().hash
            found = self._read()
            if self.submitter.chain.head().hash == head:
                return found

    def _read(self) -> dict[str, int]:
        chain, token = self.submitter.chain, self.court.deployment.token("DAI").address
        accounts = {"submitter": self.submitter.address, "provider": self.provider}
        found = {name: int(chain.balance(token, account)) for name, account in accounts.items()}
        panel = self.court.panel()
        for index in (*HONEST, LIAR):
            account = Address(self.court.verifier(index).address)
            found[f"verifier {index}"] = chain.token_balance(token, account) + panel.earned(account)
        return {**found, "burned": int(chain.burned(token)), "slashed": int(panel.slashed())}

    @property
    def provider(self) -> Address:
        return Address(self.court.accounts["provider"].address)

    def changes(self, before: dict[str, int]) -> dict[str, int]:
        return {name: amount - before[name] for name, amount in self.take().items() if amount != before[name]}


@pytest.fixture
def books(court: CourtNet, submitter: Submitter) -> Books:
    return Books(court, submitter)


def delivered(submitter: Submitter, name: str, script: str = ANSWER, number: int = ALL_HONEST) -> JobId:
    job = Jobs(submitter, IMAGE).submit(
        script, name=name, verification="optimistic", resource_class=number, dispute_fee="0.3"
    )
    assert submitter.wait(job, JobState.DELIVERED, timeout=60).state is JobState.DELIVERED
    return job


def own_answer() -> str:
    """A script whose result no other job has: what another job published would be found."""
    return _WRITE.format(answer=f"'{secrets.token_hex(8)}'")


def closed(
    court: CourtNet, submitter: Submitter, job: JobId, seconds: float = 60
) -> tuple[Outcome, CaseClosed]:
    until(lambda: submitter.chain.state(job)[0] is JobState.CLOSED, seconds)
    (ending,) = [each for each in court.panel().events(0, 1 << 40, job) if isinstance(each, CaseClosed)]
    return submitter.chain.state(job)[1], ending


def terms_of(submitter: Submitter, job: JobId) -> Terms:
    terms = submitter.progress(job).terms
    assert terms is not None
    return terms


def row(court: CourtNet, job: JobId) -> Any:
    """What the provider's ledger says of the job, once it knows how it ended."""

    def found() -> Any:
        shown = json.loads(provider_command(court.provider_environment(), "status", "--json"))
        return next(each for each in shown["jobs"] if each["id"] == job and each["step"] == "done")

    return until(lambda: _or_none(found), 30)


def _or_none(found: Any) -> Any:
    try:
        return found()
    except StopIteration:
        return None


def test_a_forged_result_is_found_out_the_submitter_has_its_money_back_and_the_bond_pays_and_burns(
    court: CourtNet, submitter: Submitter, books: Books
) -> None:
    before = books.take()
    job = delivered(submitter, "forged answer")
    terms = terms_of(submitter, job)
    court.dispute(submitter, job)

    outcome, ending = closed(court, submitter, job)

    assert (outcome, ending.verdict, ending.share_bps) == (Outcome.REFUNDED, Verdict.BAD, 0)
    assert terms.dispute_fee == FEE
    assert books.changes(before) == {
        "provider": -terms.bond,
        "burned": terms.bond - FEE,
        **{f"verifier {index}": FEE // 3 for index in HONEST},
    }
    told = row(court, job)
    assert (told["reason"], told["earned"]) == ("refunded after a dispute", str(-terms.bond))


def test_an_honest_provider_keeps_its_pay_and_the_liar_pays_for_the_case(
    court: CourtNet, submitter: Submitter, books: Books
) -> None:
    before = books.take()
    job = delivered(submitter, "honest answer")
    price = terms_of(submitter, job).price
    court.dispute(submitter, job)

    outcome, ending = closed(court, submitter, job)

    assert (outcome, ending.verdict, ending.share_bps) == (Outcome.PAID, Verdict.GOOD, 10_000)
    assert books.changes(before) == {
        "submitter": -price - FEE,
        "provider": price,
        **{f"verifier {index}": FEE // 3 for index in HONEST},
    }
    assert row(court, job)["reason"] == "paid after a dispute"


def test_a_result_that_nobody_can_fetch_is_not_paid(
    court: CourtNet, submitter: Submitter, books: Books
) -> None:
    before = books.take()
    job = delivered(submitter, "withheld answer", own_answer())
    bond = terms_of(submitter, job).bond
    court.dispute(submitter, job)

    # What is missing is looked for until only a re-run's time is left to vote.
    while submitter.chain.state(job)[0] is not JobState.CLOSED:
        time.sleep(1)
        court.advance(5)
    outcome, ending = closed(court, submitter, job)

    assert (outcome, ending.verdict) == (Outcome.REFUNDED, Verdict.OUTPUT_MISSING)
    changes = books.changes(before)
    assert (changes["provider"], changes["burned"]) == (-bond, bond - FEE)
    assert "submitter" not in changes


def test_a_result_that_is_published_again_while_there_is_time_is_paid(
    court: CourtNet, submitter: Submitter
) -> None:
    job = delivered(submitter, "cured answer", own_answer())
    court.dispute(submitter, job)

    outcome, ending = closed(court, submitter, job)

    assert (outcome, ending.verdict) == (Outcome.PAID, Verdict.GOOD)


def test_a_job_that_gives_other_bytes_each_time_is_paid_and_nobody_is_slashed(
    court: CourtNet, submitter: Submitter, books: Books
) -> None:
    before = books.take()
    job = delivered(submitter, "trap", CLOCK)
    price = terms_of(submitter, job).price
    court.dispute(submitter, job)

    outcome, ending = closed(court, submitter, job)

    assert (outcome, ending.verdict, ending.share_bps) == (Outcome.PAID, Verdict.DISAGREED, 10_000)
    assert books.changes(before) == {
        "submitter": -price - FEE,
        "provider": price,
        **{f"verifier {index}": FEE // 3 for index in HONEST},
    }


def test_a_verifier_that_is_killed_after_its_vote_was_sealed_opens_it_later(
    court: CourtNet, submitter: Submitter
) -> None:
    job = delivered(submitter, "honest answer")
    court.dispute(submitter, job)
    first = Address(court.verifier(HONEST[0]).address)
    until(lambda: _seen(court, job, Committed, first))

    court.kill(f"verifier-{HONEST[0]}")
    until(lambda: _phase(court, job) is Phase.REVEALING)
    court.start_verifier(HONEST[0])

    assert closed(court, submitter, job)[1].verdict is Verdict.GOOD
    assert _seen(court, job, Revealed, first)


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("forged answer", CHEAT_SEEN, (Outcome.REFUNDED, Verdict.BAD)),
        ("honest answer", LIE_SEEN, (Outcome.PAID, Verdict.GOOD)),
    ],
    ids=["forged", "honest"],
)
def test_one_silent_and_one_corrupt_verifier_of_three_change_nothing(
    court: CourtNet,
    submitter: Submitter,
    books: Books,
    name: str,
    number: int,
    expected: tuple[Outcome, Verdict],
) -> None:
    for index in (HONEST[0], LIAR, SILENT):
        court.stake(index, number)
    if f"verifier-{LIAR}" not in court.programs:
        court.start_verifier(LIAR, lying=True)
    before = books.take()
    job = delivered(submitter, name, number=number)
    terms = terms_of(submitter, job)
    court.dispute(submitter, job)
    until(lambda: len(_all(court, job, SeatDrawn)) == 3)
    # Who is drawn when the silent one's seat is empty.
    court.stake(HONEST[1], number)
    until(lambda: len(_all(court, job, Committed)) == 2)

    case = court.panel().case(job)
    assert case is not None
    court.advance(case.deadline - submitter.chain.head().time)
    outcome, ending = closed(court, submitter, job)

    assert (outcome, ending.verdict) == expected
    slashed = {each.account: each.voted for each in _all(court, job, SeatSlashed)}
    assert slashed == {court.verifier(SILENT).address: False, court.verifier(LIAR).address: True}
    shares = {f"verifier {index}": FEE // 2 for index in HONEST[:2]} | {"slashed": 2 * SEAT_STAKE}
    if outcome is Outcome.REFUNDED:
        assert books.changes(before) == {"provider": -terms.bond, "burned": terms.bond - FEE, **shares}
    else:
        money = {"submitter": -terms.price - FEE, "provider": int(terms.price)}
        assert books.changes(before) == {**money, **shares}
    (paid,) = [each for each in submitter.chain.events(0, 1 << 40, job) if isinstance(each, JobClosed)]
    assert paid.payout.to_arbiter == FEE


def test_tickets_are_bought_and_asked_back_by_command(court: CourtNet) -> None:
    account = Address(court.verifier(HONEST[0]).address)
    court.mint(account, Wei(2 * SEAT_STAKE))

    def provider(*words: str) -> str:
        return provider_command(court.verifier_environment(HONEST[0]), *words)

    assert provider("stake", "2", "--class", "9").startswith("class 9: 2 tickets")
    assert "may be paid back from" in provider("unstake", "1", "--class", "9")
    assert [bool(each.leave_at) for each in court.panel().tickets(9, account).values()] == [True, False]
    assert provider("unstake", "--class", "8") == "class 8: no tickets\n"


def _all(court: CourtNet, job: JobId, kind: type[Any]) -> list[Any]:
    return [each for each in court.panel().events(0, 1 << 40, job) if isinstance(each, kind)]


def _seen(court: CourtNet, job: JobId, kind: type[Any], account: Address) -> bool:
    return any(each.account == account for each in _all(court, job, kind))


def _phase(court: CourtNet, job: JobId) -> Phase | None:
    case = court.panel().case(job)
    return case.phase if case else None
