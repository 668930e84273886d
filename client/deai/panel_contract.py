"""The panel by a node's JSON-RPC."""

from functools import cached_property
from typing import Any

from eth_account.signers.local import LocalAccount

from deai import errors
from deai.artifacts import artifact
from deai.chain import Event, JobAwarded, JobPosted, Receipt
from deai.codec import Codec
from deai.deployment import Deployment
from deai.job import ZERO_ADDRESS, Address, Job, JobId, Terms, Wei
from deai.journal import Journal
from deai.node import Refused
from deai.panel import Case, Moved, Phase, ResourceClass, Rules, Seat, Staked, Ticket, Verdict
from deai.signing import job_id
from deai.transactions import Pace, Transactions
from deai.web3_chain import ERC20, connect


class PanelContract:
    """A `panel.Panel` by the JSON-RPC of the node at `rpc`. Thread-safe. To send, it needs a journal; to read, none.

    Raises ChainUnavailable where the node does not answer, and BadField where the deployment names no panel, or none is there.
    """

    def __init__(
        self, rpc: str, deployment: Deployment, *, journal: Journal | None = None, pace: Pace | None = None
    ) -> None:
        if deployment.panel is None:
            raise errors.BadField("panel", None, "this deployment has none")
        escrow = artifact("JobMarket").abi
        abi = artifact("Panel").abi
        # What the panel calls may refuse too, in the escrow's words.
        ours = {entry.get("name") for entry in abi if entry["type"] == "error"}
        theirs = [entry for entry in escrow if entry["type"] == "error" and entry["name"] not in ours]
        self._codec, self._escrow = Codec([*abi, *theirs]), Codec(escrow)
        self._deployment, self._contract = deployment, deployment.panel
        self._node = node = connect(rpc, self._codec.refusal)
        if node.ask("eth_getCode", self._contract, "latest") == "0x":
            rule = f"the node at {node.shown} knows no contract there; was the panel deployed?"
            raise errors.BadField("panel", self._contract, rule)
        chain_id = deployment.chain_id
        self._transactions = Transactions(node, chain_id, journal, pace or Pace()) if journal else None

    @property
    def contract(self) -> Address:
        return self._contract

    @cached_property
    def rules(self) -> Rules:
        return Rules(
            stake_token=self._one("stakeToken"),
            fee_token=self._one("feeToken"),
            seat_stake=Wei(self._one("seatStake")),
            seat_fee=Wei(self._one("seatFee")),
            rounds=int(self._one("ROUNDS")),
            pace=self._one("pace"),
        )

    # Questions.

    def unfit(self, job: Job) -> str:
        return str(self._one("unfit", job))

    def case_seconds(self, deliver_seconds: int) -> int:
        return int(self._one("caseSeconds", deliver_seconds))

    def case(self, id_: JobId) -> Case | None:
        found: Case = self._one("caseOf", id_)
        return None if found.phase is Phase.NONE else found

    def seats(self, id_: JobId) -> list[Seat]:
        return list(self._one("seatsOf", id_))

    def resource_class(self, number: int) -> ResourceClass:
        return ResourceClass(*self._view("classOf", number))

    def tickets(self, number: int, account: Address) -> dict[int, Ticket]:
        """The account's tickets in a class, by slot."""
        slots = set[int]()
        for event in self.events(self._deployment.block, self._head()):
            if isinstance(event, Staked) and (event.resource_class, event.account) == (number, account):
                slots.add(event.slot)
            elif isinstance(event, Moved) and event.resource_class == number and event.source in slots:
                slots.add(event.target)
        found = {slot: self._one("ticketOf", number, slot) for slot in sorted(slots)}
        return {slot: ticket for slot, ticket in found.items() if ticket.account == account}

    def earned(self, account: Address) -> Wei:
        return Wei(self._one("earned", account))

    def slashed(self) -> Wei:
        return Wei(self._one("slashed"))

    def events(self, first: int, last: int, case: JobId | None = None) -> list[Event]:
        topics = [self._codec.job_topics, case] if case else []
        logs = self._logs(self.contract, first, min(last, self._head()), topics)
        return [self._codec.event(log) for log in logs]

    def _logs(self, contract: Address, first: int, last: int, topics: list[Any]) -> list[dict[str, Any]]:
        if first > last:
            return []
        query = {"address": contract, "fromBlock": hex(first), "toBlock": hex(last), "topics": topics}
        try:
            return list(self._node.answer("eth_getLogs", query))
        except Refused as refused:
            # Nodes cap the range or the answer's size, each in words of its own: ask for less.
            if first == last:
                raise self._node.error("eth_getLogs", refused) from refused
        middle = (first + last) // 2
        return self._logs(contract, first, middle, topics) + self._logs(contract, middle + 1, last, topics)

    def job(self, award: JobAwarded) -> Job | None:
        return self._awarded(award) or self._posted(award)

    def _awarded(self, award: JobAwarded) -> Job | None:
        found = self._node.ask("eth_getTransactionByHash", award.tx)
        if found is None:
            return None
        domain = self._deployment.domain
        jobs = self._node.parsed(lambda tx: self._jobs(tx["input"]), found)
        return next((job for job in jobs if job_id(job, domain) == award.id), None)

    def _jobs(self, data: str) -> list[Job]:
        match self._escrow.called(data):
            case ("batch", (calls, _)):
                # No deeper: batches within batches may be nested without end.
                called = [self._escrow.called("0x" + call.hex()) for call in calls]
            case call:
                called = [call]
        return [call[1][0] for call in called if call is not None and call[0] == "award"]

    def _posted(self, award: JobAwarded) -> Job | None:
        topics = [self._escrow.job_topics, award.id]
        logs = self._logs(self._deployment.contract, self._deployment.block, award.block, topics)
        events = [self._escrow.event(log) for log in logs]
        return next((event.job for event in events if isinstance(event, JobPosted)), None)

    # Verbs.

    def stake(self, signer: LocalAccount, number: int, count: int) -> Receipt:
        token, amount, sender = self.rules.stake_token, count * self.rules.seat_stake, signer.address
        if self._token(token, "allowance", sender, self.contract) < amount:
            there = self._token(token, "balanceOf", sender)
            if there < amount:
                rule = f"{count} tickets cost {amount} of {token}, and {sender} holds {there}"
                raise errors.BadField("count", count, rule)
            self._send(signer, token, ERC20.call("approve", self.contract, amount))
        return self._act(signer, "stake", number, count)

    def leave(self, signer: LocalAccount, number: int, slots: list[int]) -> Receipt:
        return self._act(signer, "leave", number, slots)

    def unstake(self, signer: LocalAccount, number: int, slots: list[int]) -> Receipt:
        return self._act(signer, "unstake", number, slots)

    def collect(self, signer: LocalAccount) -> Receipt:
        return self._act(signer, "collect")

    def open(self, signer: LocalAccount, job: Job, terms: Terms) -> Receipt:
        return self._act(signer, "open", job, terms)

    def draw(self, signer: LocalAccount, number: int) -> Receipt:
        return self._act(signer, "draw", number)

    def decline(self, signer: LocalAccount, id_: JobId) -> Receipt:
        return self._act(signer, "decline", id_)

    def commit(self, signer: LocalAccount, id_: JobId, seal: bytes) -> Receipt:
        return self._act(signer, "commit", id_, seal)

    def reveal(
        self, signer: LocalAccount, id_: JobId, verdict: Verdict, digest: bytes, salt: bytes
    ) -> Receipt:
        return self._act(signer, "reveal", id_, int(verdict), digest, salt)

    def advance(self, signer: LocalAccount, id_: JobId, terms: Terms) -> Receipt:
        return self._act(signer, "advance", id_, terms)

    # Inside.

    def _act(self, signer: LocalAccount, verb: str, *values: object) -> Receipt:
        mined = self._send(signer, self.contract, self._codec.call(verb, *values))
        ours = [log for log in mined["logs"] if log["address"].lower() == self.contract.lower()]
        return Receipt(
            tx=mined["transactionHash"],
            block=int(mined["blockNumber"], 16),
            gas_used=int(mined["gasUsed"], 16),
            events=tuple(self._codec.event(log) for log in ours),
        )

    def _send(self, signer: LocalAccount, to: Address, data: str) -> dict[str, Any]:
        if self._transactions is None:
            raise errors.BadField("journal", None, "is needed where transactions are sent")
        return self._transactions.send(signer, to, data)

    def _head(self) -> int:
        return self._node.number("eth_blockNumber")

    def _view(self, verb: str, *values: object) -> tuple[Any, ...]:
        data = self._codec.call(verb, *values)
        return self._node.view(lambda found: self._codec.answer(verb, found), self.contract, data)

    def _one(self, verb: str, *values: object) -> Any:
        return self._view(verb, *values)[0]

    def _token(self, token: Address, verb: str, *values: object) -> int:
        if token == ZERO_ADDRESS:
            raise errors.NoToken(token)
        return self._node.number("eth_call", {"to": token, "data": ERC20.call(verb, *values)}, "latest")
