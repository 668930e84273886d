// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IRandom, Luck} from "./IRandom.sol";

/// @title The hash of a block as randomness
/// @notice A hash can be asked for during 256 blocks, and during 8,191 where the chain keeps them in a contract (EIP-2935). Whoever
/// produces the block may choose among hashes, so a draw is requested further ahead than producers are known (two epochs on Ethereum).
contract BlockRandom is IRandom {
    address private constant HISTORY = 0x0000F90827F1C53a10cb7A02335B175320002935;

    /// @notice This chain has no randomness: its blocks carry a constant, or a small number, in its place.
    error NoRandomness(uint256 prevrandao);

    constructor() {
        if (block.prevrandao <= type(uint64).max) revert NoRandomness(block.prevrandao);
    }

    /// @inheritdoc IRandom
    function at(uint256 number) external view returns (bytes32 value, Luck luck) {
        if (number >= block.number) return (0, Luck.Pending);

        value = blockhash(number);
        if (value == 0) value = _kept(number);
        luck = value == 0 ? Luck.Missed : Luck.Ready;
    }

    function _kept(uint256 number) private view returns (bytes32) {
        (bool known, bytes memory answer) = HISTORY.staticcall(abi.encode(number));
        return known && answer.length == 32 ? abi.decode(answer, (bytes32)) : bytes32(0);
    }
}
