// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {IJobMarket} from "./IJobMarket.sol";

/// @title Whether a signature is an account's, or a contract's (ERC-1271)
/// @dev A contract is asked last, so an account that carries code may still sign with its key.
library Signatures {
    /// @notice The gas a contract gets to judge a signature. What needs more may `post` and `bid`.
    uint256 internal constant CONTRACT_GAS = 150_000;
    uint256 private constant COMPACT_LENGTH = 64;

    /// @notice Whether `signature` (65 bytes, 64 as in EIP-2098, or whatever the contract `signer` takes) is `signer`'s over `digest`.
    function isSigned(address signer, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        return isAccounts(signer, digest, signature) || signer.code.length != 0 && _accepts(signer, digest, signature);
    }

    /// @notice Whether `signature` (65 bytes, or 64 as in EIP-2098) was made with the key of the account `signer`.
    function isAccounts(address signer, bytes32 digest, bytes calldata signature) internal pure returns (bool) {
        (uint8 v, bytes32 r, bytes32 s) = ECDSA.parseCalldata(signature);
        (address recovered, ECDSA.RecoverError problem,) = ECDSA.tryRecover(digest, v, r, s);
        return problem == ECDSA.RecoverError.NoError && recovered == signer;
    }

    /// @notice The proof that follows the 64 bytes of a signature over a tree; `found` is false for a signature of any other form.
    function proofOf(bytes calldata signature) internal pure returns (bool found, bytes32[] calldata proof) {
        found = signature.length > COMPACT_LENGTH && signature.length % 32 == 0;
        assembly ("memory-safe") {
            proof.offset := add(signature.offset, COMPACT_LENGTH)
            proof.length := mul(found, shr(5, sub(signature.length, COMPACT_LENGTH)))
        }
    }

    /// @dev At most one word of the answer is copied: neither its length nor the gas it burns can hurt the caller.
    function _accepts(address signer, bytes32 digest, bytes calldata signature) private view returns (bool accepted) {
        if (gasleft() * 63 / 64 < CONTRACT_GAS) revert IJobMarket.TooLittleGas(CONTRACT_GAS);
        bytes memory question = abi.encodeCall(IERC1271.isValidSignature, (digest, signature));
        bytes32 wanted = bytes32(IERC1271.isValidSignature.selector);
        assembly ("memory-safe") {
            mstore(0, 0)
            let answered := staticcall(CONTRACT_GAS, signer, add(question, 32), mload(question), 0, 32)
            accepted := and(and(answered, gt(returndatasize(), 31)), eq(mload(0), wanted))
        }
    }
}
