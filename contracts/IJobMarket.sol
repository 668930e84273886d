// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

/// @notice A job's id: its EIP-712 digest under the domain ("deai", "1", chain id, this contract) when it was signed or posted.
/// It is the job's replay guard too: once a job left `Unknown`, its digest is never free again.
type JobId is bytes32;

/// @notice What this contract knows of a job.
///
///     Unknown   -> Open       post
///     Unknown   -> Awarded    award (the submitter's signature)
///     Unknown   -> Closed     cancel
///     Open      -> Awarded    award
///     Open      -> Closed     cancel
///     Awarded   -> Delivered  deliver
///     Awarded   -> Closed     deliver (no challenge window), reclaim
///     Delivered -> Closed     approve, settle
///
/// `Disputed` belongs to jobs with an arbiter, which this version refuses.
enum JobState {
    Unknown,
    Open,
    Awarded,
    Delivered,
    Disputed,
    Closed
}

/// @notice How a job ended.
enum Outcome {
    None,
    Cancelled,
    Paid,
    Refunded,
    Split
}

/// @notice What a submitter signs, or posts. Amounts are in the token's smallest unit, times in chain seconds.
struct Job {
    address submitter; // pays, and signs
    address token; // an ERC-20; the zero address will mean the native coin
    uint96 priceStart; // the most an award may pay at `openAt` and before
    uint96 priceCap; // the most an award may pay just before `awardBy`
    uint96 bond; // what the provider locks
    address arbiter; // may open and rule a case; zero: nobody may
    bytes32 arbiterData; // 32 bytes for the arbiter, not read here
    address matcher; // alone may award before `openAt`; zero: nobody may
    uint16 matcherFeeBps; // the matcher's part of the price in 1/10,000, due only if it sent the award
    uint32 epoch; // must equal the submitter's epoch; stepping the epoch cancels all older jobs
    uint40 openAt; // from here on anyone may award, and the ramp rises
    uint40 awardBy; // from here on nobody may award
    uint32 deliverSeconds; // from the award
    uint32 challengeSeconds; // from the delivery; zero: the delivery closes the job
    uint32 rulingSeconds; // from the dispute
    bytes32 spec; // sha2-256 of the canonical spec, the digest of its CIDv1 (raw)
    bytes32 salt;
}

/// @notice What a provider signs, or places on chain, to run one job.
struct Bid {
    JobId job;
    address provider; // is paid, and locks the job's bond
    uint96 price; // for the whole job, the matcher's fee included
    uint40 expiresAt; // at most `MAX_BID_SECONDS` away when it is awarded
}

/// @notice What an award fixed. The contract stores only a commitment to it; callers hand it back.
struct Terms {
    address submitter;
    address provider;
    address token;
    address matcher; // whom `fee` is due to; zero when the award came from somebody else
    uint96 price; // locked from the submitter
    uint96 bond; // locked from the provider
    uint96 fee; // part of `price`
    address arbiter;
    bytes32 arbiterData;
    uint40 deliverBy; // a delivery must come before this time
    uint32 challengeSeconds;
    uint32 rulingSeconds;
    uint40 windowEnd; // zero until delivered; from this time on anyone may settle
    bytes32 spec;
    bytes32 result; // zero until delivered; sha2-256 digest of the result's CIDv1 (dag-pb)
}

/// @title The escrow and the history of an open market for compute
/// @notice Holds balances, locks an awarded job's price and bond, and pays by rules that nobody can change: the contract has no
/// owner, no proxy and no pause. Everything that changes money or state emits, so the events alone rebuild the whole state.
///
/// Times are half-open: a verb allowed until `t` is allowed in `[start, t)` and refused at `t`.
///
/// Assumptions about the world outside:
/// - A token moves the amounts it reports, or less on the way in (what arrived is credited); it does not change balances on its
///   own (rebasing). A token that breaks this harms only the holders of that token here: books are kept per token.
/// - A token may call back during `deposit` and `withdraw`; no other verb calls a token, so no token can hinder a settlement.
/// - Block time may be off by some seconds: times in a job are minutes at least, which its signer's software sees to.
/// - With no arbiter nobody judges a result: whatever digest arrives in time is paid.
///
/// Fields that are signed already but not served by this version revert with `Unsupported`.
interface IJobMarket {
    // ---------------------------------------------------------------- errors

    /// @notice The field has a value that this version does not serve.
    error Unsupported(string field);
    /// @notice The field has a value that no version accepts.
    error Malformed(string field);
    /// @notice The verb is not allowed in the job's state.
    error WrongState(JobId id, JobState state);
    /// @notice These are not the terms this job committed to.
    error WrongTerms(JobId id);
    /// @notice The caller is not the one party that may do this.
    error WrongCaller(address caller, address expected);
    /// @notice The signature is not `signer`'s over this digest.
    error WrongSignature(address signer, bytes32 digest);
    /// @notice The bid is for another job.
    error WrongJob(JobId job, JobId bidFor);
    /// @notice Before `openAt` only the job's matcher may award.
    error NotOpen(JobId id, uint40 openAt);
    /// @notice The job could be awarded only before `awardBy`.
    error JobExpired(JobId id, uint40 awardBy);
    /// @notice The bid could be awarded only before `expiresAt`.
    error BidExpired(JobId id, uint40 expiresAt);
    /// @notice The bid lives longer than bids may, counted from now.
    error BidTooLong(JobId id, uint40 expiresAt);
    /// @notice No bid of this provider with these values stands on chain.
    error NoBid(JobId id, address provider);
    /// @notice The bid asks for more than the price ramp allows now.
    error PriceAboveRamp(JobId id, uint256 price, uint256 ramp);
    /// @notice The account's balance of the token is too small.
    error InsufficientBalance(address token, address account, uint256 balance, uint256 needed);
    /// @notice The delivery deadline has come.
    error DeliverByMissed(JobId id, uint40 deliverBy);
    /// @notice The provider may still deliver.
    error DeliverByAhead(JobId id, uint40 deliverBy);
    /// @notice The challenge window is still open.
    error WindowOpen(JobId id, uint40 windowEnd);
    /// @notice The balance of an account would exceed what its word can hold.
    error BalanceOverflow(address token, address account);
    /// @notice The address holds no contract, so it cannot be a token.
    error NoToken(address token);

    // ---------------------------------------------------------------- events

    event Deposited(address indexed token, address indexed account, address indexed from, uint256 amount);
    event Withdrawn(address indexed token, address indexed account, address indexed to, uint256 amount);
    event JobPosted(JobId indexed id, address indexed submitter, Job job);
    event BidPlaced(JobId indexed id, address indexed provider, Bid bid);
    event JobCancelled(JobId indexed id, address indexed submitter);
    event JobAwarded(JobId indexed id, address indexed submitter, address indexed provider, Terms terms);
    event JobDelivered(JobId indexed id, address indexed provider, bytes32 result, uint40 windowEnd);
    /// @notice `toSubmitter + toProvider + toMatcher + burned == price + bond`.
    event JobClosed(
        JobId indexed id, Outcome outcome, uint256 toSubmitter, uint256 toProvider, uint256 toMatcher, uint256 burned
    );

    // ---------------------------------------------------------------- money

    /// @notice Moves `amount` of `token` from the caller into `account`'s balance here. What arrived is credited.
    /// @dev Requirements:
    /// - `token` is not zero (`Unsupported`) and has code;
    /// - `account` is not zero; what arrived is not zero;
    /// - the caller has approved this contract for `amount`.
    function deposit(address token, address account, uint256 amount) external;

    /// @notice `deposit` for the caller's own account with an EIP-2612 permit. A permit that was used already, or a token without permits, does
    /// no harm as long as the allowance is there.
    function depositWithPermit(address token, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Pays `amount` of the caller's balance to `to`. The only way in which money leaves.
    /// @dev Requirements:
    /// - `to` is neither zero nor this contract; `amount` is not zero;
    /// - the caller's balance covers it.
    function withdraw(address token, address to, uint256 amount) external;

    // ---------------------------------------------------------------- before the award

    /// @notice Puts a job on chain as its submitter: an authorisation that needs no signature. Locks nothing.
    /// @dev Requirements:
    /// - the caller is `job.submitter`;
    /// - the job is Unknown, well formed (see `award`), and `awardBy` is ahead.
    function post(Job calldata job) external returns (JobId id);

    /// @notice Puts a bid on chain as its provider: an authorisation that needs no signature. Locks nothing.
    /// @dev Requirements:
    /// - the caller is `bid_.provider`;
    /// - the job is Unknown or Open; the bid is not expired, and expires within `MAX_BID_SECONDS`.
    function bid(Bid calldata bid_) external;

    /// @notice Ends a job that was not awarded. A signature given out for it is dead from here on.
    /// @dev Requirements:
    /// - the caller is `job.submitter`;
    /// - the job is Unknown or Open.
    function cancel(Job calldata job) external returns (JobId id);

    /// @notice Joins a job and a bid: locks the price and the bond, and starts the delivery deadline.
    /// An empty signature means that the job was posted, or the bid placed, on chain.
    /// @dev Requirements:
    /// - the job is Open, or Unknown and signed by its submitter;
    /// - the job is well formed: submitter not zero; `priceStart <= priceCap`; `openAt < awardBy`; `deliverSeconds` and `spec` not zero;
    ///   `matcherFeeBps <= 10_000`; served by this version: `token` not zero, `arbiter` and `arbiterData` and `rulingSeconds` zero, `epoch` zero;
    /// - the time is before `awardBy`; and at `openAt` or later, unless the caller is `job.matcher`;
    /// - the bid is for this job, by a provider that is neither zero nor the submitter, signed by it or placed on chain, not expired, and expires
    ///   within `MAX_BID_SECONDS`;
    /// - `bid_.price <= ramp(job)` now;
    /// - the submitter's balance covers the price, the provider's the bond.
    function award(Job calldata job, bytes calldata jobSignature, Bid calldata bid_, bytes calldata bidSignature)
        external
        returns (JobId id);

    // ---------------------------------------------------------------- after the award

    /// @notice Puts the result's digest on chain and opens the challenge window; with no window it closes the job as Paid.
    /// @dev Requirements:
    /// - the job is Awarded, and `terms` are the ones it committed to;
    /// - the caller is `terms.provider`; the time is before `terms.deliverBy`; `result` is not zero.
    function deliver(JobId id, Terms calldata terms, bytes32 result) external;

    /// @notice Pays the provider before the window is over, as the submitter.
    /// @dev Requirements:
    /// - the job is Delivered, and `terms` are the ones it committed to, result included;
    /// - the caller is `terms.submitter`.
    function approve(JobId id, Terms calldata terms) external;

    /// @notice Pays the provider for a result nobody disputed in time. Anyone may call.
    /// @dev Requirements:
    /// - the job is Delivered, and `terms` are the ones it committed to;
    /// - its challenge window is over (at `windowEnd` this succeeds).
    function settle(JobId id, Terms calldata terms) external;

    /// @notice Refunds the submitter and burns the bond of a provider that did not deliver in time. Anyone may call.
    /// @dev Requirements:
    /// - the job is Awarded, and `terms` are the ones it committed to;
    /// - the deadline has come (at `deliverBy` this succeeds).
    function reclaim(JobId id, Terms calldata terms) external;

    // ---------------------------------------------------------------- views

    /// @notice The longest a bid may still live when it is used, in seconds: an award comes at most this long after the provider's consent.
    function MAX_BID_SECONDS() external view returns (uint40);

    /// @notice What `account` can lock or withdraw, in the token's smallest unit.
    function balanceOf(address token, address account) external view returns (uint256);

    /// @notice What was burned of `token` so far. It stays here for good.
    function burned(address token) external view returns (uint256);

    /// @notice The job's state and, once Closed, its outcome.
    function stateOf(JobId id) external view returns (JobState state, Outcome outcome);

    /// @notice Whether this very bid was placed on chain.
    function isPlaced(Bid calldata bid_) external view returns (bool);

    /// @notice The id that `job` has on this chain and contract.
    function jobId(Job calldata job) external view returns (JobId);

    /// @notice The EIP-712 digest a provider signs for `bid_`.
    function bidDigest(Bid calldata bid_) external view returns (bytes32);

    /// @notice The most an award may pay for `job` now: `priceStart` until `openAt`, then rising in a straight line to `priceCap` at `awardBy`.
    /// Rounds down.
    function ramp(Job calldata job) external view returns (uint256);
}
