// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice Whether the randomness of a block can be had.
enum Luck {
    Pending, // not yet
    Ready,
    Missed // nobody asked in time, and it never comes back
}

/// @title Randomness fixed by a block that lies ahead when it is asked for
/// @notice Assumption: who produces that block can steer its value at some cost (by leaving the block out, say); nobody else can, and
/// nobody knows it before. A deployment chooses an implementation whose cost is above what its cases are worth.
interface IRandom {
    /// @notice The randomness of the block `number`: the same for everybody who asks while it is Ready; zero otherwise.
    function at(uint256 number) external view returns (bytes32 value, Luck luck);
}
