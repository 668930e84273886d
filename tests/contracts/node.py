"""A local chain's node as tests ask it: plain JSON-RPC over a connection that stays.

web3's provider over `requests` takes twice as long for a question, which the thousands in this suite make minutes of.
"""

import json
from typing import Any

import requests
import urllib3
from web3 import HTTPProvider, Web3

_SECONDS = 60.0
_UNSEEN = "Transaction confirmation timeout"


class Refused(Exception):
    """The node answered with an error, an object of JSON-RPC's."""

    def __init__(self, method: str, error: dict[str, Any]) -> None:
        self.error = error
        super().__init__(f"{method}: {error}")


class Node:
    """The node at `url`. Not thread-safe."""

    def __init__(self, url: str) -> None:
        self.url = url
        session = requests.Session()
        session.trust_env = False
        self.web3: Any = Web3(HTTPProvider(url, session=session, exception_retry_configuration=None))
        """For what needs more than a question."""
        self._pool = urllib3.connection_from_url(url, timeout=_SECONDS, retries=False)

    def rpc(self, method: str, *params: Any) -> Any:
        """The result of one call. Raises Refused."""
        answer = self._post({"jsonrpc": "2.0", "id": 0, "method": method, "params": params})
        if "error" in answer:
            raise Refused(method, answer["error"])
        return answer["result"]

    def ask(self, *questions: tuple[Any, ...]) -> list[Any]:
        """The results of many calls (method, parameters) sent at once, in order. Raises Refused."""
        body = [
            {"jsonrpc": "2.0", "id": place, "method": method, "params": params}
            for place, (method, *params) in enumerate(questions)
        ]
        answers = sorted(self._post(body), key=lambda answer: int(answer["id"]))
        for (method, *_), answer in zip(questions, answers, strict=True):
            if "error" in answer:
                raise Refused(method, answer["error"])
        return [answer["result"] for answer in answers]

    def send(self, transaction: dict[str, Any]) -> dict[str, Any]:
        """The receipt of a transaction in a block of its own, sent by one of the node's accounts."""
        try:
            return dict(self.rpc("eth_sendTransactionSync", {"gasPrice": hex(2 * 10**9), **transaction}))
        except Refused as refused:
            if refused.error.get("message") != _UNSEEN:
                raise
            return self._overslept(transaction["from"])

    def _overslept(self, sender: str) -> dict[str, Any]:
        """The receipt of the sender's last transaction. Once in some hundred thousand, Anvil does not wake for one."""
        mined, known = (
            int(self.rpc("eth_getTransactionCount", sender, block), 16) for block in ("latest", "pending")
        )
        if known > mined:
            self.rpc("evm_mine")
        found = self.rpc("eth_getTransactionBySenderAndNonce", sender, hex(known - 1))
        return dict(self.rpc("eth_getTransactionReceipt", found["hash"]))

    def _post(self, body: object) -> Any:
        answer = self._pool.urlopen(
            "POST", "/", body=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        return json.loads(answer.data)
