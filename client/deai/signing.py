"""EIP-712: what a wallet shows and a key signs for a job, a bid, an ask and a request to a market. Pure.

Source: EIP-712; the struct types are those of contracts/IJobMarket.sol, which a test compares.
"""

import hashlib
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
        {"name": "arbiterData", "type": "bytes32"},
        {"name": "matcher", "type": "address"},
        {"name": "matcherFeeBps", "type": "uint16"},
        {"name": "epoch", "type": "uint32"},
        {"name": "openAt", "type": "uint40"},
        {"name": "awardBy", "type": "uint40"},
        {"name": "deliverSeconds", "type": "uint32"},
        {"name": "challengeSeconds", "type": "uint32"},
        {"name": "rulingSeconds", "type": "uint32"},
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


def sign_job(account: LocalAccount, job: Job, domain: Domain) -> bytes:
    """The submitter's signature, 65 bytes (r, s, v)."""
    return _sign(account, _job_message(job, domain))


def sign_bid(account: LocalAccount, bid: Bid, domain: Domain) -> bytes:
    """The provider's signature, 65 bytes (r, s, v)."""
    return _sign(account, _bid_message(bid, domain))


def sign_ask(account: LocalAccount, ask: Ask) -> bytes:
    """The provider's signature over the ask's canonical bytes, 65 bytes (r, s, v)."""
    return _sign(account, _ask_message(ask))


def sign_request(account: LocalAccount, request: Request, domain: Domain) -> bytes:
    """The sender's signature over a request, 65 bytes (r, s, v)."""
    return _sign(account, _request_message(request, domain))


def check_job(job: Job, signature: bytes, domain: Domain) -> None:
    """Raises BadSignature unless `job.submitter` signed the job."""
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


def _sign(account: LocalAccount, message: SignableMessage) -> bytes:
    return bytes(account.sign_message(message).signature)


def _check(what: str, signer: Address, message: SignableMessage, signature: bytes) -> None:
    if len(signature) != 65:
        raise BadSignature(f"{what}: a signature has 65 bytes, not {len(signature)}")
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
