// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice Takes native coins, and makes one prepared call in the middle of the next transfer, remembering how it went.
contract ReenteringReceiver {
    address private _target;
    bytes private _payload;
    bool public called;
    bool public succeeded;
    bytes public answer;

    receive() external payable {
        if (_payload.length == 0 || called) return;
        called = true;
        (succeeded, answer) = _target.call(_payload);
    }

    function prepare(address target, bytes calldata payload) external {
        (_target, _payload, called, succeeded, answer) = (target, payload, false, false, "");
    }

    function run(address target, bytes calldata payload) external payable {
        (bool done, bytes memory returned) = target.call{value: msg.value}(payload);
        require(done, string(returned));
    }
}

/// @notice Refuses every coin.
contract RefusingReceiver {
    error NoCoins();

    receive() external payable {
        revert NoCoins();
    }

    function run(address target, bytes calldata payload) external payable {
        (bool done, bytes memory returned) = target.call{value: msg.value}(payload);
        if (done) return;
        assembly ("memory-safe") {
            revert(add(returned, 32), mload(returned))
        }
    }
}
