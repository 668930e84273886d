"""EIP-2612: leave, by signature, for a spender to move an amount of a token; so a deposit takes one transaction. Pure."""

from dataclasses import dataclass

from eth_abi.abi import encode
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from deai.job import Address, Wei

NO_DEADLINE = (1 << 256) - 1
"""A permit for the escrow needs no end: the escrow moves tokens of its caller alone, and the token takes each permit once."""

_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_PERMIT_TYPE = {
    "Permit": [
        {"name": "owner", "type": "address"},
        {"name": "spender", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ]
}


@dataclass(frozen=True, slots=True)
class TokenDomain:
    """The EIP-712 domain of a token on a chain."""

    name: str
    version: str
    chain_id: int
    token: Address

    @property
    def separator(self) -> bytes:
        """What the token's `DOMAIN_SEPARATOR()` says if this is its domain."""
        hashed = (keccak(text=text) for text in (_DOMAIN_TYPE, self.name, self.version))
        types = ("bytes32", "bytes32", "bytes32", "uint256", "address")
        return keccak(encode(types, (*hashed, self.chain_id, self.token)))


def sign_permit(
    account: LocalAccount, domain: TokenDomain, spender: Address, amount: Wei, nonce: int
) -> tuple[int, bytes, bytes]:
    """The signature (v, r, s) of a permit without a deadline. The same for the same values: keys sign without chance."""
    of_domain = {
        "name": domain.name,
        "version": domain.version,
        "chainId": domain.chain_id,
        "verifyingContract": domain.token,
    }
    values = {
        "owner": account.address,
        "spender": spender,
        "value": amount,
        "nonce": nonce,
        "deadline": NO_DEADLINE,
    }
    signed = account.sign_message(encode_typed_data(of_domain, _PERMIT_TYPE, values))
    return signed.v, signed.r.to_bytes(32), signed.s.to_bytes(32)
