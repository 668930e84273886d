// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IJobMarket, Job, JobId, JobState, Terms} from "./IJobMarket.sol";
import {Case, IPanel, Pace, Phase, Seat, Ticket, Verdict} from "./IPanel.sol";
import {IRandom, Luck} from "./IRandom.sol";
import {hasMinority, hasVoted, isLie, isVote, shareOf, tally} from "./Tally.sol";
import {Class, Find, Tickets} from "./Tickets.sol";

/// @title The first arbiter of deai; IPanel is its specification
contract Panel is IPanel, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;
    using Tickets for Class;

    /// @inheritdoc IPanel
    uint256 public constant ROUNDS = 3;
    uint256 private constant MAX_SEATS = 15;
    /// @dev Slots looked at for one seat: with a third of them drawable one seat in ten million stays empty.
    uint256 private constant TRIES = 40;
    /// @dev The bond a job must have, in multiples of the panel's fee: the other half burns.
    uint256 private constant BOND_FEES = 2;

    /// @inheritdoc IPanel
    IJobMarket public immutable market;
    /// @inheritdoc IPanel
    IRandom public immutable random;
    /// @inheritdoc IPanel
    address public immutable stakeToken;
    /// @inheritdoc IPanel
    address public immutable feeToken;
    /// @inheritdoc IPanel
    uint256 public immutable seatStake;
    /// @inheritdoc IPanel
    uint256 public immutable seatFee;
    Pace private _pace; // set once, at deployment

    mapping(uint16 resourceClass => Class) private _classes;
    mapping(JobId id => Case) private _cases;
    mapping(JobId id => Seat[]) private _seats;
    /// @dev One more than the seat an account was drawn for, which it may have lost since.
    mapping(JobId id => mapping(address account => uint256)) private _places;
    /// @dev Whether seats were drawn anew when votes were public already.
    mapping(JobId id => bool) private _redrawn;
    /// @inheritdoc IPanel
    mapping(address account => uint256) public earned;
    /// @inheritdoc IPanel
    mapping(address token => uint256) public unearned;
    /// @inheritdoc IPanel
    uint256 public slashed;

    constructor(
        IJobMarket market_,
        IRandom random_,
        address stakeToken_,
        address feeToken_,
        uint256 seatStake_,
        uint256 seatFee_,
        Pace memory pace_
    ) {
        if (address(market_).code.length == 0) revert Malformed("market");
        if (address(random_).code.length == 0) revert Malformed("random");
        if (stakeToken_.code.length == 0) revert Malformed("stakeToken");
        if (seatStake_ == 0) revert Malformed("seatStake");
        if (seatFee_ == 0) revert Malformed("seatFee");
        if (pace_.drawBlocks == 0) revert Malformed("drawBlocks");
        if (pace_.openSeconds == 0) revert Malformed("openSeconds");
        if (pace_.drawSeconds == 0) revert Malformed("drawSeconds");
        if (pace_.cureSeconds == 0) revert Malformed("cureSeconds");
        if (pace_.voteSeconds == 0) revert Malformed("voteSeconds");
        if (pace_.revealSeconds == 0) revert Malformed("revealSeconds");

        (market, random, stakeToken, feeToken) = (market_, random_, stakeToken_, feeToken_);
        (seatStake, seatFee, _pace) = (seatStake_, seatFee_, pace_);

        if (caseSeconds(0) >= pace_.unstakeSeconds) revert Malformed("unstakeSeconds");
    }

    // ---------------------------------------------------------------- stake

    /// @inheritdoc IPanel
    function stake(uint16 resourceClass, uint256 count) external nonReentrant returns (uint32[] memory slots) {
        if (count == 0) revert Malformed("count");

        Class storage class = _classes[resourceClass];
        slots = new uint32[](count);
        for (uint256 i = 0; i < count; ++i) {
            slots[i] = class.add(msg.sender);

            emit Staked(resourceClass, msg.sender, slots[i]);
        }

        uint256 before = IERC20(stakeToken).balanceOf(address(this));
        IERC20(stakeToken).safeTransferFrom(msg.sender, address(this), count * seatStake);
        if (IERC20(stakeToken).balanceOf(address(this)) - before != count * seatStake) revert Malformed("stakeToken");
    }

    /// @inheritdoc IPanel
    function leave(uint16 resourceClass, uint32[] calldata slots) external {
        Class storage class = _classes[resourceClass];
        uint40 leaveAt = (block.timestamp + _pace.unstakeSeconds).toUint40();
        for (uint256 i = 0; i < slots.length; ++i) {
            if (_owned(class, resourceClass, slots[i]).leaveAt != 0) revert LeavingAlready(resourceClass, slots[i]);

            class.leave(slots[i], leaveAt);

            emit Leaving(resourceClass, msg.sender, slots[i], leaveAt);
        }
    }

    /// @inheritdoc IPanel
    function unstake(uint16 resourceClass, uint32[] calldata slots) external nonReentrant {
        Class storage class = _classes[resourceClass];
        for (uint256 i = 0; i < slots.length; ++i) {
            uint32 slot = slots[i];
            Ticket memory ticket = _owned(class, resourceClass, slot);
            if (ticket.leaveAt == 0 || block.timestamp < ticket.leaveAt) {
                revert LeaveAhead(resourceClass, slot, ticket.leaveAt);
            }
            if (ticket.seated) revert Seated(resourceClass, slot);

            class.remove(slot);

            emit Left(resourceClass, msg.sender, slot);
        }

        IERC20(stakeToken).safeTransfer(msg.sender, slots.length * seatStake);
    }

    /// @inheritdoc IPanel
    function compact(uint16 resourceClass, uint256 count) external {
        Class storage class = _classes[resourceClass];
        if (class.draws() != 0) revert DrawsPending(resourceClass);

        class.compact(resourceClass, count);
    }

    /// @inheritdoc IPanel
    function collect() external nonReentrant returns (uint256 amount) {
        amount = earned[msg.sender];
        if (amount == 0) revert Malformed("amount");

        earned[msg.sender] = 0;

        emit Collected(msg.sender, amount);

        market.withdraw(feeToken, msg.sender, amount);
    }

    // ---------------------------------------------------------------- cases

    /// @inheritdoc IPanel
    function open(Job calldata job, Terms calldata terms) external returns (JobId id) {
        id = market.jobId(job);
        Case memory case_ = _load(id);
        if (case_.phase != Phase.None) revert WrongPhase(id, case_.phase);
        _checkDispute(id, job, terms);
        case_.ruleBy = terms.times.deadline();
        if (bytes(unfit(job)).length != 0) {
            _close(id, case_, Verdict.Unfit, 0, terms);
            return id;
        }
        if (block.timestamp + caseSeconds(job.deliverSeconds) > case_.ruleBy) revert TooLate(id, case_.ruleBy);
        (uint16 resourceClass, uint8 seats,) = _parts(job.arbiterData);
        uint256 free = _classes[resourceClass].unreserved();
        if (free < seats) revert TooFewTickets(resourceClass, free, seats);

        case_.resourceClass = resourceClass;
        case_.seats = seats;
        case_.empty = seats;
        case_.deliverSeconds = job.deliverSeconds;
        case_.submitter = job.submitter;
        case_.provider = terms.provider.account();
        case_.result = terms.result;
        for (uint256 i = 0; i < seats; ++i) {
            _seats[id].push();
        }

        emit CaseOpened(id, resourceClass, case_.submitter, case_.provider, case_.result, seats, case_.ruleBy);

        _request(id, case_);
    }

    /// @inheritdoc IPanel
    function draw(uint16 resourceClass) external returns (JobId id) {
        Class storage class = _classes[resourceClass];
        if (class.draws() == 0) revert NothingToDraw(resourceClass);
        id = class.queue[class.head];
        Case memory case_ = _load(id);
        (bytes32 value, Luck luck) = random.at(case_.drawBlock);
        if (luck == Luck.Pending) revert DrawAhead(id, case_.drawBlock);

        ++class.head;
        class.reserved -= case_.empty;
        bool missed = luck == Luck.Missed || block.timestamp >= case_.deadline;
        if (case_.phase != Phase.Drawing || missed) return id;
        for (uint256 i = 0; i < case_.seats; ++i) {
            if (_seats[id][i].account == address(0) && _drawSeat(class, id, case_, i, value)) {
                --case_.empty;
                ++case_.open;
            }
        }
        case_.phase = Phase.Voting;
        case_.voteFrom = (block.timestamp + _pace.cureSeconds).toUint40();
        case_.deadline = case_.voteFrom + case_.deliverSeconds + _pace.voteSeconds;
        _save(id, case_);

        emit Drawn(id, case_.round, case_.empty, case_.voteFrom, case_.deadline);
    }

    /// @inheritdoc IPanel
    function decline(JobId id) external {
        Case memory case_ = _checkPhase(id, Phase.Voting);
        (uint256 index, Seat memory seat) = _seatOf(id);
        if (hasVoted(seat)) revert NoSeat(id, msg.sender);

        --case_.open;
        ++case_.empty;
        _save(id, case_);
        delete _seats[id][index];
        _classes[case_.resourceClass].letGo(seat.slot);

        emit Declined(id, msg.sender, index);
    }

    /// @inheritdoc IPanel
    function commit(JobId id, bytes32 seal) external {
        Case memory case_ = _checkPhase(id, Phase.Voting);
        if (block.timestamp < case_.voteFrom) revert VoteAhead(id, case_.voteFrom);
        if (seal == 0) revert Malformed("seal");
        (uint256 index, Seat memory seat) = _seatOf(id);
        if (hasVoted(seat)) revert NoSeat(id, msg.sender);

        --case_.open;
        _save(id, case_);
        _seats[id][index].vote = seal;

        emit Committed(id, msg.sender, seal);
    }

    /// @inheritdoc IPanel
    function reveal(JobId id, Verdict verdict, bytes32 digest, bytes32 salt) external {
        Case memory case_ = _checkPhase(id, Phase.Revealing);
        (uint256 index, Seat memory seat) = _seatOf(id);
        if (seat.verdict != Verdict.None) revert NoSeat(id, msg.sender);
        if (seat.vote != sealOf(msg.sender, id, verdict, digest, salt)) revert WrongSeal(id, msg.sender);
        if (!isVote(verdict, digest, case_.result)) revert Malformed("verdict");

        --case_.open;
        _save(id, case_);
        _seats[id][index].verdict = verdict;
        _seats[id][index].vote = digest;

        emit Revealed(id, msg.sender, verdict, digest);
    }

    /// @inheritdoc IPanel
    function advance(JobId id, Terms calldata terms) external {
        Case memory case_ = _load(id);
        _checkOver(id, case_);

        Verdict verdict = Verdict.Undrawn;
        bytes32 digest;
        if (case_.phase != Phase.Drawing) {
            _removeSilent(id, case_);
            bool again = case_.empty != 0 && case_.round < ROUNDS
                && block.timestamp + _roundSeconds(case_.deliverSeconds) <= case_.ruleBy;
            bool voting = case_.phase == Phase.Voting;
            if (!voting) (verdict, digest) = tally(_seats[id]);
            if (again && (voting || verdict == Verdict.Undecided)) {
                if (!voting) _redrawn[id] = true;
                return _request(id, case_);
            }
            if (voting && case_.empty < case_.seats) return _startReveal(id, case_);
            if (voting) verdict = Verdict.Undecided;
        }
        _close(id, case_, verdict, digest, terms);
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IPanel
    function pace() external view returns (Pace memory) {
        return _pace;
    }

    /// @inheritdoc IPanel
    function unfit(Job calldata job) public view returns (string memory field) {
        (, uint8 seats, uint256 rest) = _parts(job.arbiterData);
        uint256 longest = caseSeconds(job.deliverSeconds);
        if (job.arbiter != address(this)) return "arbiter";
        if (job.token != feeToken) return "token";
        if (seats % 2 == 0 || seats > MAX_SEATS || rest != 0) return "arbiterData";
        if (job.disputeFee < seats * seatFee) return "disputeFee";
        if (job.bond < BOND_FEES * job.disputeFee) return "bond";
        if (longest > _pace.unstakeSeconds) return "deliverSeconds";
        if (job.rulingSeconds < longest + _pace.openSeconds) return "rulingSeconds";
    }

    /// @inheritdoc IPanel
    function caseSeconds(uint32 deliverSeconds) public view returns (uint256) {
        return ROUNDS * _roundSeconds(deliverSeconds);
    }

    /// @inheritdoc IPanel
    function sealOf(address account, JobId id, Verdict verdict, bytes32 digest, bytes32 salt)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(account, id, verdict, digest, salt));
    }

    /// @inheritdoc IPanel
    function caseOf(JobId id) external view returns (Case memory) {
        return _cases[id];
    }

    /// @inheritdoc IPanel
    function seatsOf(JobId id) external view returns (Seat[] memory) {
        return _seats[id];
    }

    /// @inheritdoc IPanel
    function classOf(uint16 resourceClass)
        external
        view
        returns (uint256 tickets, uint256 free, uint256 slots, uint256 draws)
    {
        Class storage class = _classes[resourceClass];
        return (class.tickets, class.free, class.slots.length, class.draws());
    }

    /// @inheritdoc IPanel
    function ticketOf(uint16 resourceClass, uint32 slot) external view returns (Ticket memory ticket) {
        Class storage class = _classes[resourceClass];
        if (slot < class.slots.length) ticket = class.slots[slot];
    }

    // ---------------------------------------------------------------- checks

    function _owned(Class storage class, uint16 resourceClass, uint32 slot) private view returns (Ticket memory ticket) {
        if (slot < class.slots.length) ticket = class.slots[slot];
        if (ticket.account != msg.sender) revert NotYours(resourceClass, slot, msg.sender);
    }

    function _checkDispute(JobId id, Job calldata job, Terms calldata terms) private view {
        (JobState state,) = market.stateOf(id);
        bool disputed = state == JobState.Disputed && market.isCommitted(id, terms);
        if (!disputed || job.arbiter != address(this)) revert NoDispute(id);
    }

    function _checkPhase(JobId id, Phase expected) private view returns (Case memory case_) {
        case_ = _load(id);
        if (case_.phase != expected) revert WrongPhase(id, case_.phase);
        if (block.timestamp >= case_.deadline) revert PhaseOver(id, case_.phase, case_.deadline);
    }

    function _checkOver(JobId id, Case memory case_) private view {
        if (case_.phase == Phase.None || case_.phase == Phase.Closed) revert WrongPhase(id, case_.phase);
        if (block.timestamp >= case_.deadline) return;
        // In Voting an empty seat holds the case: else rounds that drew nobody were over before a ticket is free again.
        bool over = case_.open == 0 && (case_.phase == Phase.Revealing || case_.empty == 0);
        if (case_.phase == Phase.Drawing) {
            (, Luck luck) = random.at(case_.drawBlock);
            over = luck == Luck.Missed;
        }
        if (!over) revert PhaseAhead(id, case_.phase, case_.deadline);
    }

    function _seatOf(JobId id) private view returns (uint256 index, Seat memory seat) {
        uint256 place = _places[id][msg.sender];
        if (place != 0) (index, seat) = (place - 1, _seats[id][place - 1]);
        if (seat.account != msg.sender) revert NoSeat(id, msg.sender);
    }

    function _parts(bytes32 arbiterData) private pure returns (uint16 resourceClass, uint8 seats, uint256 rest) {
        uint256 word = uint256(arbiterData);
        return (uint16(word >> 240), uint8(word >> 232), uint232(word));
    }

    function _roundSeconds(uint32 deliverSeconds) private view returns (uint256) {
        Pace memory times = _pace;
        return uint256(times.drawSeconds) + times.cureSeconds + deliverSeconds + times.voteSeconds + times.revealSeconds;
    }

    // ---------------------------------------------------------------- the case's ways

    /// @dev This and `_save` keep one copy of the code that packs a case.
    function _load(JobId id) private view returns (Case memory) {
        return _cases[id];
    }

    function _save(JobId id, Case memory case_) private {
        _cases[id] = case_;
    }

    function _request(JobId id, Case memory case_) private {
        Class storage class = _classes[case_.resourceClass];
        case_.phase = Phase.Drawing;
        ++case_.round;
        case_.slots = class.slots.length.toUint32();
        case_.drawBlock = (block.number + _pace.drawBlocks).toUint64();
        case_.deadline = (block.timestamp + _pace.drawSeconds).toUint40();
        _save(id, case_);
        class.reserved += case_.empty;
        class.queue.push(id);

        emit DrawRequested(id, case_.round, case_.empty, case_.drawBlock, case_.deadline);
    }

    /// @dev Looks for a ticket for one seat; whether it found one.
    function _drawSeat(Class storage class, JobId id, Case memory case_, uint256 index, bytes32 value)
        private
        returns (bool)
    {
        uint256 requested = case_.drawBlock - _pace.drawBlocks;
        for (uint256 i = 0; i < TRIES && case_.slots != 0; ++i) {
            bytes32 luck = keccak256(abi.encode(value, id, case_.round, index, i));
            uint32 slot = uint32(uint256(luck) % case_.slots);
            (Find found, address account) = class.find(slot, requested, case_.deadline);
            if (account == case_.submitter || account == case_.provider || _places[id][account] != 0) continue;
            if (found == Find.Nobody) continue;
            if (found == Find.Busy) return false;

            class.take(slot);
            _places[id][account] = index + 1;
            _seats[id][index] = Seat(account, slot, Verdict.None, 0);

            emit SeatDrawn(id, account, index, slot);
            return true;
        }
        return false;
    }

    /// @dev Slashes and empties the seats that did not do what their phase asks.
    function _removeSilent(JobId id, Case memory case_) private {
        for (uint256 i = 0; case_.open != 0; ++i) {
            Seat memory seat = _seats[id][i];
            bool silent = case_.phase == Phase.Voting ? !hasVoted(seat) : seat.verdict == Verdict.None;
            if (seat.account == address(0) || !silent) continue;

            --case_.open;
            ++case_.empty;
            delete _seats[id][i];
            _slash(id, case_, i, seat, false);
        }
    }

    function _startReveal(JobId id, Case memory case_) private {
        case_.phase = Phase.Revealing;
        case_.deadline = (block.timestamp + _pace.revealSeconds).toUint40();
        for (uint256 i = 0; i < case_.seats; ++i) {
            Seat memory seat = _seats[id][i];
            if (seat.account != address(0) && seat.verdict == Verdict.None) ++case_.open;
        }
        _save(id, case_);

        emit RevealStarted(id, case_.deadline);
    }

    /// @dev Ends the case: lets its tickets go, slashes a minority, rules, and shares the fee.
    function _close(JobId id, Case memory case_, Verdict verdict, bytes32 digest, Terms calldata terms) private {
        Seat[] memory seats = _seats[id];
        case_.phase = Phase.Closed;
        _save(id, case_);
        bool ruled = verdict != Verdict.Undecided && block.timestamp < case_.ruleBy;
        uint256 share = ruled ? shareOf(verdict) : 0;

        emit CaseClosed(id, verdict, ruled, share);

        uint256 winners;
        for (uint256 i = 0; i < seats.length; ++i) {
            Seat memory seat = seats[i];
            if (seat.account == address(0)) continue;
            bool lost = hasMinority(verdict) && (seat.verdict != verdict || seat.vote != digest);
            if (lost && isLie(seat.verdict, verdict) && !_redrawn[id]) _slash(id, case_, i, seat, true);
            else _classes[case_.resourceClass].letGo(seat.slot);
            // Without a vote a seat wins nothing, and the sharing passes over it.
            if (lost || !hasVoted(seat)) seat.account = address(0);
            else ++winners;
        }

        if (ruled) _share(id, seats, winners, terms.token, _rule(id, terms, share));
    }

    function _slash(JobId id, Case memory case_, uint256 index, Seat memory seat, bool voted) private {
        slashed += seatStake;
        _classes[case_.resourceClass].remove(seat.slot);

        emit SeatSlashed(id, seat.account, index, seatStake, voted);
    }

    /// @dev What the escrow paid this contract for the case.
    function _rule(JobId id, Terms calldata terms, uint256 share) private returns (uint256) {
        uint256 before = market.balanceOf(terms.token, address(this));
        market.rule(id, terms, share);
        return market.balanceOf(terms.token, address(this)) - before;
    }

    /// @dev Every seat that still has an account won.
    function _share(JobId id, Seat[] memory seats, uint256 winners, address token, uint256 fee) private {
        uint256 part = winners == 0 ? 0 : fee / winners;
        unearned[token] += fee - part * winners;
        for (uint256 i = 0; i < seats.length && part != 0; ++i) {
            if (seats[i].account == address(0)) continue;
            earned[seats[i].account] += part;

            emit Earned(id, seats[i].account, part);
        }
    }
}
