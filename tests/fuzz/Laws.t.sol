// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IJobMarket, JobState, Outcome} from "../../contracts/IJobMarket.sol";
import {CHEATS} from "./Cheats.sol";
import {History} from "./History.sol";
import {Verb} from "./Rules.sol";
import {Mood} from "./Wallet.sol";

/// @dev As forge asks a test for it.
struct FuzzSelector {
    address addr;
    bytes4[] selectors;
}

/// @notice Random histories, each on a market of its own. The laws are those of IJobMarket's life of a job.
abstract contract Histories {
    History internal history;

    function setUp() public {
        history = new History(IJobMarket(CHEATS.deployCode("client/deai/abi/JobMarket.json")));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(history);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0] = FuzzSelector(address(history), _steps());
    }

    function _steps() internal pure returns (bytes4[] memory steps) {
        steps = new bytes4[](16);
        steps[0] = History.deposit.selector;
        steps[1] = History.depositWithPermit.selector;
        steps[2] = History.withdraw.selector;
        steps[3] = History.post.selector;
        steps[4] = History.bid.selector;
        steps[5] = History.cancel.selector;
        steps[6] = History.cancelAll.selector;
        steps[7] = History.start.selector;
        steps[8] = History.award.selector;
        steps[9] = History.proceed.selector;
        steps[10] = History.intrude.selector;
        steps[11] = History.batch.selector;
        steps[12] = History.pass.selector;
        steps[13] = History.passToDeadline.selector;
        steps[14] = History.shake.selector;
        // Histories are about jobs more than about anything else.
        steps[15] = History.proceed.selector;
    }
}

contract LawsTest is Histories {
    /// @dev A step that breaks a law reverts, which stops the history.
    function invariant_a_history_goes_by_the_laws() external view {
        assert(address(history).code.length != 0);
    }

    function afterInvariant() external {
        history.checkRebuilt();
        history.end();
    }
}

/// @notice That histories get everywhere: what they never reach they do not prove.
contract ReachTest is Histories {
    uint256 private constant STEPS = 4000;

    function test_histories_reach_every_state_every_outcome_and_every_verb_both_ways() external {
        bytes4[] memory steps = _steps();
        for (uint256 i = 0; i < STEPS; ++i) {
            uint256 seed = uint256(keccak256(abi.encode("reach", i)));
            (bool ok, bytes memory reason) = address(history).call(abi.encodeWithSelector(steps[i % steps.length], seed));
            if (!ok) _rethrow(reason);
        }
        for (uint256 i = 1; i <= uint256(type(JobState).max); ++i) _expect(history.reached(JobState(i)), "a state", i);
        for (uint256 i = 1; i <= uint256(type(Outcome).max); ++i) {
            // A cancelled job is in `reached` only: it had nothing to pay out.
            if (Outcome(i) != Outcome.Cancelled) _expect(history.ended(Outcome(i)), "an outcome", i);
        }
        for (uint256 i = 0; i <= uint256(type(Verb).max); ++i) {
            _expect(history.worked(Verb(i)), "a verb that works", i);
            _expect(history.refused(Verb(i)), "a verb that is refused", i);
        }
        for (uint256 i = 0; i <= uint256(type(Mood).max); ++i) _expect(history.asked(Mood(i)), "a wallet's mood", i);
    }

    error Never(string what, uint256 which);

    function _expect(uint256 times, string memory what, uint256 which) private pure {
        if (times == 0) revert Never(what, which);
    }

    function _rethrow(bytes memory reason) private pure {
        assembly ("memory-safe") {
            revert(add(reason, 32), mload(reason))
        }
    }
}
