"""One market, put together: its book, its indexer, its matcher, its awards, and the threads they run in."""

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from eth_account.signers.local import LocalAccount
from sqlmodel import Session

from deai.chain import Chain
from deai.clock import ChainClock
from deai.content import Content
from deai.deployment import Deployment
from deai.errors import BadField
from deai.job import Address, JobId, JobState, Timestamp, Wei
from deai.store import Store
from deai.wire import Health, HistoryLine, JobView, MarketInfo, Matches, Observation, Order
from deai_market import queries, views
from deai_market.awards import Awards
from deai_market.bells import Bells
from deai_market.book import Book
from deai_market.callbacks import Callbacks
from deai_market.courier import Courier
from deai_market.database import Database
from deai_market.errors import Forbidden, NotFound, TooMany
from deai_market.indexer import Indexer
from deai_market.logs import Logs
from deai_market.matcher import Matcher
from deai_market.postings import Postings
from deai_market.settings import Rules
from deai_market.tables import ChainJobRow, MatchStep, ObservationRow
from deai_market.uploads import Uploads

_AWARD_THREADS = 4


class Market:
    """A cache of `chain` with an opinion, kept in the folder `data`. `account` sends the awards; it needs gas and nothing else."""

    def __init__(
        self,
        chain: Chain,
        deployment: Deployment,
        store: Store,
        account: LocalAccount,
        data: Path,
        *,
        rules: Rules | None = None,
        wall: Callable[[], float] = time.time,
        courier: Courier | None = None,
    ) -> None:
        """Raises BadField for a folder that cannot be used, ChainUnavailable."""
        self.rules = rules or Rules()
        self.deployment, self.store, self.account = deployment, store, Address(account.address)
        self.clock, self.bells = ChainClock(wall), Bells()
        self._chain = chain
        self._stop, self._wake_indexer = threading.Event(), threading.Event()
        self._wake_matcher, self._wake_awards = threading.Event(), threading.Event()
        self._wake_callbacks = threading.Event()
        self._threads: list[threading.Thread] = []
        self._database = Database(data, deployment.domain)
        self.uploads = Uploads(
            self._database,
            chain,
            deployment,
            self.clock,
            folder=data / "uploads",
            served=store,
            rules=self.rules,
            arrived=self._arrived,
        )
        self.content = Content(store, [self.uploads.store])
        """What this market serves: its own store's blocks, and those handed in."""
        self.logs = Logs(self._database, self.rules.log_bytes)
        self.book = Book(
            self._database,
            chain,
            deployment,
            store,
            self.clock,
            rules=self.rules,
            changed=self._wake_matcher.set,
        )
        self.postings = Postings(self._database, self.book, self.content, self.clock, self.rules.open_jobs)
        self.indexer = Indexer(self._database, chain, deployment.block, self.clock, self._indexed)
        self.awards = Awards(
            self._database,
            self.book,
            chain,
            self.clock,
            account=account,
            low_gas=Wei(self.rules.low_gas),
            done=self._award_done,
        )
        self._matcher = Matcher(
            self._database,
            self.book,
            chain,
            self.clock,
            bells=self.bells,
            rules=self.rules,
            account=self.account,
            show=self.show,
            award=self.awards.send,
            tip=lambda: self.indexer.tip,
        )
        self.callbacks = Callbacks(
            self._database,
            deployment,
            courier or Courier(private=self.rules.callback_private),
            wall,
            confirmations=self.rules.confirmations,
        )

    def start(self) -> None:
        """Starts the threads, after one look at the chain. Raises ChainUnavailable."""
        self.indexer.step()
        runs: list[Callable[[], None]] = [
            lambda: self.indexer.run(self._stop, self._wake_indexer, self.rules.poll_seconds),
            lambda: self._matcher.run(self._stop, self._wake_matcher),
            lambda: self.awards.watch(self._stop, self._wake_awards),
            lambda: self.uploads.run(self._stop),
            lambda: self.postings.run(self._stop),
            lambda: self.callbacks.run(self._stop, self._wake_callbacks),
            *([lambda: self.awards.run(self._stop)] * _AWARD_THREADS),
        ]
        for run in runs:
            # Daemons: a transaction that waits for its receipt must not hold up the end; a restart takes it up again.
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self, seconds: float = 5.0) -> None:
        """Ends the threads, waiting for them up to `seconds`, and closes the database."""
        self.bells.close()
        self._stop.set()
        self._wake_indexer.set()
        self._wake_matcher.set()
        self._wake_awards.set()
        self._wake_callbacks.set()
        self.postings.wake()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._database.close()

    def show(self, token: Address, amount: Wei) -> str:
        """An amount for people, in tokens where the token is known."""
        try:
            return self.deployment.token(token).show(amount)
        except BadField:
            return f"{amount} of {token}"

    def health(self) -> Health:
        """Whether the market follows the chain."""
        return Health(head=self.indexer.head, silent_seconds=round(self.indexer.silent_seconds, 3))

    def info(self) -> MarketInfo:
        """What a client needs to know of this market."""
        return MarketInfo(
            chain_id=self.deployment.chain_id,
            contract=self.deployment.contract,
            matcher=self.account,
            head=max(0, self.indexer.head),
        )

    def submit(self, order: Order, sender: Address | None) -> JobId:
        """Keeps an order in the book, as `Book.submit` says."""
        if not order.signature:
            self.indexer.catch_up()  # it counts as long as the chain has it posted
        return self.book.submit(order, sender)

    def job(self, job: JobId) -> JobView:
        """A job with its history. Raises NotFound."""
        with self._database.read() as session:
            known = queries.known(session, job)
            if known is None:
                raise NotFound(f"no job with the id {job}")
            match, rows = queries.live_match(session, job), queries.events_of(session, job)
            observed = queries.observations(session, job)
            order, chain_job = known.order, known.chain_job
            token = order.token if order else chain_job.token if chain_job else None
            epoch = queries.epoch(session, token, known.submitter) if token else 0
            ended = queries.cancellation(session, order) if order else None
        final = self.indexer.head - self.rules.confirmations
        lines = views.history(rows, observed, ended, token=token, final=final, show=self.show)
        if order is not None and order.signature:
            cap = self.show(Address(order.token), Wei(int(order.price_cap)))
            text = f"{order.submitter} signed it, for at most {cap}"
            lines.insert(0, HistoryLine(at=order.received // 1_000, event="Signed", text=text))
        declined = next((row for row in reversed(observed) if row.event == "Declined"), None)
        waiting = self._waiting(job)
        if declined is not None:
            waiting = f"{declined.provider} declined: {declined.text}" + (f"; {waiting}" if waiting else "")
        note = views.note(known, match, waiting, epoch, self.clock.now())
        return views.job_view(known, note, lines)

    def jobs(self, submitter: Address | None, state: str | None, limit: int) -> list[JobView]:
        """The newest jobs, without their history. Raises BadField for an unknown state."""
        wanted = views.state_of(state) if state is not None else None
        with self._database.read() as session:
            found = queries.jobs(session, submitter, wanted, limit)
            live = {match.job: match for match in queries.live_matches(session)}
            epochs = queries.epochs(session)
        now = self.clock.now()
        return [
            views.job_view(
                known,
                views.note(
                    known,
                    live.get(known.id),
                    self._waiting(known.id),
                    epochs.get((known.submitter, known.order.token), 0) if known.order else 0,
                    now,
                ),
            )
            for known in found
        ]

    def _waiting(self, job: JobId) -> str | None:
        return self.postings.note(job) or self.book.notes.get(job)

    def matches(self, provider: Address, after: int) -> Matches:
        """The provider's matches above `after` that wait for its bid."""
        with self._database.read() as session:
            return views.matches(queries.waiting_matches(session, provider, after), after)

    def observe(self, job: JobId, provider: Address, observation: Observation) -> None:
        """Keeps what a provider says of its run: `Staging` holds its match, `Declined` ends it, and from `Uploading` on the job holds nothing of the
        provider's ask but disk. Raises Forbidden, TooMany: the match is held or ended even then."""
        self.check_provider(job, provider, matched=observation.event in ("Staging", "Declined"))
        now = self.clock.now()
        with self._database.write() as session:
            frees = self._hold_or_drop(session, job, provider, observation, now)
            seen = queries.observations(session, job, provider)
            is_new = (observation.event, observation.text) not in {(row.event, row.text) for row in seen}
            is_full = is_new and len(seen) >= self.rules.observations
            if is_new and not is_full:
                session.add(
                    ObservationRow(
                        job=job, provider=provider, at=now, event=observation.event, text=observation.text
                    )
                )
        if frees or (is_new and observation.event == "Uploading"):
            self._wake_matcher.set()
        if is_full:
            raise TooMany(
                f"{provider} has made {len(seen)} observations of {job} already, which is the limit"
            )

    def _hold_or_drop(
        self, session: Session, job: JobId, provider: Address, observation: Observation, now: Timestamp
    ) -> bool:
        """Whether the job is there for others now."""
        match = queries.live_match(session, job)
        if match is None or match.provider != provider or match.step != MatchStep.WAITING:
            return False
        if observation.event == "Declined":
            match.step, match.dropped_at = MatchStep.DROPPED, now
            match.reason = f"declined: {observation.text}"
        else:
            longest = match.made_at + self.rules.staging_seconds
            match.until = max(match.until, min(longest, now + self.rules.match_seconds))
        session.add(match)
        return match.step == MatchStep.DROPPED

    def check_provider(self, job: JobId, account: Address, *, matched: bool = False) -> None:
        """Raises Forbidden unless `account` was awarded the job, or, where `matched` will do, is matched with it."""
        with self._database.read() as session:
            match = queries.live_match(session, job)
        if match is not None and match.provider == account and match.step != MatchStep.WAITING:
            # Its award may be mined and not indexed yet: the provider reads the chain faster than we do.
            chain_job = self._chain_job(job)
            if chain_job is None or chain_job.provider is None:
                self.indexer.catch_up()
        chain_job = self._chain_job(job)
        if chain_job is not None and chain_job.provider == account:
            return
        if matched and match is not None and match.provider == account:
            return
        raise Forbidden(f"{account} was not awarded {job}")

    def check_submitter(self, job: JobId, account: Address) -> None:
        """Raises NotFound for a job nobody knows, Forbidden unless `account` is its submitter."""
        with self._database.read() as session:
            known = queries.known(session, job)
        if known is None:
            raise NotFound(f"no job with the id {job}")
        if known.submitter != account:
            raise Forbidden(f"this belongs to the submitter of {job}, not to {account}")

    def log_provider(self, job: JobId) -> tuple[Address | None, bool]:
        """Whose run's output is the job's, and whether nothing more is to come."""
        chain_job = self._chain_job(job)
        if chain_job is None:
            return None, False
        return Address(chain_job.provider) if chain_job.provider else None, chain_job.state == JobState.CLOSED

    def _chain_job(self, job: JobId) -> ChainJobRow | None:
        with self._database.read() as session:
            return session.get(ChainJobRow, job)

    def _indexed(self, jobs: set[str]) -> None:
        self._wake_awards.set()
        self._wake_matcher.set()
        self._wake_callbacks.set()
        self.postings.wake()
        for job in jobs:
            self.bells.ring(("logs", job))

    def _arrived(self, digests: Collection[bytes]) -> None:
        self.postings.arrived(digests)

    def _award_done(self, mined: bool) -> None:
        # What was mined, the indexer tells everybody.
        (self._wake_indexer if mined else self._wake_matcher).set()
