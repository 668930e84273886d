// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Stake, Times} from "./Packed.sol";
import {Payout} from "./Settlement.sol";

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
///     Awarded   -> Closed     deliver (no challenge window), deliverAndClose, reclaim
///     Delivered -> Disputed   dispute
///     Delivered -> Closed     approve, settle, rule
///     Disputed  -> Closed     rule, lapse
///
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
    address token; // an ERC-20; zero: the chain's native coin
    uint96 priceStart; // the most an award may pay at `openAt` and before
    uint96 priceCap; // the most an award may pay just before `awardBy`
    uint96 bond; // what the provider locks
    address arbiter; // may open and rule a case; zero: nobody may
    uint96 disputeFee; // what a case costs: prepaid by a submitter that disputes, borne by the loser
    bytes32 arbiterData; // 32 bytes for the arbiter, not read here
    address matcher; // alone may award before `openAt`; zero: nobody may
    uint16 matcherFeeBps; // the matcher's part of the price in 1/10,000, due only if it sent the award
    uint32 epoch; // must equal the submitter's epoch in this token; `cancelAll` steps it
    uint40 openAt; // from here on anyone may award, and the ramp rises
    uint40 awardBy; // from here on nobody may award
    uint32 deliverSeconds; // from the award
    uint24 challengeSeconds; // from the delivery; zero: the delivery closes the job
    uint24 rulingSeconds; // from the dispute
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

/// @notice What an award fixed, packed to seven words. The contract stores only a commitment to it; callers hand it back.
struct Terms {
    Stake submitter; // and the price it locked
    Stake provider; // and the bond it locked
    Stake matcher; // and its fee, a part of the price; zero when the award came from somebody else
    Stake arbiter; // and what a case costs
    address token;
    Times times; // `deadline` ends the state the job is in: deliver before it, then dispute before it, then rule before it
    bytes32 result; // zero until delivered; sha2-256 digest of the result's CIDv1 (dag-pb)
}

/// @title The escrow and the history of an open market for compute
/// @notice Holds balances, locks an awarded job's price and bond, and pays by rules that nobody can change: the contract has no
/// owner, no proxy and no pause. Everything that changes money or state emits, so the events alone rebuild the whole state.
///
/// Times are half-open: a verb allowed until `t` is allowed in `[start, t)` and refused at `t`.
///
/// Signatures are EIP-712, of an account (65 bytes, or 64 as in EIP-2098) or of a contract (ERC-1271, asked with limited gas). One
/// signature of an account may stand for many jobs: over `Jobs(bytes32 root)`, the root of a tree of job ids with sorted pairs (as
/// OpenZeppelin's MerkleProof has it), written as the 64 bytes of EIP-2098 and then the job's proof, 32 bytes a step.
///
/// Assumptions about the world outside:
/// - A token moves the amounts it reports, or less on the way in (what arrived is credited); it does not change balances on its
///   own (rebasing). A token that breaks this harms only the holders of that token here: books are kept per token.
/// - A token may call back during `deposit` and `withdraw`, a receiver of the native coin during `withdraw`; no other verb calls
///   anything but `isValidSignature`, read-only, so no token, receiver or arbiter can hinder a settlement.
/// - Block time may be off by some seconds: times in a job are minutes at least, which its signer's software sees to.
/// - With no arbiter nobody judges a result: whatever digest arrives in time is paid.
/// - An arbiter may hand the price back, or pay it out, as it likes, within its time; it never gets more than `disputeFee`. Both
///   parties chose it when they signed.
interface IJobMarket {
    // ---------------------------------------------------------------- errors

    /// @notice The field has a value that is never accepted.
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
    /// @notice The submitter cancelled all jobs of this epoch.
    error WrongEpoch(JobId id, uint32 epoch, uint32 current);
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
    /// @notice The challenge window is over.
    error WindowOver(JobId id, uint40 windowEnd);
    /// @notice The arbiter may still rule.
    error RuleByAhead(JobId id, uint40 ruleBy);
    /// @notice The time to rule is over.
    error RuleByMissed(JobId id, uint40 ruleBy);
    /// @notice The balance of an account would exceed what its word can hold.
    error BalanceOverflow(address token, address account);
    /// @notice The address holds no contract, so it cannot be a token.
    error NoToken(address token);
    /// @notice A call of a batch failed and gave no reason: too little gas, or no call of this contract.
    error NoReason(uint256 index);
    /// @notice A contract that judges a signature must get this much gas, and there was less.
    error TooLittleGas(uint256 needed);

    // ---------------------------------------------------------------- events

    event Deposited(address indexed token, address indexed account, address indexed from, uint256 amount);
    event Withdrawn(address indexed token, address indexed account, address indexed to, uint256 amount);
    event JobPosted(JobId indexed id, address indexed submitter, Job job);
    event BidPlaced(JobId indexed id, address indexed provider, Bid bid);
    event JobCancelled(JobId indexed id, address indexed submitter);
    event AllCancelled(address indexed token, address indexed submitter, uint32 epoch);
    event JobAwarded(
        JobId indexed id,
        address indexed submitter,
        address indexed provider,
        Terms terms,
        bytes32 spec,
        bytes32 arbiterData
    );
    event JobDelivered(JobId indexed id, bytes32 result, uint40 windowEnd);
    /// @notice `fee` is what the disputer prepaid: the job's `disputeFee` from the submitter, nothing from the arbiter.
    event JobDisputed(JobId indexed id, address indexed disputer, uint256 fee, uint40 ruleBy);
    event JobClosed(JobId indexed id, Outcome outcome, Payout payout);
    /// @notice The call at `index` of a batch failed for `reason`, an encoded error; the others went on.
    event CallSkipped(uint256 index, bytes reason);

    // ---------------------------------------------------------------- money

    /// @notice Moves `amount` of `token` from the caller into `account`'s balance here. What arrived is credited.
    /// @dev Requirements:
    /// - `account` is not zero; what arrived is not zero;
    /// - for the native coin (`token` zero) `amount` is sent along; for an ERC-20 nothing is, the token has code, and the caller
    ///   has approved this contract for `amount`.
    function deposit(address token, address account, uint256 amount) external payable;

    /// @notice `deposit` of an ERC-20 for the caller's own account with an EIP-2612 permit. A permit that was used already, or a token without
    /// permits, does no harm as long as the allowance is there.
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
    /// - the job is Unknown, well formed (see `award`), of the submitter's epoch, and `awardBy` is ahead.
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

    /// @notice Ends all jobs in `token` of the caller that were not awarded, those signed and those posted, by stepping its epoch.
    function cancelAll(address token) external returns (uint32 epoch);

    /// @notice Joins a job and a bid: locks the price and the bond, and starts the delivery deadline.
    /// An empty signature means that the job was posted, or the bid placed, on chain.
    /// @dev Requirements:
    /// - the job is Open, or Unknown and signed by its submitter, alone or in a tree;
    /// - the job is well formed: `priceStart <= priceCap`; `openAt < awardBy`; `deliverSeconds` and `spec` not zero;
    ///   `matcherFeeBps <= 10_000`; with an arbiter: it is not the submitter, `challengeSeconds` and `rulingSeconds` are not zero,
    ///   `disputeFee <= bond`; without: `disputeFee`, `arbiterData` and `rulingSeconds` are zero;
    /// - the job's epoch is the submitter's in this token;
    /// - the time is before `awardBy`; and at `openAt` or later, unless the caller is `job.matcher`;
    /// - the bid is for this job, by a provider that is not zero, the submitter or the arbiter, signed by it or placed on chain, not
    ///   expired, and expires within `MAX_BID_SECONDS`;
    /// - `bid_.price <= ramp(job)` now;
    /// - the submitter's balance covers the price, the provider's the bond.
    function award(Job calldata job, bytes calldata jobSignature, Bid calldata bid_, bytes calldata bidSignature)
        external
        returns (JobId id);

    // ---------------------------------------------------------------- after the award

    /// @notice Puts the result's digest on chain and opens the challenge window; with no window it closes the job as Paid.
    /// @dev Requirements:
    /// - the job is Awarded, and `terms` are the ones it committed to;
    /// - the caller is the provider; the time is before `deliverBy`; `result` is not zero.
    function deliver(JobId id, Terms calldata terms, bytes32 result) external;

    /// @notice `deliver` and `approve` in one, with the submitter's signature over `Approval(bytes32 job,address provider,bytes32 result)`.
    /// @dev Requirements: those of `deliver`, and the signature.
    function deliverAndClose(JobId id, Terms calldata terms, bytes32 result, bytes calldata approval) external;

    /// @notice Pays the provider before the window is over, as the submitter.
    /// @dev Requirements:
    /// - the job is Delivered, and `terms` are the ones it committed to, result included;
    /// - the caller is the submitter.
    function approve(JobId id, Terms calldata terms) external;

    /// @notice Pays the provider for a result nobody disputed in time. Anyone may call.
    /// @dev Requirements:
    /// - the job is Delivered, and `terms` are the ones it committed to;
    /// - its challenge window is over (at `windowEnd` this succeeds).
    function settle(JobId id, Terms calldata terms) external;

    /// @notice Opens a case and gives the arbiter `rulingSeconds`. A submitter prepays `disputeFee` from its balance, the arbiter nothing.
    /// Calls nobody: the arbiter finds its cases in the events.
    /// @dev Requirements:
    /// - the job is Delivered and has an arbiter, and `terms` are the ones it committed to;
    /// - the caller is the submitter or the arbiter; the challenge window is not over;
    /// - the submitter's balance covers the fee.
    function dispute(JobId id, Terms calldata terms) external;

    /// @notice Closes the job by giving the provider `shareBps` of price and bond: 10,000 is a good result, 0 a bad one. The rest of the
    /// price goes back to the submitter. What a case costs (`disputeFee`) is borne by the losers in the same shares, the provider's
    /// part from its bond, the disputer's from what it prepaid; the rest of the provider's loss is burned, so that nobody gains by it.
    /// @dev Requirements:
    /// - the job is Delivered and its window is open, or it is Disputed and its ruling time is not over; `terms` are the ones it committed to;
    /// - the caller is the arbiter; `shareBps <= 10_000`.
    function rule(JobId id, Terms calldata terms, uint256 shareBps) external;

    /// @notice Ends a case whose arbiter was silent. Anyone may call. If the submitter had opened it, the price is split in half and the
    /// prepaid fee is burned; if the arbiter had, the provider is paid. The bond goes home.
    /// @dev Requirements:
    /// - the job is Disputed, and `terms` are the ones it committed to;
    /// - the ruling time is over (at `ruleBy` this succeeds).
    function lapse(JobId id, Terms calldata terms) external;

    /// @notice Refunds the submitter and burns the bond of a provider that did not deliver in time. Anyone may call.
    /// @dev Requirements:
    /// - the job is Awarded, and `terms` are the ones it committed to;
    /// - the deadline has come (at `deliverBy` this succeeds).
    function reclaim(JobId id, Terms calldata terms) external;

    // ---------------------------------------------------------------- batches

    /// @notice Makes many calls of this contract as the caller: `awardMany`, `deliverMany` and `settleMany` in one. A call that fails changes
    /// nothing and is reported by `CallSkipped`; with `all` it makes the whole batch fail, with its own error.
    /// @dev Requirements:
    /// - each of `calls` is the calldata of a function of this contract; no native coin can be sent along;
    /// - a call that fails says why (`NoReason`): one that runs out of gas fails the whole batch.
    /// @return done Whether each call succeeded.
    function batch(bytes[] calldata calls, bool all) external returns (bool[] memory done);

    // ---------------------------------------------------------------- views

    /// @notice The longest a bid may still live when it is used, in seconds: an award comes at most this long after the provider's consent.
    function MAX_BID_SECONDS() external view returns (uint40);

    /// @notice What `account` can lock or withdraw, in the token's smallest unit.
    function balanceOf(address token, address account) external view returns (uint256);

    /// @notice The epoch that `account`'s jobs in `token` must have.
    function epochOf(address token, address account) external view returns (uint32);

    /// @notice What was burned of `token` so far. It stays here for good.
    function burned(address token) external view returns (uint256);

    /// @notice The job's state and, once Closed, its outcome.
    function stateOf(JobId id) external view returns (JobState state, Outcome outcome);

    /// @notice Whether the job is Awarded, Delivered or Disputed with exactly these terms.
    function isCommitted(JobId id, Terms calldata terms) external view returns (bool);

    /// @notice Whether this very bid was placed on chain.
    function isPlaced(Bid calldata bid_) external view returns (bool);

    /// @notice The id that `job` has on this chain and contract.
    function jobId(Job calldata job) external view returns (JobId);

    /// @notice The EIP-712 digest a provider signs for `bid_`.
    function bidDigest(Bid calldata bid_) external view returns (bytes32);

    /// @notice The EIP-712 digest a submitter signs for many jobs at once.
    function jobsDigest(bytes32 root) external view returns (bytes32);

    /// @notice The EIP-712 digest a submitter signs to approve a result before it is delivered.
    function approvalDigest(JobId id, address provider, bytes32 result) external view returns (bytes32);

    /// @notice The most an award may pay for `job` now: `priceStart` until `openAt`, then rising in a straight line to `priceCap` at `awardBy`.
    /// Rounds down.
    /// @dev Requirements: `priceStart <= priceCap`.
    function ramp(Job calldata job) external view returns (uint256);
}
