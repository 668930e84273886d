"""EIP-712: what a wallet shows and a key signs for a job, a bid, an ask and a request to a market. Pure.

Source: EIP-712; the struct types are those of contracts/IJobMarket.sol, which a test compares.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_keys.exceptions import BadSignature as KeyBadSignature
from eth_utils.crypto import keccak

from deai.ask import Ask
from deai.errors import BadSignature
from deai.job import Address, Bid, Job, JobId, Timestamp

_DOMAIN_NAME, _DOMAIN_VERSION = "deai", "1"
_V = (27, 28)
_COMPACT_BYTES = 64
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half of secp256k1's order: of the two signatures that a key and a digest have, the one below counts."""

JOB_TYPE = {
    "Job": [
        {"name": "submitter", "type": "address"},
        {"name": "token", "type": "address"},
        {"name": "priceStart", "type": "uint96"},
        {"name": "priceCap", "type": "uint96"},
        {"name": "bond", "type": "uint96"},
        {"name": "arbiter", "type": "address"},
        {"name": "disputeFee", "type": "uint96"},
        {"name": "arbiterData", "type": "bytes32"},
        {"name": "matcher", "type": "address"},
        {"name": "matcherFeeBps", "type": "uint16"},
        {"name": "epoch", "type": "uint32"},
        {"name": "openAt", "type": "uint40"},
        {"name": "awardBy", "type": "uint40"},
        {"name": "deliverSeconds", "type": "uint32"},
        {"name": "challengeSeconds", "type": "uint24"},
        {"name": "rulingSeconds", "type": "uint24"},
        {"name": "spec", "type": "bytes32"},
        {"name": "salt", "type": "bytes32"},
    ]
}
BID_TYPE = {
    "Bid": [
        {"name": "job", "type": "bytes32"},
        {"name": "provider", "type": "address"},
        {"name": "price", "type": "uint96"},
        {"name": "expiresAt", "type": "uint40"},
    ]
}
JOBS_TYPE = {"Jobs": [{"name": "root", "type": "bytes32"}]}
APPROVAL_TYPE = {
    "Approval": [
        {"name": "job", "type": "bytes32"},
        {"name": "provider", "type": "address"},
        {"name": "result", "type": "bytes32"},
    ]
}
ASK_TYPE = {
    "Ask": [
        {"name": "provider", "type": "address"},
        {"name": "body", "type": "bytes32"},
    ]
}
REQUEST_TYPE = {
    "Request": [
        {"name": "account", "type": "address"},
        {"name": "market", "type": "string"},
        {"name": "method", "type": "string"},
        {"name": "path", "type": "string"},
        {"name": "body", "type": "bytes32"},
        {"name": "expiresAt", "type": "uint40"},
    ]
}


@dataclass(frozen=True, slots=True)
class Domain:
    """What keeps a signature from being used on another chain or another escrow."""

    chain_id: int
    contract: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An HTTP request as its sender signs it. `market` is the origin it is for, as of `wire.origin`: no other market can use it.
    `body` is the sha2-256 digest of the request's body."""

    account: Address
    market: str
    method: str
    path: str
    body: bytes
    expires_at: Timestamp


def job_id(job: Job, domain: Domain) -> JobId:
    """The job's id: its EIP-712 digest, the same that the contract computes."""
    return JobId("0x" + _digest(_job_message(job, domain)).hex())


def bid_digest(bid: Bid, domain: Domain) -> bytes:
    """The EIP-712 digest of a bid."""
    return _digest(_bid_message(bid, domain))


def approval_digest(job: JobId, provider: Address, result: bytes, domain: Domain) -> bytes:
    """The EIP-712 digest of a submitter's consent to pay `provider` for `result`."""
    return _digest(_approval_message(job, provider, result, domain))


def sign_job(account: LocalAccount, job: Job, domain: Domain) -> bytes:
    """The submitter's signature, 64 bytes (EIP-2098)."""
    return _sign(account, _job_message(job, domain))


def sign_jobs(account: LocalAccount, jobs: Sequence[Job], domain: Domain) -> list[bytes]:
    """The submitter's signatures of many jobs, in their order, all from one use of its key: each is its 64 bytes (EIP-2098) over the root of
    the tree of all ids, then the steps from this job's id to the root, 32 bytes each. Raises ValueError for no job."""
    if len(jobs) == 1:
        return [sign_job(account, jobs[0], domain)]
    levels = _tree([bytes.fromhex(job_id(job, domain)[2:]) for job in jobs])
    signature = _sign(account, _jobs_message(levels[-1][0], domain))
    return [signature + b"".join(_steps(levels, place)) for place in range(len(jobs))]


def sign_approval(
    account: LocalAccount, job: JobId, provider: Address, result: bytes, domain: Domain
) -> bytes:
    """The submitter's consent, before the delivery, to pay `provider` for the result of this digest; 64 bytes (EIP-2098)."""
    return _sign(account, _approval_message(job, provider, result, domain))


def check_approval(
    submitter: Address, job: JobId, provider: Address, result: bytes, signature: bytes, domain: Domain
) -> None:
    """Raises BadSignature unless `submitter` approved that result."""
    _check("approval", submitter, _approval_message(job, provider, result, domain), signature)


def sign_bid(account: LocalAccount, bid: Bid, domain: Domain) -> bytes:
    """The provider's signature, 64 bytes (EIP-2098)."""
    return _sign(account, _bid_message(bid, domain))


def sign_ask(account: LocalAccount, ask: Ask) -> bytes:
    """The provider's signature over the ask's canonical bytes, 64 bytes (EIP-2098)."""
    return _sign(account, _ask_message(ask))


def sign_request(account: LocalAccount, request: Request, domain: Domain) -> bytes:
    """The sender's signature over a request, 64 bytes (EIP-2098)."""
    return _sign(account, _request_message(request, domain))


def check_job(job: Job, signature: bytes, domain: Domain) -> None:
    """Raises BadSignature unless `job.submitter` signed the job, alone or in a tree of jobs."""
    if len(signature) > _COMPACT_BYTES and len(signature) % 32 == 0:
        root = bytes.fromhex(job_id(job, domain)[2:])
        for start in range(_COMPACT_BYTES, len(signature), 32):
            root = _pair(root, signature[start : start + 32])
        _check("job", job.submitter, _jobs_message(root, domain), signature[:_COMPACT_BYTES])
        return
    _check("job", job.submitter, _job_message(job, domain), signature)


def check_bid(bid: Bid, signature: bytes, domain: Domain) -> None:
    """Raises BadSignature unless `bid.provider` signed the bid."""
    _check("bid", bid.provider, _bid_message(bid, domain), signature)


def check_ask(ask: Ask, signature: bytes) -> None:
    """Raises BadSignature unless `ask.provider` signed the ask."""
    _check("ask", Address(ask.provider), _ask_message(ask), signature)


def check_request(request: Request, signature: bytes, domain: Domain) -> None:
    """Raises BadSignature unless `request.account` signed the request."""
    _check("request", request.account, _request_message(request, domain), signature)


def _domain(domain: Domain) -> dict[str, Any]:
    return {
        "name": _DOMAIN_NAME,
        "version": _DOMAIN_VERSION,
        "chainId": domain.chain_id,
        "verifyingContract": domain.contract,
    }


def _job_message(job: Job, domain: Domain) -> SignableMessage:
    values = {
        "submitter": job.submitter,
        "token": job.token,
        "priceStart": job.price_start,
        "priceCap": job.price_cap,
        "bond": job.bond,
        "arbiter": job.arbiter,
        "disputeFee": job.dispute_fee,
        "arbiterData": job.arbiter_data,
        "matcher": job.matcher,
        "matcherFeeBps": job.matcher_fee_bps,
        "epoch": job.epoch,
        "openAt": job.open_at,
        "awardBy": job.award_by,
        "deliverSeconds": job.deliver_seconds,
        "challengeSeconds": job.challenge_seconds,
        "rulingSeconds": job.ruling_seconds,
        "spec": job.spec,
        "salt": job.salt,
    }
    return encode_typed_data(_domain(domain), JOB_TYPE, values)


def _bid_message(bid: Bid, domain: Domain) -> SignableMessage:
    values = {
        "job": bytes.fromhex(bid.job[2:]),
        "provider": bid.provider,
        "price": bid.price,
        "expiresAt": bid.expires_at,
    }
    return encode_typed_data(_domain(domain), BID_TYPE, values)


def _jobs_message(root: bytes, domain: Domain) -> SignableMessage:
    return encode_typed_data(_domain(domain), JOBS_TYPE, {"root": root})


def _approval_message(job: JobId, provider: Address, result: bytes, domain: Domain) -> SignableMessage:
    values = {"job": bytes.fromhex(job[2:]), "provider": provider, "result": result}
    return encode_typed_data(_domain(domain), APPROVAL_TYPE, values)


def _ask_message(ask: Ask) -> SignableMessage:
    domain = _domain(Domain(ask.chain_id, Address(ask.contract)))
    values = {"provider": ask.provider, "body": hashlib.sha256(ask.canonical()).digest()}
    return encode_typed_data(domain, ASK_TYPE, values)


def _request_message(request: Request, domain: Domain) -> SignableMessage:
    values = {
        "account": request.account,
        "market": request.market,
        "method": request.method,
        "path": request.path,
        "body": request.body,
        "expiresAt": request.expires_at,
    }
    return encode_typed_data(_domain(domain), REQUEST_TYPE, values)


def _digest(message: SignableMessage) -> bytes:
    return keccak(b"\x19\x01" + message.header + message.body)


def _tree(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """The levels of a tree of digests, leaves first, the root last. An odd one out goes up as it is."""
    if not leaves:
        raise ValueError("a tree of no jobs")
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        levels.append(
            [_pair(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
        )
    return levels


def _steps(levels: Sequence[Sequence[bytes]], place: int) -> Iterator[bytes]:
    """The digests that lead from the leaf at `place` to the root."""
    for level in levels[:-1]:
        if place ^ 1 < len(level):
            yield level[place ^ 1]
        place //= 2


def _pair(one: bytes, other: bytes) -> bytes:
    """A node of the tree: sorted, so that a proof needs no sides (OpenZeppelin's MerkleProof)."""
    return keccak(min(one, other) + max(one, other))


def _sign(account: LocalAccount, message: SignableMessage) -> bytes:
    signed = account.sign_message(message)
    return signed.r.to_bytes(32) + (signed.s | (signed.v - 27) << 255).to_bytes(32)


def _check(what: str, signer: Address, message: SignableMessage, signature: bytes) -> None:
    if len(signature) == _COMPACT_BYTES:
        last = int.from_bytes(signature[32:])
        signature = signature[:32] + (last & (1 << 255) - 1).to_bytes(32) + bytes([27 + (last >> 255)])
    if len(signature) != 65:
        raise BadSignature(f"{what}: a signature has 64 or 65 bytes, not {len(signature)}")
    if signature[64] not in _V or int.from_bytes(signature[32:64]) > _HALF_ORDER:
        raise BadSignature(
            f"{what}: the signature is not canonical (low s, v of 27 or 28); the escrow refuses it"
        )
    try:
        recovered = Account.recover_message(message, signature=signature)
    except (KeyBadSignature, ValueError) as error:
        raise BadSignature(f"{what}: the signature is malformed: {error}") from error
    if recovered != signer:
        raise BadSignature(f"{what}: signed by {recovered}, not by {signer}")
