// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Seat, Verdict} from "./IPanel.sol";
import {BASIS_POINTS} from "./Settlement.sol";

/// @notice The verdict, and the digest it names, that a strict majority of all seats revealed. Without one: Disagreed if all of them voted,
/// Undecided if not.
function tally(Seat[] memory seats) pure returns (Verdict verdict, bytes32 digest) {
    verdict = Verdict.Disagreed;
    for (uint256 i = 0; i < seats.length; ++i) {
        if (seats[i].verdict == Verdict.None) verdict = Verdict.Undecided;
        else if (2 * _agreeing(seats, i) > seats.length) return (seats[i].verdict, seats[i].vote);
    }
}

/// @notice Whether this verdict has a minority, which is unpaid.
function hasMinority(Verdict verdict) pure returns (bool) {
    return verdict == Verdict.Good || verdict == Verdict.Bad || _isMissing(verdict);
}

/// @notice Whether a vote of the minority against this verdict is slashed. Two honest seats may differ in what they were served.
function isLie(Verdict vote, Verdict verdict) pure returns (bool) {
    return !_isMissing(vote) && !_isMissing(verdict);
}

/// @notice The provider's part of price and bond in 1/10,000. A job that cannot be judged is the submitter's.
function shareOf(Verdict verdict) pure returns (uint256) {
    return verdict == Verdict.Bad || verdict == Verdict.OutputMissing ? 0 : BASIS_POINTS;
}

/// @notice Whether the seat sealed a vote. A revealed one may have no digest.
function hasVoted(Seat memory seat) pure returns (bool) {
    return seat.vote != 0 || seat.verdict != Verdict.None;
}

/// @notice Whether a vote may look like this, when `result` was delivered.
function isVote(Verdict verdict, bytes32 digest, bytes32 result) pure returns (bool) {
    if (verdict == Verdict.Good) return digest == result;
    if (verdict == Verdict.Bad) return digest != result && digest != 0;
    return verdict >= Verdict.OutputMissing && verdict <= Verdict.NotRerunnable && digest == 0;
}

function _isMissing(Verdict verdict) pure returns (bool) {
    return verdict == Verdict.OutputMissing || verdict == Verdict.InputsMissing;
}

function _agreeing(Seat[] memory seats, uint256 index) pure returns (uint256 count) {
    for (uint256 i = 0; i < seats.length; ++i) {
        if (seats[i].verdict == seats[index].verdict && seats[i].vote == seats[index].vote) ++count;
    }
}
