// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Bid, IJobMarket, JobId, JobState, Outcome, Terms} from "../../contracts/IJobMarket.sol";
import {Payout} from "../../contracts/Settlement.sol";
import {CHEATS, Cheats} from "./Cheats.sol";

/// @notice The state of a market rebuilt from its events alone. An event that the laws do not allow stops the history here.
abstract contract Rebuilt {
    /// @dev `locked` is what the job holds now, `prepaid` the part of it that the submitter paid for the case.
    struct Known {
        JobState state;
        Outcome outcome;
        bool delivered;
        uint256 locked;
        uint256 prepaid;
        Terms terms;
    }

    IJobMarket internal immutable market;

    JobId[] internal ids;
    Bid[] internal placed;
    mapping(bytes32 bidHash => bool) internal isPlaced;
    mapping(JobId id => Known) internal known;
    mapping(address token => mapping(address account => uint256)) internal balance;
    mapping(address token => mapping(address account => uint32)) internal epoch;
    mapping(address token => uint256) internal total;
    mapping(address token => uint256) internal locked;
    mapping(address token => uint256) internal burned;
    uint256 internal skipped;

    constructor(IJobMarket market_) {
        market = market_;
        CHEATS.recordLogs();
    }

    function _closed(JobId id, JobState from, Payout memory payout) internal virtual;

    function _moved(JobId id, JobState to) internal virtual;

    /// @dev Takes in what the market said since the last time.
    function _fold() internal returns (uint256 count) {
        Cheats.Log[] memory logs = CHEATS.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter != address(market)) continue;
            ++count;
            _foldMoney(logs[i].topics, logs[i].data) || _foldJob(logs[i].topics, logs[i].data) || _unknown();
        }
    }

    function _unknown() private pure returns (bool) {
        revert("law 6: an event that the interface does not name");
    }

    function _foldMoney(bytes32[] memory topics, bytes memory data) private returns (bool) {
        if (topics[0] == IJobMarket.Deposited.selector) {
            _give(_address(topics[1]), _address(topics[2]), abi.decode(data, (uint256)));
        } else if (topics[0] == IJobMarket.Withdrawn.selector) {
            _take(_address(topics[1]), _address(topics[2]), abi.decode(data, (uint256)));
        } else if (topics[0] == IJobMarket.AllCancelled.selector) {
            uint32 next = abi.decode(data, (uint32));
            require(next == epoch[_address(topics[1])][_address(topics[2])] + 1, "an epoch is one more than the last");
            epoch[_address(topics[1])][_address(topics[2])] = next;
        } else if (topics[0] == IJobMarket.BidPlaced.selector) {
            placed.push(abi.decode(data, (Bid)));
            isPlaced[keccak256(data)] = true;
        } else if (topics[0] == IJobMarket.CallSkipped.selector) {
            ++skipped;
        } else {
            return false;
        }
        return true;
    }

    function _foldJob(bytes32[] memory topics, bytes memory data) private returns (bool) {
        JobId id = JobId.wrap(topics[1]);
        Known storage job = known[id];
        if (topics[0] == IJobMarket.JobPosted.selector) {
            _expect(job.state == JobState.Unknown);
            _become(id, JobState.Open);
        } else if (topics[0] == IJobMarket.JobCancelled.selector) {
            _expect(job.state == JobState.Unknown || job.state == JobState.Open);
            job.outcome = Outcome.Cancelled;
            _become(id, JobState.Closed);
        } else if (topics[0] == IJobMarket.JobAwarded.selector) {
            _expect(job.state == JobState.Unknown || job.state == JobState.Open);
            _foldAward(id, topics, data);
        } else if (topics[0] == IJobMarket.JobDelivered.selector) {
            _expect(job.state == JobState.Awarded);
            uint40 windowEnd;
            (job.terms.result, windowEnd) = abi.decode(data, (bytes32, uint40));
            job.terms.times = job.terms.times.withDeadline(windowEnd);
            job.delivered = true;
            _become(id, JobState.Delivered);
        } else if (topics[0] == IJobMarket.JobDisputed.selector) {
            _expect(job.state == JobState.Delivered);
            _foldDispute(id, _address(topics[2]), data);
        } else if (topics[0] == IJobMarket.JobClosed.selector) {
            _expect(job.state == JobState.Awarded || job.state == JobState.Delivered || job.state == JobState.Disputed);
            _foldClose(id, data);
        } else {
            return false;
        }
        return true;
    }

    function _foldAward(JobId id, bytes32[] memory topics, bytes memory data) private {
        Known storage job = known[id];
        (Terms memory terms,,) = abi.decode(data, (Terms, bytes32, bytes32));
        require(_address(topics[2]) == terms.submitter.account(), "law 6: the submitter of the topic is that of the terms");
        require(_address(topics[3]) == terms.provider.account(), "law 6: the provider of the topic is that of the terms");
        job.terms = terms;
        _lock(id, terms.submitter.account(), terms.submitter.amount());
        _lock(id, terms.provider.account(), terms.provider.amount());
        _become(id, JobState.Awarded);
    }

    function _foldDispute(JobId id, address disputer, bytes memory data) private {
        Known storage job = known[id];
        (uint256 fee, uint40 ruleBy) = abi.decode(data, (uint256, uint40));
        job.terms.times = job.terms.times.withDeadline(ruleBy);
        if (disputer == job.terms.arbiter.account()) job.terms.times = job.terms.times.openedByArbiter();
        job.prepaid = fee;
        _lock(id, job.terms.submitter.account(), fee);
        _become(id, JobState.Disputed);
    }

    function _foldClose(JobId id, bytes memory data) private {
        Known storage job = known[id];
        JobState from = job.state;
        Payout memory payout;
        (job.outcome, payout) = abi.decode(data, (Outcome, Payout));
        address token = job.terms.token;
        uint256 paid = payout.toSubmitter + payout.toProvider + payout.toMatcher + payout.toArbiter + payout.burned;
        require(paid == job.locked, "law 4: what leaves a job is what it locked");
        locked[token] -= job.locked;
        job.locked = 0;
        burned[token] += payout.burned;
        _give(token, job.terms.submitter.account(), payout.toSubmitter);
        _give(token, job.terms.provider.account(), payout.toProvider);
        _give(token, job.terms.matcher.account(), payout.toMatcher);
        _give(token, job.terms.arbiter.account(), payout.toArbiter);
        _become(id, JobState.Closed);
        _closed(id, from, payout);
    }

    function _expect(bool allowed) private pure {
        require(allowed, "law 2: a job moves along the arrows only, and from Closed there is none");
    }

    function _become(JobId id, JobState state) private {
        if (known[id].state == JobState.Unknown) ids.push(id);
        known[id].state = state;
        _moved(id, state);
    }

    function _lock(JobId id, address account, uint256 amount) private {
        address token = known[id].terms.token;
        _take(token, account, amount);
        known[id].locked += amount;
        locked[token] += amount;
    }

    function _give(address token, address account, uint256 amount) private {
        balance[token][account] += amount;
        total[token] += amount;
    }

    function _take(address token, address account, uint256 amount) private {
        require(balance[token][account] >= amount, "law 6: more was taken than the events had given");
        balance[token][account] -= amount;
        total[token] -= amount;
    }

    function _address(bytes32 topic) private pure returns (address) {
        return address(uint160(uint256(topic)));
    }
}
