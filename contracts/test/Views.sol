// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice Asks a contract many questions in one call.
contract Views {
    /// @return answers What `target` answers to each of `calls`. One that it refuses refuses all.
    function all(address target, bytes[] calldata calls) external view returns (bytes[] memory answers) {
        answers = new bytes[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool ok, bytes memory answer) = target.staticcall(calls[i]);
            require(ok);
            answers[i] = answer;
        }
    }
}
