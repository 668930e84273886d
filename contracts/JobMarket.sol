// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Bid, IJobMarket, Job, JobId, JobState, Outcome, Terms} from "./IJobMarket.sol";

/// @dev All that is stored of a job: its state in the highest byte, below it 31 bytes: while the job is Awarded or Delivered a
/// commitment to its terms, once it is Closed the outcome.
type JobRecord is bytes32;

/// @title The escrow of deai; IJobMarket is its specification
contract JobMarket is IJobMarket, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    bytes32 private constant JOB_TYPEHASH = keccak256(
        "Job(address submitter,address token,uint96 priceStart,uint96 priceCap,uint96 bond,address arbiter,bytes32 arbiterData,"
        "address matcher,uint16 matcherFeeBps,uint32 epoch,uint40 openAt,uint40 awardBy,uint32 deliverSeconds,"
        "uint32 challengeSeconds,uint32 rulingSeconds,bytes32 spec,bytes32 salt)"
    );
    bytes32 private constant BID_TYPEHASH = keccak256("Bid(bytes32 job,address provider,uint96 price,uint40 expiresAt)");

    uint256 private constant BASIS_POINTS = 10_000;
    uint256 private constant STATE_SHIFT = 248;

    /// @inheritdoc IJobMarket
    uint40 public constant MAX_BID_SECONDS = 120;

    mapping(JobId id => JobRecord) private _jobs;
    mapping(bytes32 bidDigest => bool) private _placed;
    mapping(address token => mapping(address account => uint128)) private _balances;
    mapping(address token => uint256) private _burned;

    constructor() EIP712("deai", "1") {}

    // ---------------------------------------------------------------- money

    /// @inheritdoc IJobMarket
    function deposit(address token, address account, uint256 amount) external nonReentrant {
        _checkToken(token);

        _deposit(token, account, amount);
    }

    /// @inheritdoc IJobMarket
    function depositWithPermit(address token, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external
        nonReentrant
    {
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

        IERC20(token).safeTransfer(to, amount);
    }

    // ---------------------------------------------------------------- before the award

    /// @inheritdoc IJobMarket
    function post(Job calldata job) external returns (JobId id) {
        id = jobId(job);
        JobState state = _state(id);
        if (msg.sender != job.submitter) revert WrongCaller(msg.sender, job.submitter);
        if (state != JobState.Unknown) revert WrongState(id, state);
        _checkForm(job);
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
    function award(Job calldata job, bytes calldata jobSignature, Bid calldata bid_, bytes calldata bidSignature)
        external
        returns (JobId id)
    {
        id = jobId(job);
        _checkAuthorised(id, job.submitter, jobSignature);
        _checkForm(job);
        _checkAwardTimes(id, job);
        _checkBid(id, job.submitter, bid_, bidSignature);
        uint256 most = ramp(job);
        if (bid_.price > most) revert PriceAboveRamp(id, bid_.price, most);

        Terms memory terms = _terms(job, bid_);
        _jobs[id] = _record(JobState.Awarded, keccak256(abi.encode(terms)));
        _debit(terms.token, terms.submitter, terms.price);
        _debit(terms.token, terms.provider, terms.bond);

        emit JobAwarded(id, terms.submitter, terms.provider, terms);
    }

    // ---------------------------------------------------------------- after the award

    /// @inheritdoc IJobMarket
    function deliver(JobId id, Terms calldata terms, bytes32 result) external {
        _checkTerms(id, terms, JobState.Awarded);
        if (msg.sender != terms.provider) revert WrongCaller(msg.sender, terms.provider);
        if (block.timestamp >= terms.deliverBy) revert DeliverByMissed(id, terms.deliverBy);
        if (result == 0) revert Malformed("result");

        Terms memory delivered = terms;
        delivered.result = result;
        delivered.windowEnd = block.timestamp.toUint40() + terms.challengeSeconds;
        _jobs[id] = _record(JobState.Delivered, keccak256(abi.encode(delivered)));

        emit JobDelivered(id, terms.provider, result, delivered.windowEnd);

        if (terms.challengeSeconds == 0) _pay(id, terms);
    }

    /// @inheritdoc IJobMarket
    function approve(JobId id, Terms calldata terms) external {
        _checkTerms(id, terms, JobState.Delivered);
        if (msg.sender != terms.submitter) revert WrongCaller(msg.sender, terms.submitter);

        _pay(id, terms);
    }

    /// @inheritdoc IJobMarket
    function settle(JobId id, Terms calldata terms) external {
        _checkTerms(id, terms, JobState.Delivered);
        if (block.timestamp < terms.windowEnd) revert WindowOpen(id, terms.windowEnd);

        _pay(id, terms);
    }

    /// @inheritdoc IJobMarket
    function reclaim(JobId id, Terms calldata terms) external {
        _checkTerms(id, terms, JobState.Awarded);
        if (block.timestamp < terms.deliverBy) revert DeliverByAhead(id, terms.deliverBy);

        _jobs[id] = _closed(Outcome.Refunded);
        _burned[terms.token] += terms.bond;

        emit JobClosed(id, Outcome.Refunded, terms.price, 0, 0, terms.bond);

        _credit(terms.token, terms.submitter, terms.price);
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IJobMarket
    function balanceOf(address token, address account) external view returns (uint256) {
        return _balances[token][account];
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
    function isPlaced(Bid calldata bid_) external view returns (bool) {
        return _placed[bidDigest(bid_)];
    }

    /// @inheritdoc IJobMarket
    function jobId(Job calldata job) public view returns (JobId) {
        return JobId.wrap(_hashTypedDataV4(keccak256(abi.encode(JOB_TYPEHASH, job))));
    }

    /// @inheritdoc IJobMarket
    function bidDigest(Bid calldata bid_) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(BID_TYPEHASH, bid_)));
    }

    /// @inheritdoc IJobMarket
    function ramp(Job calldata job) public view returns (uint256) {
        if (block.timestamp <= job.openAt) return job.priceStart;
        if (block.timestamp >= job.awardBy) return job.priceCap;
        uint256 rise = job.priceCap - job.priceStart;
        return job.priceStart + rise * (block.timestamp - job.openAt) / (job.awardBy - job.openAt);
    }

    // ---------------------------------------------------------------- checks

    function _checkToken(address token) private view {
        if (token == address(0)) revert Unsupported("token");
        if (token.code.length == 0) revert NoToken(token);
    }

    function _checkAuthorised(JobId id, address submitter, bytes calldata signature) private view {
        JobState state = _state(id);
        if (state == JobState.Open) return;
        if (state != JobState.Unknown) revert WrongState(id, state);
        _checkSignature(submitter, JobId.unwrap(id), signature);
    }

    function _checkForm(Job calldata job) private pure {
        if (job.priceStart > job.priceCap) revert Malformed("priceStart");
        if (job.openAt >= job.awardBy) revert Malformed("openAt");
        if (job.deliverSeconds == 0) revert Malformed("deliverSeconds");
        if (job.spec == 0) revert Malformed("spec");
        if (job.matcherFeeBps > BASIS_POINTS) revert Malformed("matcherFeeBps");
        if (job.token == address(0)) revert Unsupported("token");
        if (job.arbiter != address(0)) revert Unsupported("arbiter");
        if (job.arbiterData != 0) revert Unsupported("arbiterData");
        if (job.rulingSeconds != 0) revert Unsupported("rulingSeconds");
        if (job.epoch != 0) revert Unsupported("epoch");
    }

    function _checkAwardTimes(JobId id, Job calldata job) private view {
        if (block.timestamp >= job.awardBy) revert JobExpired(id, job.awardBy);
        if (block.timestamp < job.openAt && msg.sender != job.matcher) revert NotOpen(id, job.openAt);
    }

    function _checkBid(JobId id, address submitter, Bid calldata bid_, bytes calldata signature) private view {
        if (JobId.unwrap(bid_.job) != JobId.unwrap(id)) revert WrongJob(id, bid_.job);
        if (bid_.provider == address(0) || bid_.provider == submitter) revert Malformed("provider");
        bytes32 digest = bidDigest(bid_);
        if (signature.length != 0) _checkSignature(bid_.provider, digest, signature);
        else if (!_placed[digest]) revert NoBid(id, bid_.provider);
        _checkBidTimes(bid_);
    }

    function _checkBidTimes(Bid calldata bid_) private view {
        if (block.timestamp >= bid_.expiresAt) revert BidExpired(bid_.job, bid_.expiresAt);
        if (bid_.expiresAt - block.timestamp > MAX_BID_SECONDS) revert BidTooLong(bid_.job, bid_.expiresAt);
    }

    function _checkSignature(address signer, bytes32 digest, bytes calldata signature) private pure {
        (address recovered, ECDSA.RecoverError problem,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (problem != ECDSA.RecoverError.NoError || recovered != signer) revert WrongSignature(signer, digest);
    }

    function _checkTerms(JobId id, Terms calldata terms, JobState expected) private view {
        JobState state = _state(id);
        if (state != expected) revert WrongState(id, state);
        JobRecord committed = _record(state, keccak256(abi.encode(terms)));
        if (JobRecord.unwrap(committed) != JobRecord.unwrap(_jobs[id])) revert WrongTerms(id);
    }

    // ---------------------------------------------------------------- the job's record

    function _state(JobId id) private view returns (JobState) {
        return JobState(uint8(uint256(JobRecord.unwrap(_jobs[id])) >> STATE_SHIFT));
    }

    function _record(JobState state, bytes32 commitment) private pure returns (JobRecord) {
        return JobRecord.wrap(bytes32(uint256(state) << STATE_SHIFT) | commitment >> (256 - STATE_SHIFT));
    }

    function _closed(Outcome outcome) private pure returns (JobRecord) {
        return JobRecord.wrap(bytes32(uint256(JobState.Closed) << STATE_SHIFT | uint256(outcome)));
    }

    function _terms(Job calldata job, Bid calldata bid_) private view returns (Terms memory terms) {
        terms.submitter = job.submitter;
        terms.provider = bid_.provider;
        terms.token = job.token;
        terms.price = bid_.price;
        terms.bond = job.bond;
        terms.deliverBy = block.timestamp.toUint40() + job.deliverSeconds;
        terms.challengeSeconds = job.challengeSeconds;
        terms.spec = job.spec;
        // `arbiter`, `arbiterData` and `rulingSeconds` are zero in every job that passed `_checkForm`.
        if (msg.sender == job.matcher) {
            terms.matcher = job.matcher;
            terms.fee = (uint256(bid_.price) * job.matcherFeeBps / BASIS_POINTS).toUint96();
        }
    }

    // ---------------------------------------------------------------- balances

    function _deposit(address token, address account, uint256 amount) private {
        if (account == address(0)) revert Malformed("account");
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        uint256 arrived = IERC20(token).balanceOf(address(this)) - before;
        if (arrived == 0) revert Malformed("amount");

        _credit(token, account, arrived);

        emit Deposited(token, account, msg.sender, arrived);
    }

    /// @dev Closes a delivered job in the provider's favour: the one way in which a price is paid.
    function _pay(JobId id, Terms calldata terms) private {
        _jobs[id] = _closed(Outcome.Paid);
        uint256 toProvider = uint256(terms.price) - terms.fee + terms.bond;

        emit JobClosed(id, Outcome.Paid, 0, toProvider, terms.fee, 0);

        _credit(terms.token, terms.provider, toProvider);
        if (terms.fee != 0) _credit(terms.token, terms.matcher, terms.fee);
    }

    function _credit(address token, address account, uint256 amount) private {
        uint256 balance = _balances[token][account] + amount;
        if (balance > type(uint128).max) revert BalanceOverflow(token, account);
        _balances[token][account] = uint128(balance);
    }

    function _debit(address token, address account, uint256 amount) private {
        uint256 balance = _balances[token][account];
        if (balance < amount) revert InsufficientBalance(token, account, balance, amount);
        _balances[token][account] = uint128(balance - amount);
    }
}
