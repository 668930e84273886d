// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {BASIS_POINTS, Locked, Payout, lapsed, paid, split} from "../../contracts/Settlement.sol";
import {CHEATS} from "./Cheats.sol";

/// @dev The ranges in which the market calls the settlement: the fee is a part of the price, the cost at most the bond, and what was
/// prepaid is the cost or nothing.
struct Case {
    uint96 price;
    uint96 fee;
    uint96 bond;
    uint96 cost;
    bool prepaid;
}

/// @notice What comes in goes out, and nobody gets more than the rules give. Forge tries many values; scripts/audit has halmos prove the tests
/// of what comes in and goes out for all of them. The bounds say too that the unchecked arithmetic is right: a part that had wrapped
/// would be beyond them.
contract SettlementTest {
    function test_split_gives_out_what_came_in(Case calldata given, uint16 shareBps) external pure {
        Locked memory locked = _locked(given, shareBps);

        assert(_sum(split(locked, shareBps)) == locked.price + locked.bond + locked.prepaid);
    }

    function test_split_gives_the_submitter_what_it_paid_at_most(Case calldata given, uint16 shareBps) external pure {
        Locked memory locked = _locked(given, shareBps);

        assert(split(locked, shareBps).toSubmitter <= locked.price + locked.prepaid);
    }

    function test_split_gives_the_provider_price_less_fee_and_bond_at_most(Case calldata given, uint16 shareBps) external pure {
        Locked memory locked = _locked(given, shareBps);

        assert(split(locked, shareBps).toProvider <= locked.price - locked.fee + locked.bond);
    }

    function test_split_gives_the_matcher_its_fee_at_most(Case calldata given, uint16 shareBps) external pure {
        Locked memory locked = _locked(given, shareBps);

        assert(split(locked, shareBps).toMatcher <= locked.fee);
    }

    function test_split_gives_the_arbiter_what_a_case_costs_at_most(Case calldata given, uint16 shareBps) external pure {
        Locked memory locked = _locked(given, shareBps);

        assert(split(locked, shareBps).toArbiter <= locked.cost);
    }

    function test_split_burns_the_bond_at_most(Case calldata given, uint16 shareBps) external pure {
        Locked memory locked = _locked(given, shareBps);

        assert(split(locked, shareBps).burned <= locked.bond);
    }

    function test_split_of_a_won_case_pays_whole_and_burns_nothing(Case calldata given) external pure {
        Locked memory locked = _locked(given, 0);

        Payout memory payout = split(locked, BASIS_POINTS);

        assert(payout.toProvider == locked.price - locked.fee + locked.bond && payout.toMatcher == locked.fee);
        assert(payout.toArbiter == locked.prepaid && payout.toSubmitter == 0 && payout.burned == 0);
    }

    function test_split_of_a_lost_case_refunds_whole_and_takes_the_cost_from_the_bond(Case calldata given) external pure {
        Locked memory locked = _locked(given, 0);

        Payout memory payout = split(locked, 0);

        assert(payout.toSubmitter == locked.price + locked.prepaid && payout.toProvider == 0 && payout.toMatcher == 0);
        assert(payout.toArbiter == locked.cost && payout.burned == locked.bond - locked.cost);
    }

    function test_paid_is_the_split_of_a_case_that_was_won(Case calldata given) external pure {
        Locked memory undisputed = Locked(given.price, given.fee, given.bond, 0, 0);
        CHEATS.assume(given.fee <= given.price);

        Payout memory payout = paid(given.price, given.fee, given.bond);

        assert(keccak256(abi.encode(payout)) == keccak256(abi.encode(split(undisputed, BASIS_POINTS))));
    }

    function test_paid_gives_out_what_came_in(Case calldata given) external pure {
        CHEATS.assume(given.fee <= given.price);

        assert(_sum(paid(given.price, given.fee, given.bond)) == uint256(given.price) + given.bond);
    }

    function test_lapsed_gives_out_what_came_in(Case calldata given, bool byArbiter) external pure {
        Locked memory locked = _locked(given, 0);

        assert(_sum(lapsed(locked, byArbiter)) == locked.price + locked.bond + locked.prepaid);
    }

    function test_lapsed_gives_the_bond_home_and_half_the_price_at_most_back(Case calldata given, bool byArbiter) external pure {
        Locked memory locked = _locked(given, 0);

        Payout memory payout = lapsed(locked, byArbiter);

        assert(payout.toProvider >= locked.bond && payout.toSubmitter <= (uint256(locked.price) + 1) / 2);
        assert(payout.burned == locked.prepaid && payout.toArbiter == 0);
    }

    function _locked(Case calldata given, uint16 shareBps) private pure returns (Locked memory) {
        CHEATS.assume(given.fee <= given.price);
        CHEATS.assume(given.cost <= given.bond);
        CHEATS.assume(shareBps <= BASIS_POINTS);
        return Locked(given.price, given.fee, given.bond, given.cost, given.prepaid ? given.cost : 0);
    }

    /// @dev Wraps as the settlement might, so that no overflow is taken for a refusal.
    function _sum(Payout memory payout) private pure returns (uint256) {
        unchecked {
            return payout.toSubmitter + payout.toProvider + payout.toMatcher + payout.toArbiter + payout.burned;
        }
    }
}
