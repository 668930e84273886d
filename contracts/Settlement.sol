// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice Where a closing job's price, bond and prepaid fee go. The parts add up to what was locked.
struct Payout {
    uint256 toSubmitter;
    uint256 toProvider;
    uint256 toMatcher;
    uint256 toArbiter;
    uint256 burned;
}

/// @notice What a closing job had locked. `fee` is a part of `price`; `cost` is at most `bond`; all are below 2**96.
struct Locked {
    uint256 price;
    uint256 fee;
    uint256 bond;
    uint256 cost; // of the case
    uint256 prepaid; // by the submitter that opened it
}

uint256 constant BASIS_POINTS = 10_000;

/// @notice The one place where money is split: gives the provider `shareBps` of the price and of the bond, the matcher that share of its fee,
/// the submitter the rest of the price. A case's cost goes to the arbiter: the winners' share of what was prepaid, the losers' share of
/// `cost` out of the slashed part of the bond. What is left of the slashed part is burned. Rounds against provider, matcher and arbiter.
function split(Locked memory locked, uint256 shareBps) pure returns (Payout memory payout) {
    // No product reaches 2**110, and no part exceeds its whole.
    unchecked {
        uint256 gross = locked.price * shareBps / BASIS_POINTS;
        uint256 kept = locked.bond * shareBps / BASIS_POINTS;
        uint256 lostFee = locked.prepaid * shareBps / BASIS_POINTS;
        uint256 lostBond = locked.cost * (BASIS_POINTS - shareBps) / BASIS_POINTS;

        payout.toMatcher = locked.fee * shareBps / BASIS_POINTS;
        payout.toProvider = gross - payout.toMatcher + kept;
        payout.toSubmitter = locked.price - gross + locked.prepaid - lostFee;
        payout.toArbiter = lostFee + lostBond;
        payout.burned = locked.bond - kept - lostBond;
    }
}

/// @notice The split of a delivery that nobody overruled: `split` with all of it for the provider.
function paid(uint256 price, uint256 fee, uint256 bond) pure returns (Payout memory payout) {
    // A fee is a part of its price, and all are below 2**96.
    unchecked {
        payout.toProvider = price - fee + bond;
    }
    payout.toMatcher = fee;
}

/// @notice The split of a case whose arbiter was silent: half the price if the submitter had opened it, the whole if the arbiter had. The bond goes
/// home, what was prepaid is burned.
function lapsed(Locked memory locked, bool byArbiter) pure returns (Payout memory payout) {
    Locked memory undisputed = Locked(locked.price, locked.fee, 0, 0, 0);
    payout = split(undisputed, byArbiter ? BASIS_POINTS : BASIS_POINTS / 2);
    payout.toProvider += locked.bond;
    payout.burned = locked.prepaid;
}
