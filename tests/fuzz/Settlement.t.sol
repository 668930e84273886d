// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {BASIS_POINTS, Locked, Payout, lapsed, split} from "../../contracts/Settlement.sol";
import {CHEATS} from "./Cheats.sol";

/// @notice What comes in goes out, and nobody gets more than the rules give: forge tries many values, halmos proves it for all.
contract SettlementTest {
    /// @dev The ranges in which the market calls `split`: 96 bits each, the fee a part of the price, the cost at most the bond, and
    /// prepaid is the cost or nothing.
    function _locked(uint96 price, uint96 fee, uint96 bond, uint96 cost, bool prepaid) private pure returns (Locked memory) {
        CHEATS.assume(fee <= price);
        CHEATS.assume(cost <= bond);
        return Locked(price, fee, bond, cost, prepaid ? cost : 0);
    }

    function _sum(Payout memory payout) private pure returns (uint256) {
        return payout.toSubmitter + payout.toProvider + payout.toMatcher + payout.toArbiter + payout.burned;
    }

    function check_split_conserves(uint96 price, uint96 fee, uint96 bond, uint96 cost, bool prepaid, uint16 shareBps) public pure {
        CHEATS.assume(shareBps <= BASIS_POINTS);
        Locked memory locked = _locked(price, fee, bond, cost, prepaid);

        Payout memory payout = split(locked, shareBps);

        assert(_sum(payout) == locked.price + locked.bond + locked.prepaid);
    }
}
