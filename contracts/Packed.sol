// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice An account in the 20 high bytes, and an amount of the job's token in the 12 low ones.
type Stake is bytes32;

/// @notice From the high end: `deadline` (40 bits), `challengeSeconds` (24), `rulingSeconds` (24), `byArbiter` (8); the rest is zero.
/// `byArbiter` is 1 in a case that the arbiter opened.
type Times is bytes32;

using {account, amount} for Stake global;
using {deadline, challengeSeconds, rulingSeconds, byArbiter, withDeadline, openedByArbiter} for Times global;

function toStake(address account_, uint96 amount_) pure returns (Stake) {
    return Stake.wrap(bytes32(uint256(uint160(account_)) << 96 | amount_));
}

function account(Stake stake) pure returns (address) {
    return address(uint160(uint256(Stake.unwrap(stake)) >> 96));
}

function amount(Stake stake) pure returns (uint256) {
    return uint96(uint256(Stake.unwrap(stake)));
}

function toTimes(uint40 deadline_, uint24 challengeSeconds_, uint24 rulingSeconds_) pure returns (Times) {
    return Times.wrap(
        bytes32(uint256(deadline_) << 216 | uint256(challengeSeconds_) << 192 | uint256(rulingSeconds_) << 168)
    );
}

function deadline(Times times) pure returns (uint40) {
    return uint40(uint256(Times.unwrap(times)) >> 216);
}

function challengeSeconds(Times times) pure returns (uint24) {
    return uint24(uint256(Times.unwrap(times)) >> 192);
}

function rulingSeconds(Times times) pure returns (uint24) {
    return uint24(uint256(Times.unwrap(times)) >> 168);
}

function byArbiter(Times times) pure returns (bool) {
    return uint8(uint256(Times.unwrap(times)) >> 160) != 0;
}

/// @dev The same times with another deadline.
function withDeadline(Times times, uint40 deadline_) pure returns (Times) {
    return Times.wrap(bytes32(uint256(deadline_) << 216 | uint256(Times.unwrap(times)) << 40 >> 40));
}

/// @dev The same times, marked as those of a case that the arbiter opened.
function openedByArbiter(Times times) pure returns (Times) {
    return Times.wrap(Times.unwrap(times) | bytes32(uint256(1) << 160));
}
