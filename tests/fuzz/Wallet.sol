// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";

/// @notice How a wallet meets the market: whether it says yes to a signature, and what it does with coins it is sent.
enum Mood {
    Agreeable,
    Refusing,
    Reverting,
    Garbage,
    Megabytes,
    GasEating,
    Reentering
}

/// @notice A contract that signs, and changes its mind; it takes the native coin, and calls back while it does.
contract Wallet is IERC1271 {
    Mood public mood;
    address public target;
    bytes public payload;
    bool public called;
    bool public succeeded;

    function become(Mood mood_) external {
        mood = mood_;
    }

    function prepare(address target_, bytes calldata payload_) external {
        (target, payload, called, succeeded) = (target_, payload_, false, false);
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        if (mood == Mood.Refusing) return 0xffffffff;
        if (mood == Mood.Reverting) revert("no");
        if (mood == Mood.Garbage) _answer(uint256(uint32(IERC1271.isValidSignature.selector)), 32);
        if (mood == Mood.Megabytes) _answer(0, 400_000);
        if (mood == Mood.GasEating) _eat();
        // Within a static call nothing can be changed, whatever is tried.
        if (mood == Mood.Reentering) {
            (bool changed,) = target.staticcall(payload);
            changed;
        }
        return IERC1271.isValidSignature.selector;
    }

    function _answer(uint256 word, uint256 length) private pure {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, word)
            return(free, length)
        }
    }

    /// @dev All the gas there is.
    function _eat() private pure {
        assembly ("memory-safe") {
            invalid()
        }
    }

    receive() external payable {
        if (mood == Mood.Reverting) revert("no");
        if (mood == Mood.GasEating) _eat();
        if (payload.length == 0 || called) return;
        called = true;
        (succeeded,) = target.call(payload);
    }
}
