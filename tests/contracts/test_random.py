"""BlockRandom: the hash of a block, on chains that have randomness."""

from typing import Any

import pytest
from court import Luck
from eth_utils.crypto import keccak
from world import World

HISTORY = "0x0000F90827F1C53a10cb7A02335B175320002935"
"""Keeps more than the 256 newest hashes, where the chain has it (EIP-2935)."""
NUMBER_AS_HASH = "0x5f355f5260205ff3"
SILENCE = "0x00"
REFUSAL = "0x5f5ffd"
REFUSAL_LIKE_A_HASH = "0x5f355f5260205ffd"
NO_RANDOMNESS = keccak(text="NoRandomness(uint256)")[:4].hex()


def test_a_hash_is_known_from_the_next_block_on(world: World) -> None:
    random = world.create("BlockRandom")
    number = world.web3.eth.block_number + 1
    # A call sees the block that comes next.
    assert at(random, number) == (bytes(32), Luck.PENDING)
    assert at(random, number - 1)[1] is Luck.PENDING
    world.rpc("anvil_mine", hex(2))
    assert at(random, number) == (bytes(world.web3.eth.get_block(number)["hash"]), Luck.READY)


def test_a_hash_is_known_for_256_blocks(world: World) -> None:
    random = world.create("BlockRandom")
    number = world.web3.eth.block_number
    kept = bytes(world.web3.eth.get_block(number)["hash"])
    world.rpc("anvil_mine", hex(256))
    assert at(random, number) == (kept, Luck.READY)
    world.rpc("anvil_mine", hex(1))
    assert at(random, number) == (bytes(32), Luck.MISSED)


def test_a_chain_that_keeps_older_hashes_is_asked_for_them(world: World) -> None:
    random = world.create("BlockRandom")
    number = world.web3.eth.block_number
    world.rpc("anvil_mine", hex(300))
    world.rpc("anvil_setCode", HISTORY, NUMBER_AS_HASH)
    assert at(random, number) == (number.to_bytes(32, "big"), Luck.READY)


@pytest.mark.parametrize("code", [SILENCE, REFUSAL, REFUSAL_LIKE_A_HASH])
def test_hashes_older_than_what_is_kept_are_missed(world: World, code: str) -> None:
    random = world.create("BlockRandom")
    number = world.web3.eth.block_number
    world.rpc("anvil_mine", hex(300))
    world.rpc("anvil_setCode", HISTORY, code)
    assert at(random, number) == (bytes(32), Luck.MISSED)


@pytest.mark.parametrize("prevrandao", [0, 1, 2_500_000_000_000_000, 2**64 - 1])
def test_a_chain_without_randomness_is_refused(world: World, prevrandao: int) -> None:
    answer = deploy_with(world, prevrandao)
    assert answer["error"]["data"] == f"0x{NO_RANDOMNESS}{prevrandao:064x}"


def test_a_chain_with_randomness_is_taken(world: World) -> None:
    assert "result" in deploy_with(world, 2**64)


def at(random: Any, number: int) -> tuple[bytes, Luck]:
    value, luck = random.functions.at(number).call()
    return bytes(value), Luck(luck)


def deploy_with(world: World, prevrandao: int) -> dict[str, Any]:
    """What a deployment answers on a chain whose blocks carry this number."""
    block = {"random": f"0x{prevrandao:064x}"}
    call = {"from": world.deployer, "data": world.project["BlockRandom"].bytecode}
    return dict(world.web3.provider.make_request("eth_call", [call, "latest", {}, block]))
