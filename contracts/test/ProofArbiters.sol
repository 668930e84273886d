// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {IJobMarket, Job, JobId, Terms} from "../IJobMarket.sol";
import {Arbiter} from "./Arbiters.sol";

/// @notice Rules by evidence that a machine can check: good at once with it; without it the case that anyone may ask for ends badly.
abstract contract ProofArbiter is Arbiter {
    error WrongProof(JobId id);
    error NoDoubtYet(JobId id);
    error StillTime(JobId id, uint256 until);

    /// @notice How long before the end of the ruling time the evidence must be there, in seconds.
    uint256 public constant MARGIN = 60;

    mapping(JobId id => bool) private _doubted;

    function prove(Job calldata job, Terms calldata terms, bytes calldata proof) external {
        JobId id = _known(job, terms);
        if (!_holds(id, job.spec, terms.result, proof)) revert WrongProof(id);

        _market.rule(id, terms, GOOD);
    }

    /// @notice Opens a case, as its arbiter, about a delivery without evidence.
    function doubt(Job calldata job, Terms calldata terms) external {
        JobId id = _known(job, terms);

        _doubted[id] = true;
        _market.dispute(id, terms);
    }

    function condemn(JobId id, Terms calldata terms) external {
        if (!_doubted[id]) revert NoDoubtYet(id);
        uint256 until = terms.times.deadline() - MARGIN;
        if (block.timestamp < until) revert StillTime(id, until);

        _market.rule(id, terms, BAD);
    }

    function _holds(JobId id, bytes32 spec, bytes32 result, bytes calldata proof) internal view virtual returns (bool);
}

/// @notice `attested`: the evidence is a vendor's signature that binds job, spec and result.
contract AttestedArbiter is ProofArbiter {
    address private immutable _vendor;

    constructor(IJobMarket market, address vendor) Arbiter(market) {
        _vendor = vendor;
    }

    /// @notice What the vendor's hardware signs.
    function quoteDigest(JobId id, bytes32 spec, bytes32 result) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), id, spec, result));
    }

    function _holds(JobId id, bytes32 spec, bytes32 result, bytes calldata proof) internal view override returns (bool) {
        (address signer, ECDSA.RecoverError problem,) = ECDSA.tryRecover(quoteDigest(id, spec, result), proof);
        return problem == ECDSA.RecoverError.NoError && signer == _vendor;
    }
}

/// @notice Whether `proof` shows that a computation with the digest `spec` gave the digest `result`.
interface IVerifier {
    function verify(bytes32 spec, bytes32 result, bytes calldata proof) external view returns (bool);
}

/// @notice Stands in for a real proof system, which is simulated: the proof is a hash that anyone can compute.
contract SimulatedVerifier is IVerifier {
    function verify(bytes32 spec, bytes32 result, bytes calldata proof) external pure returns (bool) {
        return keccak256(proof) == keccak256(abi.encode(keccak256(abi.encode("simulated proof", spec, result))));
    }
}

/// @notice `zk`: the evidence is a proof that a verifier contract checks.
contract ZkArbiter is ProofArbiter {
    IVerifier private immutable _verifier;

    constructor(IJobMarket market, IVerifier verifier) Arbiter(market) {
        _verifier = verifier;
    }

    function _holds(JobId, bytes32 spec, bytes32 result, bytes calldata proof) internal view override returns (bool) {
        return _verifier.verify(spec, result, proof);
    }
}
