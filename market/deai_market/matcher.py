"""The thread that matches: drops what came to nothing, takes bids placed on chain, asks `matching` for more, writes it down, and wakes the
providers."""

import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from deai.ask import Ask
from deai.chain import Chain
from deai.clock import ChainClock
from deai.errors import Unavailable, WrongRequest
from deai.job import Address, Bid, Job, JobId, Timestamp, Wei
from deai.wire import BidJson, SignedBid
from deai_market import events, queries
from deai_market.bells import Bells
from deai_market.book import Book
from deai_market.database import Database
from deai_market.matching import Matching, match
from deai_market.settings import Rules
from deai_market.tables import MatchRow, MatchStep, OrderRow

_log = logging.getLogger(__name__)

_DEPOSIT_SECONDS = 5.0
"""How old a provider's balance may be that a match relies on; its bid relies on a new one."""
_STRANGERS = 64
"""Of so many providers that bid on chain, whoever they are, the balance is asked in a round; the others have their turn in the next."""
_ROUND_SECONDS, _REST_SECONDS = 1.0, 5.0
"""Rounds come at least this often while there are orders, as ramps rise, and matches and asks run out; and while there are none."""


class Matcher:
    """Makes matches for the market whose awards `account` sends."""

    def __init__(
        self,
        database: Database,
        book: Book,
        chain: Chain,
        clock: ChainClock,
        *,
        bells: Bells,
        rules: Rules,
        account: Address,
        show: Callable[[Address, Wei], str],
        award: Callable[[int], None],
        tip: Callable[[], str],
    ) -> None:
        """`award` is called with the number of each match whose bid is there, so that its award is due; `tip` is the hash of the newest block
        that is indexed.
        """
        self._database, self._book, self._chain, self._clock = database, book, chain, clock
        self._bells, self._rules, self._account, self._show = bells, rules, account, show
        self._award, self._tip = award, tip
        self._rests = False
        """Nothing was there to match in the last round: what comes wakes us."""
        self._seen_balances: tuple[str, dict[tuple[Address, Address], Wei]] = ("", {})
        """What submitters had at which tip."""
        self._seen_deposits: dict[tuple[Address, Address], tuple[float, Wei]] = {}

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Rounds until `stop`; at once when woken."""
        while not stop.is_set():
            try:
                self.round()
            except Unavailable as error:
                _log.warning("no matching for now: %s", error)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("a round of matching failed, trying on")
            wake.wait(_REST_SECONDS if self._rests else _ROUND_SECONDS)
            wake.clear()

    def round(self) -> Matching:
        """One round. Raises ChainUnavailable."""
        now = self._clock.now()
        self._drop_overdue(now)
        placed = self._placed(now)
        with self._database.read() as session:
            live = list(queries.live_matches(session))
            orders = list(queries.open_orders(session, now))
            asks = [Ask.parse(row.ask.encode()) for row in queries.asks(session, now)]
            running = queries.running(session, [ask.provider for ask in asks], now)
            taken = self._book.taken(session, live, running)
            skipped = queries.recently_dropped(session, now - self._rules.retry_seconds)
        self._rests = not orders and not live
        self._take(placed, live)
        matched = {row.job for row in live}
        free = [row for row in orders if row.id not in matched]
        self._book.forget_all_but({row.id for row in orders} | {row.id for row in running} | matched)

        matching = match(
            self._book.open_jobs(free),
            asks,
            taken=taken,
            balances=self._balances(free, [row for row in orders if row.id in matched]),
            deposits=self._deposits(free, asks, live, placed),
            placed=placed,
            skipped={(JobId(job), Address(provider)) for job, provider in skipped},
            now=now,
            matcher=self._account,
            show=self._show,
        )
        self._book.notes.update(matching.reasons)
        self._keep(matching, now)
        return matching

    def _keep(self, matching: Matching, now: Timestamp) -> None:
        if not matching.matches:
            return
        due = list[int]()
        with self._database.write() as session:
            for each in matching.matches:
                row = MatchRow(
                    number=queries.next_number(session, int(time.time() * 1_000)),
                    job=each.job,
                    provider=each.provider,
                    price=str(each.price),
                    step=MatchStep.WAITING,
                    made_at=now,
                    until=now + self._rules.match_seconds,
                )
                if each.bid is not None:
                    row.step, row.until = MatchStep.BID, each.bid.expires_at
                    row.bid = _unsigned(each.bid).model_dump_json()
                    due.append(row.number)
                session.add(row)
                session.flush()
                self._book.notes[each.job] = f"matched with {each.provider}, which has yet to bid"
        for each in matching.matches:
            _log.info("matched %s with %s", each.job, each.provider)
            if each.bid is None:
                self._bells.ring(("matches", each.provider))
        for number in due:
            self._award(number)

    def _placed(self, now: Timestamp) -> dict[JobId, list[Bid]]:
        """The cheapest bid of each provider that was placed on chain and may live, by job."""
        with self._database.read() as session:
            bids = events.bids(queries.placed_bids(session, now))
        placed = defaultdict[JobId, dict[Address, Bid]](dict)
        for bid in bids:
            known = placed[bid.job].get(bid.provider)
            if bid.expires_at > now and (known is None or bid.price < known.price):
                placed[bid.job][bid.provider] = bid
        return {job: list(by_provider.values()) for job, by_provider in placed.items()}

    def _take(self, placed: dict[JobId, list[Bid]], live: list[MatchRow]) -> None:
        """Takes the bid that a matched provider placed on chain instead of sending it here."""
        for row in live:
            mine = [bid for bid in placed.get(JobId(row.job), ()) if bid.provider == row.provider]
            if row.step != MatchStep.WAITING or not mine:
                continue
            try:
                number = self._book.bid(_unsigned(min(mine, key=lambda bid: bid.price)))
            except WrongRequest as error:
                self._book.notes[JobId(row.job)] = f"the bid of {row.provider} on chain is not taken: {error}"
                continue
            if number is not None:
                self._award(number)

    def _drop_overdue(self, now: Timestamp) -> None:
        with self._database.read() as session:
            if not queries.overdue(session, now):
                return
        with self._database.write() as session:
            for row in queries.overdue(session, now):
                row.reason = (
                    "it did not bid in time" if row.bid is None else "its bid expired and no award is known"
                )
                row.step, row.dropped_at = MatchStep.DROPPED, now
                session.add(row)
                _log.info("dropped the match of %s with %s: %s", row.job, row.provider, row.reason)

    def _balances(self, free: list[OrderRow], matched: list[OrderRow]) -> dict[tuple[Address, Address], Wei]:
        """What the submitters of free orders have in the escrow, net of the caps of their matched ones."""
        jobs: list[Job] = [self._book.live(row).job for row in free]
        tip, (seen_at, seen) = self._tip(), self._seen_balances
        known = seen if seen_at == tip else {}
        balances = {
            purse: known[purse] if purse in known else self._chain.balance(*purse)
            for purse in {(job.token, job.submitter) for job in jobs}
        }
        self._seen_balances = (tip, dict(balances))
        for row in matched:
            purse = (Address(row.token), Address(row.submitter))
            if purse in balances:
                balances[purse] = Wei(balances[purse] - int(row.price_cap))
        return balances

    def _deposits(
        self,
        free: list[OrderRow],
        asks: list[Ask],
        live: list[MatchRow],
        placed: dict[JobId, list[Bid]],
    ) -> dict[tuple[Address, Address], Wei]:
        """What providers have in the escrow of the tokens in which free orders want bonds, net of the bonds of their live matches."""
        least: dict[Address, Wei] = {}
        for job in (self._book.live(row).job for row in free):
            if job.bond:
                least[job.token] = min(job.bond, least.get(job.token, job.bond))
        # Others are never asked for their bond.
        asked = {
            (token, Address(ask.provider))
            for ask in asks
            for token, bond in least.items()
            if token in ask.prices and ask.max_bond.get(token, 0) >= bond
        }
        jobs = [self._book.live(row).job for row in free]
        strangers = {
            (job.token, bid.provider)
            for row, job in zip(free, jobs, strict=True)
            for bid in placed.get(JobId(row.id), ())
            if job.bond
        } - asked
        now, seen = time.monotonic(), self._seen_deposits
        stale = {
            purse
            for purse in asked | strangers
            if purse not in seen or now - seen[purse][0] >= _DEPOSIT_SECONDS
        }
        longest_ago = sorted(stale - asked, key=lambda purse: seen[purse][0] if purse in seen else -math.inf)
        answers = {
            purse: (now, self._chain.balance(*purse))
            for purse in (stale & asked).union(longest_ago[:_STRANGERS])
        }
        self._seen_deposits = {purse: seen[purse] for purse in asked | strangers if purse in seen} | answers
        deposits = {
            purse: balance
            for purse, (at, balance) in self._seen_deposits.items()
            if now - at < _DEPOSIT_SECONDS
        }
        with self._database.read() as session:
            promised = [
                (session.get(OrderRow, row.job), row.provider) for row in live if row.step != MatchStep.SENT
            ]
        for order, provider in promised:
            if order is not None and (purse := (Address(order.token), Address(provider))) in deposits:
                deposits[purse] = Wei(deposits[purse] - self._book.live(order).job.bond)
        return deposits


def _unsigned(bid: Bid) -> SignedBid:
    """A bid that stands on chain and needs no signature."""
    return SignedBid(bid=BidJson.of(bid), signature=b"")
