"""The local chain's node, as it is set up."""

from pathlib import Path

from deai.anvil import AnvilNode, local_account
from deai.job import Address, Wei
from deai.web3_chain import Web3Chain
from tests.adapters.chain_fixtures import started

SOMEBODY = Address(local_account(1).address)


def test_what_the_node_mines_later_is_awaited(tmp_path: Path) -> None:
    with started(tmp_path, "--block-time", "0.2") as slow:
        node = AnvilNode(slow.rpc)
        deployment = node.deploy("DAI")
        token = deployment.token("DAI").address
        node.mint(token, SOMEBODY, Wei(7))
        assert Web3Chain(slow.rpc, deployment).token_balance(token, SOMEBODY) == 7
