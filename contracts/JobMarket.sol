// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Bid, IJobMarket, Job, JobId, JobState, Outcome, Terms} from "./IJobMarket.sol";
import {toStake, toTimes} from "./Packed.sol";
import {BASIS_POINTS, Locked, Payout, lapsed, paid, split} from "./Settlement.sol";
import {Signatures} from "./Signatures.sol";

/// @dev All that is stored of a job: its state in the highest byte, below it 31 bytes: while the job is Awarded, Delivered or Disputed a
/// commitment to its terms, once it is Closed the outcome.
type JobRecord is bytes32;

/// @dev What an account has of one token: its balance in the 128 low bits, its epoch above.
type Account is uint256;

/// @title The escrow of deai; IJobMarket is its specification
contract JobMarket is IJobMarket, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    bytes32 private constant JOB_TYPEHASH = keccak256(
        "Job(address submitter,address token,uint96 priceStart,uint96 priceCap,uint96 bond,address arbiter,uint96 disputeFee,"
        "bytes32 arbiterData,address matcher,uint16 matcherFeeBps,uint32 epoch,uint40 openAt,uint40 awardBy,uint32 deliverSeconds,"
        "uint24 challengeSeconds,uint24 rulingSeconds,bytes32 spec,bytes32 salt)"
    );
    bytes32 private constant BID_TYPEHASH = keccak256("Bid(bytes32 job,address provider,uint96 price,uint40 expiresAt)");
    bytes32 private constant JOBS_TYPEHASH = keccak256("Jobs(bytes32 root)");
    bytes32 private constant APPROVAL_TYPEHASH = keccak256("Approval(bytes32 job,address provider,bytes32 result)");

    address private constant NATIVE = address(0);
    uint256 private constant STATE_SHIFT = 248;
    uint256 private constant EPOCH_SHIFT = 128;
    uint256 private constant MAX_REASON_BYTES = 1024;

    /// @inheritdoc IJobMarket
    uint40 public constant MAX_BID_SECONDS = 120;

    mapping(JobId id => JobRecord) private _jobs;
    mapping(bytes32 bidDigest => bool) private _placed;
    mapping(address token => mapping(address account => Account)) private _accounts;
    mapping(address token => uint256) private _burned;

    constructor() EIP712("deai", "1") {}

    // ---------------------------------------------------------------- money

    /// @inheritdoc IJobMarket
    function deposit(address token, address account, uint256 amount) external payable nonReentrant {
        if (msg.value != (token == NATIVE ? amount : 0)) revert Malformed("value");

        _deposit(token, account, amount);
    }

    /// @inheritdoc IJobMarket
    function depositWithPermit(address token, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
        if (token == NATIVE) revert Malformed("token");
        _checkToken(token);

        // Anyone may have sent this permit before us; then it fails here, and the allowance is there all the same.
        try IERC20Permit(token).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}

        _deposit(token, msg.sender, amount);
    }

    /// @inheritdoc IJobMarket
    function withdraw(address token, address to, uint256 amount) external nonReentrant {
        if (to == address(0) || to == address(this)) revert Malformed("to");
        if (amount == 0) revert Malformed("amount");

        _debit(token, msg.sender, amount);

        emit Withdrawn(token, msg.sender, to, amount);

        if (token == NATIVE) Address.sendValue(payable(to), amount);
        else IERC20(token).safeTransfer(to, amount);
    }

    // ---------------------------------------------------------------- before the award

    /// @inheritdoc IJobMarket
    function post(Job calldata job) external returns (JobId id) {
        id = jobId(job);
        JobState state = _state(id);
        if (msg.sender != job.submitter) revert WrongCaller(msg.sender, job.submitter);
        if (state != JobState.Unknown) revert WrongState(id, state);
        _checkForm(job);
        _checkEpoch(id, job, _accounts[job.token][job.submitter]);
        if (block.timestamp >= job.awardBy) revert JobExpired(id, job.awardBy);

        _jobs[id] = _record(JobState.Open, 0);

        emit JobPosted(id, job.submitter, job);
    }

    /// @inheritdoc IJobMarket
    function bid(Bid calldata bid_) external {
        JobState state = _state(bid_.job);
        if (msg.sender != bid_.provider) revert WrongCaller(msg.sender, bid_.provider);
        if (state != JobState.Unknown && state != JobState.Open) revert WrongState(bid_.job, state);
        _checkBidTimes(bid_);

        _placed[bidDigest(bid_)] = true;

        emit BidPlaced(bid_.job, bid_.provider, bid_);
    }

    /// @inheritdoc IJobMarket
    function cancel(Job calldata job) external returns (JobId id) {
        id = jobId(job);
        JobState state = _state(id);
        if (msg.sender != job.submitter) revert WrongCaller(msg.sender, job.submitter);
        if (state != JobState.Unknown && state != JobState.Open) revert WrongState(id, state);

        _jobs[id] = _closed(Outcome.Cancelled);

        emit JobCancelled(id, job.submitter);
    }

    /// @inheritdoc IJobMarket
    function cancelAll(address token) external returns (uint32 epoch) {
        Account word = _accounts[token][msg.sender];
        epoch = _epoch(word) + 1;
        _accounts[token][msg.sender] = Account.wrap(uint256(epoch) << EPOCH_SHIFT | _balance(word));

        emit AllCancelled(token, msg.sender, epoch);
    }

    /// @inheritdoc IJobMarket
    function award(Job calldata job_, bytes calldata jobSignature, Bid calldata bid_, bytes calldata bidSignature)
        external
        returns (JobId id)
    {
        id = jobId(job_);
        Job memory job = job_;
        _checkAuthorised(id, job.submitter, jobSignature);
        _checkForm(job);
        mapping(address account => Account) storage accounts = _accounts[job.token];
        Account submitter = accounts[job.submitter];
        _checkEpoch(id, job, submitter);
        _checkAwardTimes(id, job);
        _checkBid(id, job, bid_, bidSignature);
        uint256 most = _ramp(job);
        if (bid_.price > most) revert PriceAboveRamp(id, bid_.price, most);

        Terms memory terms = _terms(job, bid_);
        _jobs[id] = _record(JobState.Awarded, _hash(terms));
        accounts[job.submitter] = _less(job.token, job.submitter, submitter, bid_.price);
        accounts[bid_.provider] = _less(job.token, bid_.provider, accounts[bid_.provider], job.bond);

        emit JobAwarded(id, job.submitter, bid_.provider, terms, job.spec, job.arbiterData);
    }

    // ---------------------------------------------------------------- after the award

    /// @inheritdoc IJobMarket
    function deliver(JobId id, Terms calldata terms, bytes32 result) external {
        _checkDelivery(id, terms, result);

        Terms memory delivered = terms;
        uint40 windowEnd = block.timestamp.toUint40() + terms.times.challengeSeconds();
        delivered.times = terms.times.withDeadline(windowEnd);
        delivered.result = result;
        _jobs[id] = _record(JobState.Delivered, _hash(delivered));

        emit JobDelivered(id, result, windowEnd);

        if (terms.times.challengeSeconds() == 0) _pay(id, terms);
    }

    /// @inheritdoc IJobMarket
    function deliverAndClose(JobId id, Terms calldata terms, bytes32 result, bytes calldata approval) external {
        _checkDelivery(id, terms, result);
        address submitter = terms.submitter.account();
        bytes32 digest = approvalDigest(id, msg.sender, result);
        if (!Signatures.isSigned(submitter, digest, approval)) revert WrongSignature(submitter, digest);

        emit JobDelivered(id, result, block.timestamp.toUint40());

        _pay(id, terms);
    }

    /// @inheritdoc IJobMarket
    function approve(JobId id, Terms calldata terms) external {
        _checkTerms(id, terms, JobState.Delivered);
        address submitter = terms.submitter.account();
        if (msg.sender != submitter) revert WrongCaller(msg.sender, submitter);

        _pay(id, terms);
    }

    /// @inheritdoc IJobMarket
    function settle(JobId id, Terms calldata terms) external {
        _checkTerms(id, terms, JobState.Delivered);
        uint40 windowEnd = terms.times.deadline();
        if (block.timestamp < windowEnd) revert WindowOpen(id, windowEnd);

        _pay(id, terms);
    }

    /// @inheritdoc IJobMarket
    function dispute(JobId id, Terms calldata terms) external {
        _checkTerms(id, terms, JobState.Delivered);
        address submitter = terms.submitter.account();
        address arbiter = terms.arbiter.account();
        // With no arbiter its account is zero, which calls nothing: `submitter` alone must be refused.
        bool byArbiter = msg.sender == arbiter;
        if (arbiter == address(0)) revert WrongCaller(msg.sender, arbiter);
        if (!byArbiter && msg.sender != submitter) revert WrongCaller(msg.sender, submitter);
        uint40 windowEnd = terms.times.deadline();
        if (block.timestamp >= windowEnd) revert WindowOver(id, windowEnd);

        Terms memory disputed = terms;
        uint40 ruleBy = block.timestamp.toUint40() + terms.times.rulingSeconds();
        disputed.times = terms.times.withDeadline(ruleBy);
        if (byArbiter) disputed.times = disputed.times.openedByArbiter();
        _jobs[id] = _record(JobState.Disputed, _hash(disputed));
        uint256 fee = byArbiter ? 0 : terms.arbiter.amount();
        _debit(terms.token, submitter, fee);

        emit JobDisputed(id, msg.sender, fee, ruleBy);
    }

    /// @inheritdoc IJobMarket
    function rule(JobId id, Terms calldata terms, uint256 shareBps) external {
        bool disputed = _state(id) == JobState.Disputed;
        _checkTerms(id, terms, disputed ? JobState.Disputed : JobState.Delivered);
        address arbiter = terms.arbiter.account();
        if (msg.sender != arbiter) revert WrongCaller(msg.sender, arbiter);
        uint40 deadline = terms.times.deadline();
        if (block.timestamp >= deadline) {
            if (disputed) revert RuleByMissed(id, deadline);
            revert WindowOver(id, deadline);
        }
        if (shareBps > BASIS_POINTS) revert Malformed("shareBps");

        Outcome outcome =
            shareBps == BASIS_POINTS ? Outcome.Paid : shareBps == 0 ? Outcome.Refunded : Outcome.Split;
        Locked memory locked = _locked(terms);
        locked.cost = terms.arbiter.amount();
        if (disputed) locked.prepaid = _prepaid(terms);

        _close(id, terms, outcome, split(locked, shareBps));
    }

    /// @inheritdoc IJobMarket
    function lapse(JobId id, Terms calldata terms) external {
        _checkTerms(id, terms, JobState.Disputed);
        uint40 ruleBy = terms.times.deadline();
        if (block.timestamp < ruleBy) revert RuleByAhead(id, ruleBy);

        bool byArbiter = terms.times.byArbiter();
        Locked memory locked = _locked(terms);
        locked.prepaid = _prepaid(terms);

        _close(id, terms, byArbiter ? Outcome.Paid : Outcome.Split, lapsed(locked, byArbiter));
    }

    /// @inheritdoc IJobMarket
    function reclaim(JobId id, Terms calldata terms) external {
        _checkTerms(id, terms, JobState.Awarded);
        uint40 deliverBy = terms.times.deadline();
        if (block.timestamp < deliverBy) revert DeliverByAhead(id, deliverBy);

        _close(id, terms, Outcome.Refunded, split(_locked(terms), 0));
    }

    // ---------------------------------------------------------------- batches

    /// @inheritdoc IJobMarket
    function batch(bytes[] calldata calls, bool all) external returns (bool[] memory done) {
        done = new bool[](calls.length);
        for (uint256 i = 0; i < calls.length; ++i) {
            done[i] = _call(i, calls[i], all);
        }
    }

    /// @dev The call runs by `delegatecall`: its caller is the batch's, and what it did is undone if it fails.
    function _call(uint256 index, bytes calldata data, bool all) private returns (bool ok) {
        bytes memory reason;
        assembly ("memory-safe") {
            // The calldata lies beyond the free memory and is not kept, so that the cost of a batch grows in a straight line.
            let free := mload(0x40)
            calldatacopy(free, data.offset, data.length)
            ok := delegatecall(gas(), address(), free, data.length, 0, 0)
            if iszero(ok) {
                let size := returndatasize()
                if gt(size, MAX_REASON_BYTES) { size := MAX_REASON_BYTES }
                reason := free
                mstore(reason, size)
                returndatacopy(add(reason, 32), 0, size)
                if and(all, gt(size, 0)) { revert(add(reason, 32), size) }
                mstore(0x40, and(add(add(reason, 63), size), not(31)))
            }
        }
        if (ok) return true;
        if (reason.length == 0) revert NoReason(index);

        emit CallSkipped(index, reason);
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IJobMarket
    function balanceOf(address token, address account) external view returns (uint256) {
        return _balance(_accounts[token][account]);
    }

    /// @inheritdoc IJobMarket
    function epochOf(address token, address account) external view returns (uint32) {
        return _epoch(_accounts[token][account]);
    }

    /// @inheritdoc IJobMarket
    function burned(address token) external view returns (uint256) {
        return _burned[token];
    }

    /// @inheritdoc IJobMarket
    function stateOf(JobId id) external view returns (JobState state, Outcome outcome) {
        state = _state(id);
        if (state == JobState.Closed) outcome = Outcome(uint8(uint256(JobRecord.unwrap(_jobs[id]))));
    }

    /// @inheritdoc IJobMarket
    function isCommitted(JobId id, Terms calldata terms) external view returns (bool) {
        JobRecord record = _jobs[id];
        JobState state = _stateOf(record);
        return state != JobState.Unknown && state != JobState.Closed && _isCommitment(record, terms);
    }

    /// @inheritdoc IJobMarket
    function isPlaced(Bid calldata bid_) external view returns (bool) {
        return _placed[bidDigest(bid_)];
    }

    /// @inheritdoc IJobMarket
    function jobId(Job calldata job) public view returns (JobId) {
        bytes32 typehash = JOB_TYPEHASH;
        bytes32 structHash;
        // A job is static, so its words in the calldata are those that EIP-712 hashes; each is checked where it is read.
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            calldatacopy(add(free, 32), job, 576)
            structHash := keccak256(free, 608)
        }
        return JobId.wrap(_hashTypedDataV4(structHash));
    }

    /// @inheritdoc IJobMarket
    function bidDigest(Bid calldata bid_) public view returns (bytes32) {
        bytes32 typehash = BID_TYPEHASH;
        bytes32 structHash;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            calldatacopy(add(free, 32), bid_, 128)
            structHash := keccak256(free, 160)
        }
        return _hashTypedDataV4(structHash);
    }

    /// @inheritdoc IJobMarket
    function jobsDigest(bytes32 root) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(JOBS_TYPEHASH, root)));
    }

    /// @inheritdoc IJobMarket
    function approvalDigest(JobId id, address provider, bytes32 result) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(APPROVAL_TYPEHASH, id, provider, result)));
    }

    /// @inheritdoc IJobMarket
    function ramp(Job calldata job) external view returns (uint256) {
        if (job.priceStart > job.priceCap) revert Malformed("priceStart");
        return _ramp(job);
    }

    function _ramp(Job memory job) private view returns (uint256) {
        if (block.timestamp <= job.openAt) return job.priceStart;
        if (block.timestamp >= job.awardBy) return job.priceCap;
        // Times and prices are in order here, and no product reaches 2**136.
        unchecked {
            uint256 rise = uint256(job.priceCap) - job.priceStart;
            return job.priceStart + rise * (block.timestamp - job.openAt) / (job.awardBy - job.openAt);
        }
    }

    // ---------------------------------------------------------------- checks

    function _checkToken(address token) private view {
        if (token.code.length == 0) revert NoToken(token);
    }

    function _checkAuthorised(JobId id, address submitter, bytes calldata signature) private view {
        JobState state = _state(id);
        if (state == JobState.Open) return;
        if (state != JobState.Unknown) revert WrongState(id, state);
        (bool inTree, bytes32[] calldata proof) = Signatures.proofOf(signature);
        if (inTree) {
            bytes32 root = MerkleProof.processProofCalldata(proof, JobId.unwrap(id));
            if (Signatures.isAccounts(submitter, jobsDigest(root), signature[:64])) return;
        }
        _checkSignature(submitter, JobId.unwrap(id), signature);
    }

    function _checkForm(Job memory job) private pure {
        if (job.priceStart > job.priceCap) revert Malformed("priceStart");
        if (job.openAt >= job.awardBy) revert Malformed("openAt");
        if (job.deliverSeconds == 0) revert Malformed("deliverSeconds");
        if (job.spec == 0) revert Malformed("spec");
        if (job.matcherFeeBps > BASIS_POINTS) revert Malformed("matcherFeeBps");
        if (job.arbiter == address(0)) {
            if (job.disputeFee != 0) revert Malformed("disputeFee");
            if (job.arbiterData != 0) revert Malformed("arbiterData");
            if (job.rulingSeconds != 0) revert Malformed("rulingSeconds");
        } else {
            if (job.arbiter == job.submitter) revert Malformed("arbiter");
            if (job.disputeFee > job.bond) revert Malformed("disputeFee");
            if (job.challengeSeconds == 0) revert Malformed("challengeSeconds");
            if (job.rulingSeconds == 0) revert Malformed("rulingSeconds");
        }
    }

    function _checkEpoch(JobId id, Job memory job, Account submitter) private pure {
        if (job.epoch != _epoch(submitter)) revert WrongEpoch(id, job.epoch, _epoch(submitter));
    }

    function _checkAwardTimes(JobId id, Job memory job) private view {
        if (block.timestamp >= job.awardBy) revert JobExpired(id, job.awardBy);
        if (block.timestamp < job.openAt && msg.sender != job.matcher) revert NotOpen(id, job.openAt);
    }

    function _checkBid(JobId id, Job memory job, Bid calldata bid_, bytes calldata signature) private view {
        if (JobId.unwrap(bid_.job) != JobId.unwrap(id)) revert WrongJob(id, bid_.job);
        address provider = bid_.provider;
        if (provider == address(0) || provider == job.submitter || provider == job.arbiter) revert Malformed("provider");
        bytes32 digest = bidDigest(bid_);
        if (signature.length != 0) _checkSignature(provider, digest, signature);
        else if (!_placed[digest]) revert NoBid(id, provider);
        _checkBidTimes(bid_);
    }

    function _checkBidTimes(Bid calldata bid_) private view {
        if (block.timestamp >= bid_.expiresAt) revert BidExpired(bid_.job, bid_.expiresAt);
        if (bid_.expiresAt - block.timestamp > MAX_BID_SECONDS) revert BidTooLong(bid_.job, bid_.expiresAt);
    }

    function _checkSignature(address signer, bytes32 digest, bytes calldata signature) private view {
        if (!Signatures.isSigned(signer, digest, signature)) revert WrongSignature(signer, digest);
    }

    function _checkDelivery(JobId id, Terms calldata terms, bytes32 result) private view {
        _checkTerms(id, terms, JobState.Awarded);
        address provider = terms.provider.account();
        if (msg.sender != provider) revert WrongCaller(msg.sender, provider);
        uint40 deliverBy = terms.times.deadline();
        if (block.timestamp >= deliverBy) revert DeliverByMissed(id, deliverBy);
        if (result == 0) revert Malformed("result");
    }

    function _checkTerms(JobId id, Terms calldata terms, JobState expected) private view {
        JobRecord record = _jobs[id];
        JobState state = _stateOf(record);
        if (state != expected) revert WrongState(id, state);
        if (!_isCommitment(record, terms)) revert WrongTerms(id);
    }

    // ---------------------------------------------------------------- the job's record

    function _state(JobId id) private view returns (JobState) {
        return _stateOf(_jobs[id]);
    }

    function _stateOf(JobRecord record) private pure returns (JobState) {
        return JobState(uint8(uint256(JobRecord.unwrap(record)) >> STATE_SHIFT));
    }

    function _isCommitment(JobRecord record, Terms calldata terms) private pure returns (bool) {
        bytes32 hash;
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, terms, 224)
            hash := keccak256(free, 224)
        }
        return uint248(uint256(JobRecord.unwrap(record))) == uint256(hash) >> (256 - STATE_SHIFT);
    }

    /// @dev A struct of words lies in memory as `abi.encode` would write it.
    function _hash(Terms memory terms) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            hash := keccak256(terms, 224)
        }
    }

    function _record(JobState state, bytes32 commitment) private pure returns (JobRecord) {
        return JobRecord.wrap(bytes32(uint256(state) << STATE_SHIFT) | commitment >> (256 - STATE_SHIFT));
    }

    function _closed(Outcome outcome) private pure returns (JobRecord) {
        return JobRecord.wrap(bytes32(uint256(JobState.Closed) << STATE_SHIFT | uint256(outcome)));
    }

    function _terms(Job memory job, Bid calldata bid_) private view returns (Terms memory terms) {
        terms.submitter = toStake(job.submitter, bid_.price);
        terms.provider = toStake(bid_.provider, job.bond);
        if (msg.sender == job.matcher) {
            // At most the price, as `matcherFeeBps` is at most `BASIS_POINTS`.
            unchecked {
                terms.matcher = toStake(job.matcher, uint96(uint256(bid_.price) * job.matcherFeeBps / BASIS_POINTS));
            }
        }
        terms.arbiter = toStake(job.arbiter, job.disputeFee);
        terms.token = job.token;
        uint40 deliverBy = block.timestamp.toUint40() + job.deliverSeconds;
        terms.times = toTimes(deliverBy, job.challengeSeconds, job.rulingSeconds);
    }

    function _locked(Terms calldata terms) private pure returns (Locked memory locked) {
        locked.price = terms.submitter.amount();
        locked.fee = terms.matcher.amount();
        locked.bond = terms.provider.amount();
    }

    /// @dev What the submitter prepaid for a case that is Disputed.
    function _prepaid(Terms calldata terms) private pure returns (uint256) {
        return terms.times.byArbiter() ? 0 : terms.arbiter.amount();
    }

    // ---------------------------------------------------------------- balances

    function _deposit(address token, address account, uint256 amount) private {
        if (account == address(0)) revert Malformed("account");
        uint256 arrived = token == NATIVE ? amount : _pull(token, amount);
        if (arrived == 0) revert Malformed("amount");

        _credit(_accounts[token], token, account, arrived);

        emit Deposited(token, account, msg.sender, arrived);
    }

    function _pull(address token, uint256 amount) private returns (uint256 arrived) {
        _checkToken(token);
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        return IERC20(token).balanceOf(address(this)) - before;
    }

    function _pay(JobId id, Terms calldata terms) private {
        _close(id, terms, Outcome.Paid, paid(terms.submitter.amount(), terms.matcher.amount(), terms.provider.amount()));
    }

    /// @dev The one way in which what a job locked leaves it.
    function _close(JobId id, Terms calldata terms, Outcome outcome, Payout memory payout) private {
        address token = terms.token;
        _jobs[id] = _closed(outcome);
        if (payout.burned != 0) _burned[token] += payout.burned;

        emit JobClosed(id, outcome, payout);

        mapping(address account => Account) storage accounts = _accounts[token];
        if (payout.toSubmitter != 0) _credit(accounts, token, terms.submitter.account(), payout.toSubmitter);
        if (payout.toProvider != 0) _credit(accounts, token, terms.provider.account(), payout.toProvider);
        if (payout.toMatcher != 0) _credit(accounts, token, terms.matcher.account(), payout.toMatcher);
        if (payout.toArbiter != 0) _credit(accounts, token, terms.arbiter.account(), payout.toArbiter);
    }

    function _credit(
        mapping(address account => Account) storage accounts,
        address token,
        address account,
        uint256 amount
    ) private {
        Account word = accounts[account];
        if (_balance(word) + amount > type(uint128).max) revert BalanceOverflow(token, account);
        unchecked {
            accounts[account] = Account.wrap(Account.unwrap(word) + amount);
        }
    }

    function _debit(address token, address account, uint256 amount) private {
        _accounts[token][account] = _less(token, account, _accounts[token][account], amount);
    }

    function _less(address token, address account, Account word, uint256 amount) private pure returns (Account) {
        if (_balance(word) < amount) revert InsufficientBalance(token, account, _balance(word), amount);
        unchecked {
            return Account.wrap(Account.unwrap(word) - amount);
        }
    }

    function _balance(Account word) private pure returns (uint256) {
        return uint128(Account.unwrap(word));
    }

    function _epoch(Account word) private pure returns (uint32) {
        return uint32(Account.unwrap(word) >> EPOCH_SHIFT);
    }
}
