// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IJobMarket, Job, JobId, Terms} from "./IJobMarket.sol";
import {IRandom} from "./IRandom.sol";

/// @notice Where a case is. A case has the id of its job; a job has one case at most.
///
///     None      -> Drawing    open
///     None      -> Closed     open (a job the panel does not take: the provider is paid)
///     Drawing   -> Voting     draw
///     Drawing   -> Closed     advance (nobody drew in time: the provider is paid)
///     Voting    -> Drawing    advance (some seats are empty, and rounds are left)
///     Voting    -> Revealing  advance
///     Voting    -> Closed     advance (nobody voted)
///     Revealing -> Drawing    advance (no majority, some seats are empty, and rounds are left)
///     Revealing -> Closed     advance
///
enum Phase {
    None,
    Drawing,
    Voting,
    Revealing,
    Closed
}

/// @notice What a verifier votes (up to NotRerunnable), and how a case ended.
enum Verdict {
    None,
    Good, // a re-run gave the delivered result
    Bad, // a re-run gave another one
    OutputMissing, // nobody serves the delivered result
    InputsMissing, // nobody serves what the job needs
    NotRerunnable, // two runs of the job differ, or it does not run at all
    Disagreed, // all seats voted, with no majority
    Undrawn, // nobody drew the seats in time
    Undecided, // too few voted; the escrow's `lapse` ends the job
    Unfit // the panel does not take such a job
}

/// @notice How long things take. All are chain seconds but `drawBlocks`.
struct Pace {
    uint32 drawBlocks; // from the request of a draw to the block whose randomness decides it
    uint32 openSeconds; // that a job's `rulingSeconds` must leave for somebody to open its case
    uint32 drawSeconds; // from the request of a draw to when it is missed: well beyond what `drawBlocks` take
    uint32 cureSeconds; // from the draw: the result is fetched, and the provider may publish it again; nobody votes yet
    uint32 voteSeconds; // from then on, beyond the job's own `deliverSeconds`, to re-run it and to seal a vote
    uint32 revealSeconds;
    uint32 unstakeSeconds; // from `leave` to `unstake`; no case lasts longer
}

/// @notice A place on a case. Empty while `account` is zero.
struct Seat {
    address account;
    uint32 slot; // of its ticket
    Verdict verdict; // None until revealed
    bytes32 vote; // zero, then the sealed vote, then the revealed digest
}

/// @notice What this contract knows of a case.
struct Case {
    Phase phase;
    uint8 round; // 1 for the first draw
    uint8 seats; // of the case
    uint8 empty; // seats to be drawn
    uint8 open; // seats that did not seal their vote yet or, in Revealing, did not reveal it
    uint16 resourceClass;
    uint32 deliverSeconds; // the job's
    uint32 slots; // that the requested draw sees
    uint40 voteFrom; // in Voting: votes are taken from here on
    uint40 deadline; // in Drawing, Voting and Revealing: the phase is over, and anyone may `advance`
    uint40 ruleBy; // the escrow's
    uint64 drawBlock; // whose randomness decides the draw
    address submitter;
    address provider;
    bytes32 result; // delivered
}

/// @notice One stake of `seatStake`, in a slot of its resource class. The slot is empty while `account` is zero.
struct Ticket {
    address account;
    uint40 since; // the block of the stake; draws requested in later blocks may take it
    uint40 leaveAt; // zero, or when it may be unstaked
    bool seated; // backs the one case it was drawn for
}

/// @title An arbiter of drawn verifiers, who stake and re-run the disputed job
/// @notice Immutable and without owner. A job names this contract as its `arbiter`; the job's `arbiterData` holds, from the high end,
/// `resourceClass` (16 bits), `seats` (8 bits; odd, 1 to 15) and the comparator (8 bits; zero: results agree when their digests are
/// equal; no other is known yet); the rest is zero. `disputeFee` is the panel's fee, in `feeToken`.
///
/// A case: `open`, `draw`, then the seats `commit` sealed votes (or `decline`), `advance`, `reveal`, `advance`. Anyone may open, draw and
/// advance; every phase ends by time, so nobody can stall a case. Times are half-open, as in the escrow.
///
/// One vote answers both questions: is the content there, and does a re-run agree? Votes are taken only after `cureSeconds`, so a
/// provider may publish a result again that went missing. No vote is revealed before all seats are sealed, unless the rounds are over. Where
/// the revealed votes have no majority because seats were not opened, those are drawn anew and vote knowing the others: then nobody is
/// slashed for a vote.
///
/// How a case ends, by a strict majority of its seats:
///
/// | majority | provider's share | slashed |
/// |---|---|---|
/// | Good | 10,000 | the minority, but for OutputMissing and InputsMissing |
/// | Bad with one digest | 0 | the minority, but for OutputMissing and InputsMissing |
/// | InputsMissing | 10,000 | nobody |
/// | OutputMissing | 0 | nobody |
/// | NotRerunnable, or none though all voted | 10,000 | nobody |
/// | none, and seats were silent or empty in the last round | no ruling: the escrow's `lapse` | nobody but the silent |
///
/// A seat that does not vote, or does not reveal, is slashed and drawn anew, in at most `ROUNDS` rounds. A slashed stake stays here for
/// good. What is missing may be served to some seats only, so it is nobody's lie. The fee goes in equal parts to the seats of the majority
/// or, where the verdict is NotRerunnable or no majority's, to all that sealed a vote.
///
/// Draws: a class has slots, a ticket stays in its slot, and a draw picks slots by the randomness of a block that lay ahead when it was
/// requested, among the tickets that were there before the request and leave after the draw's deadline. A ticket that backs a case, or did
/// at the request, leaves the seat empty for the round: so who keeps others busy does not get their seats. Draws of a class happen in
/// the order of their requests. So who knows the randomness cannot shift a draw by staking, leaving, declining, or the order of cases. A
/// draw that nobody made in time is lost for the disputer, who could have made it: fresh luck is never had.
///
/// Assumptions:
/// - The market and the random are honest contracts, chosen at deployment; `stakeToken` moves exactly the amounts it is told to.
/// - Less than half of the seats drawn is corrupt. With a share f of a class's tickets corrupt, and those of the others spread over many
///   accounts, a seat is corrupt with probability f in each round that draws it. Three seats drawn in one round fall with 3f^2 - 2f^3. A seat
///   that stays empty is drawn again: who keeps all other tickets busy through all rounds has each seat with 1 - (1-f)^ROUNDS at most.
interface IPanel {
    // ---------------------------------------------------------------- errors

    /// @notice The field has a value that is never accepted.
    error Malformed(string field);
    /// @notice The verb is not allowed in the case's phase.
    error WrongPhase(JobId id, Phase phase);
    /// @notice The job is not Disputed, or these are not its terms, or this contract is not its arbiter.
    error NoDispute(JobId id);
    /// @notice What is left until `ruleBy` is less than a case of this job may take.
    error TooLate(JobId id, uint40 ruleBy);
    /// @notice The class has fewer tickets free now, beyond the seats of the draws requested, than the case has seats. It may be opened later.
    error TooFewTickets(uint16 resourceClass, uint256 free, uint256 seats);
    /// @notice No draw is requested in this class.
    error NothingToDraw(uint16 resourceClass);
    /// @notice The randomness of the next draw is not there yet.
    error DrawAhead(JobId id, uint64 drawBlock);
    /// @notice The phase goes on until `deadline`.
    error PhaseAhead(JobId id, Phase phase, uint40 deadline);
    /// @notice The phase was over at `deadline`.
    error PhaseOver(JobId id, Phase phase, uint40 deadline);
    /// @notice Votes are taken from `voteFrom` on.
    error VoteAhead(JobId id, uint40 voteFrom);
    /// @notice The account holds no seat of this case that may still do this.
    error NoSeat(JobId id, address account);
    /// @notice This is not what the account sealed.
    error WrongSeal(JobId id, address account);
    /// @notice The ticket is not the caller's.
    error NotYours(uint16 resourceClass, uint32 slot, address account);
    /// @notice The ticket asked to leave already.
    error LeavingAlready(uint16 resourceClass, uint32 slot);
    /// @notice The ticket may be unstaked from `leaveAt` on; zero: it did not ask to leave.
    error LeaveAhead(uint16 resourceClass, uint32 slot, uint40 leaveAt);
    /// @notice The ticket backs a case.
    error Seated(uint16 resourceClass, uint32 slot);
    /// @notice Draws are requested in this class, which its slots must not move under.
    error DrawsPending(uint16 resourceClass);

    // ---------------------------------------------------------------- events

    event Staked(uint16 indexed resourceClass, address indexed account, uint32 slot);
    event Leaving(uint16 indexed resourceClass, address indexed account, uint32 slot, uint40 leaveAt);
    event Left(uint16 indexed resourceClass, address indexed account, uint32 slot);
    /// @notice A ticket moved to an empty slot, and its old one is gone. With `from == to` an empty slot is gone.
    event Moved(uint16 indexed resourceClass, uint32 from, uint32 to);
    event CaseOpened(
        JobId indexed id,
        uint16 indexed resourceClass,
        address submitter,
        address provider,
        bytes32 result,
        uint256 seats,
        uint40 ruleBy
    );
    /// @notice `empty` seats are to be drawn in this round, by the randomness of the block `drawBlock`.
    event DrawRequested(JobId indexed id, uint256 round, uint256 empty, uint64 drawBlock, uint40 drawBy);
    event SeatDrawn(JobId indexed id, address indexed account, uint256 seat, uint32 slot);
    /// @notice The round's draw is over; `empty` seats found nobody. Votes are taken in `[voteFrom, voteBy)`.
    event Drawn(JobId indexed id, uint256 round, uint256 empty, uint40 voteFrom, uint40 voteBy);
    event Declined(JobId indexed id, address indexed account, uint256 seat);
    event Committed(JobId indexed id, address indexed account, bytes32 seal);
    event RevealStarted(JobId indexed id, uint40 revealBy);
    event Revealed(JobId indexed id, address indexed account, Verdict verdict, bytes32 digest);
    /// @notice The ticket is gone, its stake stays here. `voted` tells a minority's vote from a silent seat.
    event SeatSlashed(JobId indexed id, address indexed account, uint256 seat, uint256 amount, bool voted);
    /// @notice The provider got `shareBps` of price and bond, if `ruled`; the other tickets are free again.
    event CaseClosed(JobId indexed id, Verdict verdict, bool ruled, uint256 shareBps);
    /// @notice The account has `amount` of `feeToken` more to collect.
    event Earned(JobId indexed id, address indexed account, uint256 amount);
    event Collected(address indexed account, uint256 amount);

    // ---------------------------------------------------------------- stake

    /// @notice Buys `count` tickets in a class, `seatStake` each. Draws requested in later blocks may take them.
    /// @dev Requirements:
    /// - `count` is not zero; the caller approved this contract for `count * seatStake`, and exactly that arrives.
    /// @return slots The tickets' slots.
    function stake(uint16 resourceClass, uint256 count) external returns (uint32[] memory slots);

    /// @notice Says that tickets will leave, `unstakeSeconds` from now. Draws that may happen until then may take them.
    /// @dev Requirements:
    /// - each is the caller's, and did not ask to leave yet.
    function leave(uint16 resourceClass, uint32[] calldata slots) external;

    /// @notice Pays back the stake of tickets that may leave.
    /// @dev Requirements:
    /// - each is the caller's, its `leaveAt` has come, and it backs no case.
    function unstake(uint16 resourceClass, uint32[] calldata slots) external;

    /// @notice Fills up to `count` empty slots of a class with its last tickets, so that draws find tickets quickly. Anyone may call.
    /// Stops at a last ticket that backs a case.
    /// @dev Requirements:
    /// - no draw is requested in this class.
    function compact(uint16 resourceClass, uint256 count) external;

    /// @notice Pays what the caller earned.
    /// @dev Requirements:
    /// - it earned something.
    function collect() external returns (uint256 amount);

    // ---------------------------------------------------------------- cases

    /// @notice Opens the case of a disputed job and requests its draw. Anyone may call. A job that is `unfit` is ruled for the provider at
    /// once: both parties signed terms under which a dispute leads nowhere. One opened too late, or never, is ended by the escrow's `lapse`.
    /// @dev Requirements:
    /// - the job is Disputed with these terms, and this contract is its arbiter; it has no case yet;
    /// - unless it is unfit: `caseSeconds` are left until `ruleBy`, and the class has as many free tickets as the case and the draws requested
    ///   have seats to fill.
    function open(Job calldata job, Terms calldata terms) external returns (JobId id);

    /// @notice Draws the empty seats of the case whose draw was requested first in this class. Anyone may call. A seat is a free ticket of an
    /// account that is no party and was not drawn for this case before. A seat for which a busy ticket is drawn, or none in some tries, stays
    /// empty in this round.
    /// A draw that was missed is only taken from the queue.
    /// @dev Requirements:
    /// - a draw is requested in this class, and the randomness of its block is Ready or Missed.
    function draw(uint16 resourceClass) external returns (JobId id);

    /// @notice Gives a seat back, free of charge; it is drawn anew in the next round, when this one's time is over.
    /// @dev Requirements:
    /// - the case is in Voting, its deadline ahead; the caller has a seat, and sealed no vote.
    function decline(JobId id) external;

    /// @notice Seals a vote; see `sealOf`. When all seats are drawn and nobody is left to vote, anyone may `advance`.
    /// @dev Requirements:
    /// - the case is in Voting, `voteFrom` has come, and its deadline is ahead; the caller has a seat, and sealed no vote;
    /// - `seal` is not zero.
    function commit(JobId id, bytes32 seal) external;

    /// @notice Opens the caller's vote. When nobody is left to reveal, anyone may `advance`.
    /// @dev Requirements:
    /// - the case is in Revealing, its deadline ahead; the caller has a seat, and did not reveal;
    /// - the vote is what it sealed; `verdict` is Good to NotRerunnable; `digest` is the delivered result if Good, another and not
    ///   zero if Bad, and zero otherwise.
    function reveal(JobId id, Verdict verdict, bytes32 digest, bytes32 salt) external;

    /// @notice Moves a case on whose phase is over. Anyone may call. Slashes seats that were silent, starts the next phase, or closes the case
    /// and rules. A case that closes at `ruleBy` or later rules nothing.
    /// @dev Requirements:
    /// - the case is in Drawing and its draw was missed; or in Voting or Revealing, and the deadline has come or no seat is open; in Voting
    ///   none is empty then either;
    /// - if it closes and rules: `terms` are those of the disputed job.
    function advance(JobId id, Terms calldata terms) external;

    // ---------------------------------------------------------------- views

    function market() external view returns (IJobMarket);
    function random() external view returns (IRandom);
    /// @notice The ERC-20 in which verifiers stake.
    function stakeToken() external view returns (address);
    /// @notice The token in which jobs pay the panel: a job in another one is unfit. Zero: the native coin.
    function feeToken() external view returns (address);
    /// @notice The stake of one ticket, in `stakeToken`'s smallest unit: what a silent or false vote costs.
    function seatStake() external view returns (uint256);
    /// @notice The least a case pays per seat, in `feeToken`'s smallest unit.
    function seatFee() external view returns (uint256);
    function pace() external view returns (Pace memory);
    /// @notice The most draws a case has.
    function ROUNDS() external view returns (uint256);

    /// @notice Why the panel does not take such a job: the name of the job's field that is to blame. Empty: it takes it. Agents and SDK ask
    /// before they sign. Requirements:
    /// - `arbiter`: this contract; `token`: `feeToken`;
    /// - `arbiterData`: as above;
    /// - `disputeFee`: `seatFee` a seat at least; `bond`: twice that fee at least, so that a self-made case burns as much as it costs;
    /// - `deliverSeconds`: `caseSeconds` is within `unstakeSeconds`; `rulingSeconds`: `caseSeconds` and `openSeconds` at least.
    function unfit(Job calldata job) external view returns (string memory field);

    /// @notice The longest a case of a job with these `deliverSeconds` takes from `open` on, if somebody advances it in time.
    function caseSeconds(uint32 deliverSeconds) external view returns (uint256);

    /// @notice What seals a vote: `keccak256(abi.encode(account, id, verdict, digest, salt))`. The salt is random and kept until revealed.
    function sealOf(address account, JobId id, Verdict verdict, bytes32 digest, bytes32 salt)
        external
        pure
        returns (bytes32);

    function caseOf(JobId id) external view returns (Case memory);

    /// @notice The case's seats, in their order.
    function seatsOf(JobId id) external view returns (Seat[] memory);

    /// @notice The class's tickets, those that back no case and did not ask to leave, its slots, and the draws requested.
    function classOf(uint16 resourceClass)
        external
        view
        returns (uint256 tickets, uint256 free, uint256 slots, uint256 draws);

    function ticketOf(uint16 resourceClass, uint32 slot) external view returns (Ticket memory);

    /// @notice What the account may collect, in `feeToken`'s smallest unit.
    function earned(address account) external view returns (uint256);

    /// @notice What was slashed so far, in `stakeToken`'s smallest unit. It stays here for good.
    function slashed() external view returns (uint256);

    /// @notice What of the fees in `token` nobody earned. It stays in the escrow for good.
    function unearned(address token) external view returns (uint256);
}
