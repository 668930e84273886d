// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {IJobMarket, Job, JobId, JobState, Terms} from "../IJobMarket.sol";

// One small arbiter for each policy of verification, on an escrow that knows of none of them. They show that one role carries
// all; none is made to hold money.

/// @notice What the arbiters below share.
abstract contract Arbiter {
    error NotDelivered(JobId id);
    error WrongJob(JobId id);

    uint256 internal constant GOOD = 10_000;
    uint256 internal constant BAD = 0;

    IJobMarket internal immutable _market;

    constructor(IJobMarket market) {
        _market = market;
    }

    /// @dev The id of a job whose terms in the escrow are these; its `arbiterData` can be trusted from here on.
    function _known(Job calldata job, Terms calldata terms) internal view returns (JobId id) {
        id = _market.jobId(job);
        if (!_market.isCommitted(id, terms)) revert WrongJob(id);
    }

    function _checkDelivered(JobId id) internal view {
        (JobState state,) = _market.stateOf(id);
        if (state != JobState.Delivered) revert NotDelivered(id);
    }
}

/// @notice `optimistic`: judges what a submitter disputed, and nothing else.
contract OptimisticArbiter is Arbiter {
    error NotTheJudge(address caller);
    error NotDisputed(JobId id);

    address private immutable _judge;

    constructor(IJobMarket market, address judge_) Arbiter(market) {
        _judge = judge_;
    }

    function judge(JobId id, Terms calldata terms, uint256 shareBps) external {
        if (msg.sender != _judge) revert NotTheJudge(msg.sender);
        (JobState state,) = _market.stateOf(id);
        if (state != JobState.Disputed) revert NotDisputed(id);

        _market.rule(id, terms, shareBps);
    }
}

/// @notice `audit:p`: after the delivery it draws a job with the probability in the job's `arbiterData` (in 1/10,000), opens the case
/// itself, and rules by the digest of its re-run.
contract AuditArbiter is Arbiter {
    error NotTheAuditor(address caller);
    error DrawnTwice(JobId id);
    error TooEarly(JobId id, uint256 drawBlock);
    error NotDrawn(JobId id);

    address private immutable _auditor;
    mapping(JobId id => uint256) private _drawBlock;

    constructor(IJobMarket market, address auditor) Arbiter(market) {
        _auditor = auditor;
    }

    /// @notice Fixes the block whose hash decides. Anyone may call, once a job.
    function mark(Job calldata job, Terms calldata terms) external {
        JobId id = _known(job, terms);
        _checkDelivered(id);
        if (_drawBlock[id] != 0) revert DrawnTwice(id);

        _drawBlock[id] = block.number + 1;
    }

    /// @notice Opens a case if the job was drawn.
    function draw(Job calldata job, Terms calldata terms) external {
        JobId id = _known(job, terms);
        uint256 drawBlock = _drawBlock[id];
        if (drawBlock == 0 || block.number <= drawBlock) revert TooEarly(id, drawBlock);
        if (uint256(keccak256(abi.encode(blockhash(drawBlock), id))) % GOOD >= uint256(job.arbiterData)) revert NotDrawn(id);

        _market.dispute(id, terms);
    }

    /// @notice Rules by the digest that a re-run gave.
    function judge(JobId id, Terms calldata terms, bytes32 rerun) external {
        if (msg.sender != _auditor) revert NotTheAuditor(msg.sender);

        _market.rule(id, terms, rerun == terms.result ? GOOD : BAD);
    }
}

/// @notice `replicated:k/n`: n jobs of one spec in one group. What each provider delivers is a seal: the digest of its result with its
/// address and a salt. Seals open once all n are there; k equal results are good, others bad.
contract ReplicaArbiter is Arbiter {
    error NotAllSealed(bytes32 group);
    error WrongSeal(JobId id);
    error NotAllOpen(bytes32 group);
    error EnteredTwice(JobId id);

    struct Group {
        uint256 entries;
        uint256 opened;
        mapping(bytes32 digest => uint256) votes;
        mapping(JobId id => bool) entered;
        mapping(JobId id => bytes32) digests;
    }

    mapping(bytes32 data => Group) private _groups;

    constructor(IJobMarket market) Arbiter(market) {}

    /// @notice `arbiterData`: k in the highest byte, n in the next, the rest names the group.
    function quorum(bytes32 data) public pure returns (uint256 k, uint256 n) {
        return (uint8(data[0]), uint8(data[1]));
    }

    function enter(Job calldata job, Terms calldata terms) external {
        JobId id = _known(job, terms);
        _checkDelivered(id);
        Group storage group = _groups[job.arbiterData];
        if (group.entered[id]) revert EnteredTwice(id);

        group.entered[id] = true;
        group.entries += 1;
    }

    function open(Job calldata job, Terms calldata terms, bytes32 digest, bytes32 salt) external {
        JobId id = _known(job, terms);
        Group storage group = _groups[job.arbiterData];
        (, uint256 n) = quorum(job.arbiterData);
        if (group.entries < n) revert NotAllSealed(job.arbiterData);
        bytes32 seal = keccak256(abi.encode(terms.provider.account(), digest, salt));
        if (seal != terms.result || group.digests[id] != 0) revert WrongSeal(id);

        group.digests[id] = digest;
        group.votes[digest] += 1;
        group.opened += 1;
    }

    /// @notice Rules once all seals are open; those that stay shut are bad when the window is about to close.
    function judge(Job calldata job, Terms calldata terms) external {
        JobId id = _known(job, terms);
        Group storage group = _groups[job.arbiterData];
        (uint256 k, uint256 n) = quorum(job.arbiterData);
        uint256 half = terms.times.challengeSeconds() / 2;
        if (group.opened < n && block.timestamp + half < terms.times.deadline()) revert NotAllOpen(job.arbiterData);

        bytes32 digest = group.digests[id];
        _market.rule(id, terms, digest != 0 && group.votes[digest] >= k ? GOOD : BAD);
    }
}

/// @notice `verifier:image`: m of n verifiers ran the submitter's checker and signed its score; the job's `arbiterData` is the least score.
contract QuorumArbiter is Arbiter {
    error NotAVerifier(address signer);
    error OutOfOrder(address signer);
    error NoQuorum(uint256 signed, uint256 needed);

    uint256 private immutable _needed;
    mapping(address account => bool) private _isVerifier;

    constructor(IJobMarket market, address[] memory verifiers, uint256 needed) Arbiter(market) {
        _needed = needed;
        for (uint256 i = 0; i < verifiers.length; ++i) {
            _isVerifier[verifiers[i]] = true;
        }
    }

    /// @notice What a verifier signs.
    function scoreDigest(JobId id, bytes32 result, uint256 score) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), id, result, score));
    }

    /// @notice `signatures` come in the rising order of their signers.
    function judge(Job calldata job, Terms calldata terms, uint256 score, bytes[] calldata signatures) external {
        JobId id = _known(job, terms);
        if (signatures.length < _needed) revert NoQuorum(signatures.length, _needed);
        bytes32 digest = scoreDigest(id, terms.result, score);
        address last = address(0);
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = ECDSA.recover(digest, signatures[i]);
            if (!_isVerifier[signer]) revert NotAVerifier(signer);
            if (signer <= last) revert OutOfOrder(signer);
            last = signer;
        }

        _market.rule(id, terms, score >= uint256(job.arbiterData) ? GOOD : BAD);
    }
}
