// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Outcome} from "../../contracts/IJobMarket.sol";
import {Histories} from "./Laws.t.sol";

/// @notice A law that does not hold. scripts/fuzz fails unless forge finds that out.
contract CanaryTest is Histories {
    function invariant_no_case_is_ever_split() external view {
        require(history.ended(Outcome.Split) == 0, "canary: a case was split");
    }
}
