// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Bid, Job, JobId, JobState, Outcome, Terms} from "../../contracts/IJobMarket.sol";
import {Payout} from "../../contracts/Settlement.sol";
import {World} from "./World.sol";

/// @notice The verbs of a job after its award.
enum Verb {
    Deliver,
    DeliverAndClose,
    Approve,
    Settle,
    Dispute,
    Rule,
    Lapse,
    Reclaim
}

/// @dev What a call is about. `exact`: the terms are those of the job. `signed`: the approval is the submitter's.
struct Act {
    Verb verb;
    address caller;
    JobId id;
    bool exact;
    bool signed;
    bytes32 result;
    uint256 shareBps;
}

/// @notice What the interface says of each verb, written a second time: who may when, and who gets what.
abstract contract Rules is World {
    // ---------------------------------------------------------------- who may

    function _allowed(Act memory act) internal view returns (bool) {
        Terms storage terms = known[act.id].terms;
        JobState state = known[act.id].state;
        bool early = _now() < terms.times.deadline();
        address arbiter = terms.arbiter.account();
        if (!act.exact) return false;
        if (act.verb == Verb.Settle) return state == JobState.Delivered && !early;
        if (act.verb == Verb.Lapse) return state == JobState.Disputed && !early;
        if (act.verb == Verb.Reclaim) return state == JobState.Awarded && !early;
        if (act.verb == Verb.Approve) return state == JobState.Delivered && act.caller == terms.submitter.account();
        if (act.verb == Verb.Rule) {
            bool open = state == JobState.Delivered || state == JobState.Disputed;
            return open && early && act.caller == arbiter && act.shareBps <= 10_000;
        }
        if (act.verb == Verb.Dispute) {
            if (state != JobState.Delivered || !early || arbiter == address(0)) return false;
            return act.caller == arbiter || act.caller == terms.submitter.account() && _canPrepay(terms);
        }
        bool delivers = state == JobState.Awarded && early && act.caller == terms.provider.account() && act.result != 0;
        return delivers && (act.verb == Verb.Deliver || act.signed);
    }

    function _canPrepay(Terms storage terms) private view returns (bool) {
        return balance[terms.token][terms.submitter.account()] >= terms.arbiter.amount();
    }

    function _wellFormed(Job memory job) internal pure returns (bool) {
        if (job.priceStart > job.priceCap || job.openAt >= job.awardBy || job.deliverSeconds == 0) return false;
        if (job.spec == 0 || job.matcherFeeBps > 10_000) return false;
        if (job.arbiter == address(0)) return job.disputeFee == 0 && job.arbiterData == 0 && job.rulingSeconds == 0;
        if (job.challengeSeconds == 0 || job.rulingSeconds == 0) return false;
        return job.arbiter != job.submitter && job.disputeFee <= job.bond;
    }

    function _postable(JobId id, Job memory job, address caller) internal view returns (bool) {
        bool fresh = known[id].state == JobState.Unknown && _now() < job.awardBy;
        return fresh && caller == job.submitter && _wellFormed(job) && job.epoch == epoch[job.token][job.submitter];
    }

    function _placeable(Bid memory bid, address caller) internal view returns (bool) {
        JobState state = known[bid.job].state;
        return caller == bid.provider && (state == JobState.Unknown || state == JobState.Open) && _inTime(bid);
    }

    function _inTime(Bid memory bid) private view returns (bool) {
        return _now() < bid.expiresAt && bid.expiresAt <= _now() + 120;
    }

    /// @dev Apart from the two signatures.
    function _awardable(JobId id, Job memory job, Bid memory bid, address caller) internal view returns (bool) {
        if (!_wellFormed(job) || job.epoch != epoch[job.token][job.submitter]) return false;
        if (_now() >= job.awardBy || _now() < job.openAt && caller != job.matcher) return false;
        if (JobId.unwrap(bid.job) != JobId.unwrap(id) || !_inTime(bid) || bid.price > _most(job)) return false;
        address provider = bid.provider;
        if (provider == address(0) || provider == job.submitter || provider == job.arbiter) return false;
        return balance[job.token][job.submitter] >= bid.price && balance[job.token][provider] >= job.bond;
    }

    function _most(Job memory job) private view returns (uint256) {
        if (_now() < job.openAt) return job.priceStart;
        uint256 whole = uint256(job.priceCap - job.priceStart) * (_now() - job.openAt);
        return job.priceStart + whole / (job.awardBy - job.openAt);
    }

    // ---------------------------------------------------------------- who gets what

    /// @dev Of `act`, which is allowed and closes the job, from the terms before it.
    function _due(Act memory act) internal view returns (Outcome outcome, Payout memory payout) {
        Terms storage terms = known[act.id].terms;
        uint256 bond = terms.provider.amount();
        if (act.verb == Verb.Reclaim) return (Outcome.Refunded, Payout(terms.submitter.amount(), 0, 0, 0, bond));
        if (act.verb == Verb.Rule) return _dueByRule(act);
        if (act.verb == Verb.Lapse && !terms.times.byArbiter()) {
            payout = _shared(terms, 5_000);
            payout.burned = terms.arbiter.amount();
            outcome = Outcome.Split;
        } else {
            payout = _shared(terms, 10_000);
            outcome = Outcome.Paid;
        }
        payout.toProvider += bond;
    }

    function _dueByRule(Act memory act) private view returns (Outcome outcome, Payout memory payout) {
        Terms storage terms = known[act.id].terms;
        uint256 bond = terms.provider.amount();
        uint256 won = act.shareBps;
        uint256 kept = bond * won / 10_000;
        uint256 fromBond = terms.arbiter.amount() * (10_000 - won) / 10_000;
        uint256 fromPrepaid = known[act.id].prepaid * won / 10_000;
        payout = _shared(terms, won);
        payout.toProvider += kept;
        payout.toSubmitter += known[act.id].prepaid - fromPrepaid;
        payout.toArbiter = fromBond + fromPrepaid;
        payout.burned = bond - kept - fromBond;
        outcome = won == 10_000 ? Outcome.Paid : won == 0 ? Outcome.Refunded : Outcome.Split;
    }

    /// @dev The price alone.
    function _shared(Terms storage terms, uint256 bps) private view returns (Payout memory payout) {
        uint256 gross = terms.submitter.amount() * bps / 10_000;
        payout.toMatcher = terms.matcher.amount() * bps / 10_000;
        payout.toProvider = gross - payout.toMatcher;
        payout.toSubmitter = terms.submitter.amount() - gross;
    }

    /// @dev Holds for every closing job, whoever closed it and how.
    function _checkBounds(JobId id, JobState from, Payout memory payout, bool ruled) internal view {
        Terms storage terms = known[id].terms;
        uint256 price = terms.submitter.amount();
        uint256 bond = terms.provider.amount();
        require(payout.toSubmitter <= price + known[id].prepaid, "nobody profits: the submitter gets back what it paid at most");
        require(payout.toProvider <= price - terms.matcher.amount() + bond, "the provider gets price less fee, and bond, at most");
        require(payout.toMatcher <= terms.matcher.amount() && payout.toMatcher <= price, "the matcher gets its fee at most");
        require(payout.toArbiter <= terms.arbiter.amount(), "the arbiter gets what a case costs at most");
        if (from == JobState.Awarded) require(payout.toSubmitter == price && payout.toProvider == 0, "late: refunded whole");
        else if (!ruled) require(payout.toProvider >= bond, "law 5: delivered in time, not overruled, keeps its bond");
    }

    /// @dev What the honest are sure of. An honest arbiter always rules in time.
    function _checkHonest(JobId id, Payout memory payout) internal view {
        Terms storage terms = known[id].terms;
        uint256 price = terms.submitter.amount();
        address arbiter = terms.arbiter.account();
        if (terms.provider.account() == goodProvider && (arbiter == goodArbiter || arbiter == address(0))) {
            uint256 whole = price - terms.matcher.amount() + terms.provider.amount();
            require(payout.toProvider == whole, "an honest provider before an honest arbiter is paid whole");
        }
        if (terms.provider.account() == goodProvider && arbiter == silentArbiter) {
            require(payout.toProvider + 1 >= terms.provider.amount() + (price - terms.matcher.amount()) / 2, "half at least");
        }
        bool bad = !_isGood(terms.result);
        if (terms.submitter.account() == goodSubmitter && arbiter == goodArbiter && bad) {
            require(payout.toSubmitter == price + known[id].prepaid, "an honest submitter before an honest arbiter pays for good only");
        }
    }

    /// @dev The honest never do what would harm others, nor themselves; a silent arbiter does not rule.
    function _befits(Act memory act) internal view returns (bool) {
        bool good = _isGood(known[act.id].terms.result);
        if (act.verb == Verb.Rule && act.caller == silentArbiter) return false;
        if (act.caller == goodArbiter) {
            if (act.verb == Verb.Rule) return act.shareBps == (good ? 10_000 : 0);
            if (act.verb == Verb.Dispute) return !good;
        }
        if (act.caller == goodProvider && act.result != 0) return _isGood(act.result);
        if (act.verb == Verb.DeliverAndClose && known[act.id].terms.submitter.account() == goodSubmitter) return _isGood(act.result);
        if (act.caller == goodSubmitter && act.verb == Verb.Approve) return good;
        return true;
    }
}
