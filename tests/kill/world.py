"""A market whose every part can be killed, and what has to be true after it stood up again."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deai import unixfs
from deai.authorities import authorities
from deai.chain import JobAwarded, JobClosed, JobDelivered
from deai.errors import ContentMissing
from deai.job import JobId, Outcome
from deai.job_file import JobFile
from deai.localnet import Localnet
from deai.signing import job_id
from deai.submitter import Submitter
from deai_provider.ledger import Entry, Ledger, Step
from tests.kill.disk import SmallDisk
from tests.kill.engine import Engine
from tests.kill.mounts import mounts_below
from tests.kill.parking import Lot
from tests.kill.tally import Life, Tally

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0
SLOTS = 14
QUICK, LONG = 0.1, 2.0
"""How long a job's script sleeps, in seconds."""
_DATA_BYTES = 4 << 20
_SCRIPT = """import os, time
time.sleep({seconds})
with open("/outputs/run", "w") as file:
    file.write(os.urandom(16).hex())
"""
_WRAPPED = {"deai-provider": "agent_program.py", "deai-market": "market_program.py"}


def wait_until(what: Callable[[], object], why: Callable[[], str], seconds: float = PATIENCE) -> None:
    """Waits until `what()`; fails with `why()`."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {why()}"
        time.sleep(0.03)


class KillNet(Localnet):
    """The starter's market, on an engine of its own, with programs that stop where the test says."""

    def __init__(self, folder: Path, engine: Engine, lot: Lot) -> None:
        super().__init__(folder, print, docker_host=engine.host)
        self.engine, self.lot = engine, lot
        self.disks: dict[str, SmallDisk] = {}
        """Of the provider and of the market, where each has its own."""

    def provider_command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("agent_program.py")), "run"]

    def market_command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("market_program.py"))]

    def provider_environment(self) -> dict[str, str]:
        return (
            super().provider_environment()
            | self._wrapped()
            | {
                "DEAI_PROVIDER_SLOTS": str(SLOTS),
                "DEAI_PROVIDER_POLL_SECONDS": "0.1",
                "DEAI_PROVIDER_RESERVE_MEMORY_MIB": "0",
                "DEAI_PROVIDER_RESERVE_DISK_MIB": "0",
            }
        )

    def market_environment(self) -> dict[str, str]:
        return (
            super().market_environment()
            | self._wrapped()
            | {
                "DEAI_MARKET_POLL_SECONDS": "0.1",
                "DEAI_MARKET_RETRY_SECONDS": "1",
                # A busy machine may start a market slowly; its matches are not to run out meanwhile.
                "DEAI_MARKET_MATCH_SECONDS": "120",
            }
        )

    def revive(self) -> None:
        """Starts what is dead."""
        if not self.engine.lives:
            self.engine.start()
        for name, start in (
            ("anvil", self.start_anvil), ("deai-market", self.start_market), ("deai-provider", self.start_provider),
        ):  # fmt: skip
            if name not in self.programs:
                start()

    def stop(self, name: str | None = None) -> None:
        """Ends the program, or everything; what a failed test left mounted goes too then."""
        super().stop(name)
        for mount in mounts_below(self.folder) if name is None else ():
            subprocess.run(["umount", mount], check=True)

    def _wrapped(self) -> dict[str, str]:
        # The wrapped program imports its wrappers from the checkout.
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return {"DEAI_KILL_LOT": str(self.lot.folder), "PYTHONPATH": path}


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a job is to stand still when the kill comes."""

    point: str
    seconds: float = QUICK
    """How long its script takes."""
    data: bool = False
    """Whether it has an input of several blocks."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A job that stands there."""

    job: JobId
    stand: Stand
    past: frozenset[Step]
    """The steps it had taken by then."""


STEPS = [
    Stand("fetching", data=True),
    Stand("after staged"),
    Stand("bid posted"),
    Stand("after awarded"),
    Stand("after running"),
    Stand("container made"),
    Stand("container started"),
    Stand("collecting"),
    Stand("after collected"),
    Stand("publishing"),
    Stand("after published"),
    Stand("after delivering"),
    Stand("delivery sent"),
    Stand("delivery mined"),
    Stand("after delivered"),
    Stand("half cleared"),
]
"""Where a job may stand when a part dies that is not the agent: to that part, before and after a line in the ledger are the same."""

HOLDING_UP = [
    [Stand("after staging"), Stand("after matched")],
    [Stand("volume made"), Stand("after bidding")],
    [Stand("after done")],
]
"""Who stands here keeps other jobs from getting on: few at a time, and last."""


class World:
    """The market, its submitter, and the counts."""

    def __init__(self, net: KillNet, submitter: Submitter, image: str, tally: Tally) -> None:
        self.net, self.submitter, self.image, self.tally = net, submitter, image, tally
        self.lot = net.lot
        self._data = unixfs.add_bytes(bytes(_DATA_BYTES), submitter.store)
        self._first = 0

    # Before the kill.

    def draft(self, stand: Stand) -> tuple[JobId, Callable[[], JobId]]:
        """A job's id, and what submits it."""
        draft = self.submitter.draft(JobFile.parse(self._fields(stand)))
        return job_id(draft.job, self.submitter.deployment.domain), lambda: self.submitter.submit(draft)

    def _fields(self, stand: Stand) -> dict[str, str]:
        source = _SCRIPT.format(seconds=stand.seconds)
        script = unixfs.add_bytes(source.encode(), self.submitter.store)
        data = {"input_data_cid": str(self._data)} if stand.data else {}
        return data | {
            "name": "kill",
            "docker_image": self.image,
            "input_script_cid": str(script),
            "payment_token": "DAI",
            "payment_amount": "5",
            "bond": "1",
            "window": "0",
            "cpu": "0.14",
            "memory": "64MiB",
            "disk": "16MiB",
            "timeout": "120s",
        }

    def words(self) -> list[str]:
        """The command that submits a job."""
        fields = self._fields(Stand(""))
        return [
            "submit",
            "job",
            *(word for name, value in fields.items() for word in (f"--{name.replace('_', '-')}", value)),
        ]

    def begin(self) -> None:
        """From here on, transactions are looked at."""
        self._first = self.submitter.chain.head().number + 1

    def stand(self, stands: Iterable[Stand], last: Iterable[Stand] = ()) -> list[Standing]:
        """Submits a job for each, and waits until all stand there. Those that hold up others come `last`, one by one."""
        jobs = [(self._plan(stand), stand) for stand in stands]
        self._await(jobs)
        for stand in last:
            jobs.append((self._plan(stand), stand))
            self._await(jobs[-1:])
        return [Standing(id_, stand, self.steps(id_)) for id_, stand in jobs]

    def _plan(self, stand: Stand) -> JobId:
        id_, submit = self.draft(stand)
        self.lot.plan(id_, stand.point)
        return submit()

    def _await(self, jobs: Sequence[tuple[JobId, Stand]]) -> None:
        def missing() -> str:
            return ", ".join(f"{id_} at {stand.point!r}" for id_, stand in jobs if not self.lot.reached(id_))

        wait_until(lambda: not missing(), lambda: f"jobs that stand where they should; missing: {missing()}")

    def run(self, count: int) -> list[Standing]:
        """Jobs that nothing stops."""
        jobs = []
        for _ in range(count):
            id_, submit = self.draft(Stand(""))
            submit()
            jobs.append(Standing(id_, Stand("any"), frozenset()))
        return jobs

    # After it.

    def finish(self, victim: str, standing: Sequence[Standing], *, reruns: bool = False) -> None:
        """Waits until every job is done with, and checks all of it. `reruns`: the victim may have spoilt a run under way."""
        wait_until(
            lambda: all(self._over(each.job) for each in standing),
            lambda: f"the end of jobs after {victim} was killed: {self._where(standing)}",
        )
        lives = [self._life(victim, each, reruns=reruns) for each in standing]
        leaks = self._leaks()
        wasted = self._wasted()
        self.tally.lives.extend(lives)
        self.tally.leaks.extend(leaks)
        self.tally.wasted.extend(wasted)
        bad = [life for life in lives if life.lost or life.doubled or life.spoilt]
        assert not bad, bad
        assert not leaks, leaks
        assert not wasted, wasted
        self.lot.clear()

    def steps(self, job: JobId) -> frozenset[Step]:
        """The steps that the agent's ledger says the job took."""
        with Ledger(self.net.folder / "provider" / "ledger.sqlite", read_only=True) as ledger:
            return frozenset(each.step for each in ledger.steps(job))

    def _entry(self, job: JobId) -> Entry | None:
        with Ledger(self.net.folder / "provider" / "ledger.sqlite", read_only=True) as ledger:
            return ledger.entry(job)

    def _over(self, job: JobId) -> bool:
        entry = self._entry(job)
        if entry is None:
            return False
        return entry.step is Step.DONE or (
            entry.step in (Step.DECLINED, Step.FAILED, Step.LOST) and entry.terms is None
        )

    def _where(self, standing: Sequence[Standing]) -> str:
        entries = [(each, self._entry(each.job)) for each in standing if not self._over(each.job)]
        where = [
            f"{each.job} that stood at {each.stand.point!r} is at {entry.step if entry else None}: {entry.reason if entry else ''}"
            for each, entry in entries
        ]
        logs = sorted((self.net.folder / "logs").glob("*.log"))
        told = [f"{log.name}:\n{log.read_text(errors='replace')[-4_000:]}" for log in logs]
        return "\n".join([", ".join(where), *told])

    def _life(self, victim: str, standing: Standing, *, reruns: bool) -> Life:
        chain, job = self.submitter.chain, standing.job
        events = chain.events(0, chain.head().number, job)
        deliveries = [event for event in events if isinstance(event, JobDelivered)]
        paid = [event for event in events if isinstance(event, JobClosed) and event.outcome is Outcome.PAID]
        runs = self.lot.runs(job)
        kept = not reruns or Step.COLLECTED in standing.past
        return Life(
            victim=victim,
            point=standing.stand.point,
            awards=sum(isinstance(event, JobAwarded) for event in events),
            deliveries=len(deliveries),
            refused=not any(isinstance(event, JobAwarded) for event in events),
            needless_runs=max(0, runs - 1) if kept else max(0, runs - 2),
            spoilt=(bool(deliveries) and not self._good(job)) or len(paid) != len(deliveries),
        )

    def _good(self, job: JobId) -> bool:
        """Whether the submitter gets what the script made, by its own ways. The provider hands it to the market until that has it."""
        deadline = time.monotonic() + PATIENCE
        with tempfile.TemporaryDirectory() as folder:
            while True:
                try:
                    result = self.submitter.results(job, Path(folder))
                    break
                except ContentMissing:
                    if time.monotonic() > deadline:
                        return False
                    time.sleep(0.2)
            output = (Path(folder) / "run").read_text()
        return result.exit_record is not None and result.exit_record.exit_code == 0 and len(output) == 32

    def _wasted(self) -> list[str]:
        """Transactions of the market's and the agent's keys that reverted, or that say again what was said."""
        roles = ("market", "provider", "submitter")
        keys = {self.net.accounts[role].address.lower(): role for role in roles}
        numbers = range(self._first, self.submitter.chain.head().number + 1)
        blocks = self._ask_all("eth_getBlockByNumber", [(hex(number), True) for number in numbers])
        sent = [tx for block in blocks for tx in block["transactions"] if tx["from"].lower() in keys]
        receipts = self._ask_all("eth_getTransactionReceipt", [(tx["hash"],) for tx in sent])
        said: set[tuple[str, str]] = set()
        wasted = []
        for tx, receipt in zip(sent, receipts, strict=True):
            what = f"{keys[tx['from'].lower()]} {tx['input'][:10]} in block {int(tx['blockNumber'], 16)}"
            if receipt["status"] != "0x1":
                wasted.append(f"{what} reverted")
            if (tx["from"], tx["input"]) in said:
                wasted.append(f"{what} was sent before")
            said.add((tx["from"], tx["input"]))
        return wasted

    def _ask_all(self, method: str, questions: list[tuple[object, ...]]) -> list[Any]:
        """The node's answers to many questions of one kind, in one round trip."""
        calls = [
            {"jsonrpc": "2.0", "id": id_, "method": method, "params": each}
            for id_, each in enumerate(questions)
        ]
        if not calls:
            return []
        answers = httpx.post(
            self.net.rpc, json=calls, timeout=30, trust_env=False, verify=authorities()
        ).json()
        return [each["result"] for each in sorted(answers, key=lambda each: each["id"])]

    def _leaks(self) -> list[str]:
        """What is left of jobs that are over. Clearing up comes a moment after the delivery."""
        deadline = time.monotonic() + 20.0
        while leaks := self._leftovers():
            if time.monotonic() > deadline:
                return leaks
            time.sleep(0.1)
        return []

    def _leftovers(self) -> list[str]:
        work = self.net.folder / "provider"
        loops = subprocess.run(
            ["losetup", "--list", "--noheadings"], capture_output=True, text=True, check=True
        )
        return [
            *(f"container {name}" for name in self.net.engine.containers()),
            *(f"mount {point}" for point in mounts_below(work / "runs")),
            *(f"loop device {line}" for line in loops.stdout.splitlines() if f"{work}/runs/" in line),
            *(f"folder {each}" for part in ("jobs", "runs") for each in (work / part).glob("0x*")),
        ]
