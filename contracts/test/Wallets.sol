// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @notice An account that is a contract: takes what its owner signed, and makes any call that it is asked for.
contract Wallet is IERC1271 {
    address private immutable _owner;

    constructor(address owner) {
        _owner = owner;
    }

    receive() external payable {}

    function run(address target, bytes calldata payload) external payable {
        (bool done, bytes memory answer) = target.call{value: msg.value}(payload);
        if (done) return;
        assembly ("memory-safe") {
            revert(add(answer, 32), mload(answer))
        }
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecover(digest, signature);
        bool good = problem == ECDSA.RecoverError.NoError && signer == _owner;
        return good ? IERC1271.isValidSignature.selector : bytes4(0);
    }
}

/// @notice How a hostile wallet answers when it is asked about a signature.
enum Manner {
    Accept,
    Refuse,
    Revert,
    Nothing,
    FourBytes,
    One,
    Dirty,
    Flood,
    BurnAll,
    CallBack
}

/// @notice A wallet that answers as it was told last, whatever the signature.
contract HostileWallet {
    uint256 private constant FLOOD_BYTES = 200_000;

    Manner private _manner;
    address private _target;
    bytes private _payload;

    function turn(Manner manner) external {
        _manner = manner;
    }

    /// @notice What `CallBack` calls; it accepts only if that call succeeded.
    function prepare(address target, bytes calldata payload) external {
        (_manner, _target, _payload) = (Manner.CallBack, target, payload);
    }

    function run(address target, bytes calldata payload) external {
        (bool done,) = target.call(payload);
        require(done);
    }

    function isValidSignature(bytes32, bytes calldata) external returns (bytes4) {
        Manner manner = _manner;
        bytes32 magic = bytes32(IERC1271.isValidSignature.selector);
        if (manner == Manner.Refuse) magic = bytes32(0);
        if (manner == Manner.Revert) revert();
        if (manner == Manner.One) magic = bytes32(uint256(1));
        if (manner == Manner.Dirty) magic |= bytes32(uint256(1));
        if (manner == Manner.CallBack) {
            (bool done,) = _target.call(_payload);
            if (!done) magic = bytes32(0);
        }
        uint256 size = 32;
        if (manner == Manner.Nothing) size = 0;
        if (manner == Manner.FourBytes) size = 4;
        if (manner == Manner.Flood) size = FLOOD_BYTES;
        while (manner == Manner.BurnAll) {}
        assembly {
            mstore(0, magic)
            return(0, size)
        }
    }
}
