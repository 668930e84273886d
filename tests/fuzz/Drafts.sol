// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Bid, IJobMarket, Job, JobId, JobState, Terms} from "../../contracts/IJobMarket.sol";
import {CHEATS} from "./Cheats.sol";
import {Act, Rules, Verb} from "./Rules.sol";

/// @notice What the dice make: jobs, bids, signatures and calls, most of them sound, some spoiled or forged.
abstract contract Drafts is Rules {
    uint256 private constant KEYS = 10; // the first actors have keys

    Job[] internal jobs;
    Bid[] internal bids;
    JobId[] internal live; // Awarded, Delivered or Disputed
    mapping(JobId id => bool) private _remembered;

    // ---------------------------------------------------------------- jobs and bids

    function _newJob() internal returns (Job memory job) {
        job.submitter = _chance(35) ? goodSubmitter : _chance(40) ? liar : _chance(60) ? address(signing) : _anyone();
        job.token = tokens[_pick(tokens.length - 1)];
        job.priceStart = uint96(_pick(ASKED));
        job.priceCap = job.priceStart + uint96(_chance(20) ? 0 : _pick(ASKED));
        job.bond = uint96(_chance(5) ? 0 : _pick(ASKED));
        job.matcher = _chance(50) ? matcher : _chance(50) ? _anyone() : address(0);
        job.matcherFeeBps = uint16(_chance(10) ? 10_000 : _pick(1000));
        job.epoch = epoch[job.token][job.submitter];
        job.openAt = uint40(_now() + _pick(100) - 60);
        job.awardBy = uint40(_now() + 41 + _pick(300));
        job.deliverSeconds = uint32(1 + _pick(300));
        job.challengeSeconds = uint24(_chance(50) ? 0 : _pick(300));
        job.spec = _salt();
        job.salt = _salt();
        _addArbiter(job);
    }

    function _addArbiter(Job memory job) private {
        if (_chance(25)) return;
        job.arbiter = _chance(45) ? goodArbiter : _chance(50) ? corrupt : _chance(80) ? silentArbiter : actors[_pick(KEYS)];
        job.arbiterData = _salt();
        job.disputeFee = uint96(_pick(uint256(job.bond) + 1));
        job.challengeSeconds = uint24(1 + _pick(300));
        job.rulingSeconds = uint24(1 + _pick(300));
    }

    /// @dev One field made wrong, or merely odd.
    function _spoil(Job memory job) internal {
        uint256 field = _pick(13);
        if (field == 0) job.priceStart = job.priceCap + 1;
        else if (field == 1) job.openAt = job.awardBy;
        else if (field == 2) job.deliverSeconds = 0;
        else if (field == 3) job.spec = 0;
        else if (field == 4) job.matcherFeeBps = 10_001;
        else if (field == 5) job.arbiter = job.submitter;
        else if (field == 6) job.challengeSeconds = 0;
        else if (field == 7) job.rulingSeconds = job.rulingSeconds == 0 ? 1 : 0;
        else if (field == 8) job.disputeFee = job.bond + 1;
        else if (field == 9) job.arbiter = address(0);
        else if (field == 10) ++job.epoch;
        else if (field == 11) job.awardBy = uint40(_now());
        else (job.arbiter, job.disputeFee, job.rulingSeconds) = (address(0), 0, 0);
    }

    function _oldJob() internal returns (Job memory job) {
        if (jobs.length != 0) return jobs[_pick(jobs.length)];
        job = _newJob();
        _remember(job);
    }

    function _remember(Job memory job) internal returns (JobId id) {
        id = market.jobId(job);
        if (_remembered[id]) return id;
        _remembered[id] = true;
        jobs.push(job);
    }

    function _bidFor(Job memory job) internal returns (Bid memory offer) {
        offer.job = market.jobId(job);
        offer.provider = _chance(35) ? goodProvider : _chance(30) ? twin : _chance(30) ? sloppy : _chance(60) ? address(serving) : _anyone();
        offer.price = uint96(_chance(75) ? _pick(uint256(job.priceStart) + 1) : _pick(uint256(job.priceCap) + 2));
        if (_chance(5)) offer.provider = _chance(50) ? job.submitter : job.arbiter;
        offer.expiresAt = uint40(_now() + (_chance(90) ? 1 + _pick(120) : _pick(200)));
    }

    // ---------------------------------------------------------------- signatures

    /// @dev And whether it counts for a job that was not posted. A wallet goes by its mood alone.
    function _jobSignature(Job memory job) internal returns (bytes memory signature, bool counts) {
        bytes32 digest = JobId.unwrap(market.jobId(job));
        counts = _counts(job.submitter);
        uint256 form = _pick(10);
        if (form == 0) return ("", counts && keyOf[job.submitter] == 0);
        if (form == 1) return (_sign(job.submitter, _salt()), counts && keyOf[job.submitter] == 0);
        if (form < 5 && keyOf[job.submitter] != 0) return _treeSignature(job.submitter, digest);
        return (_sign(job.submitter, digest), counts);
    }

    /// @dev A tree of up to 8 jobs, the others unknown; sometimes with a step of the proof changed.
    function _treeSignature(address account, bytes32 digest) private returns (bytes memory signature, bool counts) {
        bytes memory proof;
        bytes32 root = digest;
        for (uint256 steps = 1 + _pick(3); steps > 0; --steps) {
            bytes32 sibling = _salt();
            root = root < sibling ? keccak256(abi.encode(root, sibling)) : keccak256(abi.encode(sibling, root));
            proof = bytes.concat(proof, sibling);
        }
        (uint8 v, bytes32 r, bytes32 s) = CHEATS.sign(keyOf[account], market.jobsDigest(root));
        counts = _chance(90);
        if (!counts) proof[_pick(proof.length)] ^= 0x01;
        signature = bytes.concat(_compact(v, r, s), proof);
    }

    function _bidSignature(Bid memory offer) internal returns (bytes memory signature, bool counts) {
        if (_chance(10)) return ("", isPlaced[keccak256(abi.encode(offer))]);
        if (_chance(5)) return (_sign(offer.provider, _salt()), _counts(offer.provider) && keyOf[offer.provider] == 0);
        return (_sign(offer.provider, market.bidDigest(offer)), _counts(offer.provider));
    }

    // ---------------------------------------------------------------- calls

    /// @dev What one of the job's parties would do in its state.
    function _nextOf(JobId id) internal returns (Act memory act) {
        Terms storage terms = known[id].terms;
        JobState state = known[id].state;
        uint256 die = _pick(100);
        act.id = id;
        act.exact = _chance(95);
        act.signed = _chance(90);
        act.caller = _anyone();
        if (state == JobState.Awarded) {
            act.verb = die < 60 ? Verb.Deliver : die < 75 ? Verb.DeliverAndClose : Verb.Reclaim;
            if (act.verb != Verb.Reclaim) act.caller = terms.provider.account();
        } else if (state == JobState.Delivered) {
            act.verb = die < 20 ? Verb.Approve : die < 40 ? Verb.Settle : die < 80 ? Verb.Dispute : Verb.Rule;
            if (act.verb == Verb.Approve || act.verb == Verb.Dispute && die < 70) act.caller = terms.submitter.account();
            else if (act.verb != Verb.Settle) act.caller = terms.arbiter.account();
        } else {
            act.verb = state != JobState.Disputed ? Verb.Settle : die < 60 ? Verb.Rule : Verb.Lapse;
            if (act.verb == Verb.Rule) act.caller = terms.arbiter.account();
        }
        if (act.caller == address(0)) act.caller = stranger;
        act.result = _chance(3) ? bytes32(0) : _result(act.caller == goodProvider || _chance(50));
        act.shareBps = _chance(50) ? _pick(2) * 10_000 : _pick(10_001);
        if (act.caller == goodArbiter) act.shareBps = _isGood(terms.result) ? 10_000 : 0;
    }

    function _encode(Act memory act) internal returns (bytes memory data) {
        Terms memory terms = known[act.id].terms;
        if (act.verb == Verb.Deliver) data = abi.encodeCall(IJobMarket.deliver, (act.id, terms, act.result));
        else if (act.verb == Verb.DeliverAndClose) data = _encodeApproved(act, terms);
        else if (act.verb == Verb.Approve) data = abi.encodeCall(IJobMarket.approve, (act.id, terms));
        else if (act.verb == Verb.Settle) data = abi.encodeCall(IJobMarket.settle, (act.id, terms));
        else if (act.verb == Verb.Dispute) data = abi.encodeCall(IJobMarket.dispute, (act.id, terms));
        else if (act.verb == Verb.Rule) data = abi.encodeCall(IJobMarket.rule, (act.id, terms, act.shareBps));
        else if (act.verb == Verb.Lapse) data = abi.encodeCall(IJobMarket.lapse, (act.id, terms));
        else data = abi.encodeCall(IJobMarket.reclaim, (act.id, terms));
        // One bit of the terms, which follow the selector and the id.
        if (!act.exact) data[36 + _pick(224)] ^= bytes1(uint8(1 << _pick(8)));
    }

    function _encodeApproved(Act memory act, Terms memory terms) private returns (bytes memory) {
        bytes32 digest = market.approvalDigest(act.id, terms.provider.account(), act.result);
        bytes memory approval = _sign(terms.submitter.account(), act.signed ? digest : _salt());
        return abi.encodeCall(IJobMarket.deliverAndClose, (act.id, terms, act.result, approval));
    }

    /// @dev Any verb of the market, as `caller` would make it. None that fails says anything before it fails, for forge records what
    /// was said in calls that were undone: so no withdrawal of a token that may refuse it.
    function _anyCall(address caller) internal returns (bytes memory) {
        uint256 verb = _pick(14);
        if (verb == 0) return _anyDeposit(caller);
        if (verb == 1) return abi.encodeCall(IJobMarket.withdraw, (address(coin), actors[_pick(KEYS)], 1 + _pick(ASKED)));
        if (verb == 2) return abi.encodeCall(IJobMarket.cancelAll, (_anyToken()));
        if (verb == 3) return abi.encodeCall(IJobMarket.cancel, (_oldJob()));
        if (verb < 6) return _anyAward();
        if (verb == 6) return _anyPost(caller);
        if (verb == 7) return _anyBid(caller);
        if (verb == 8) return _nested(caller);
        if (live.length == 0) return abi.encodeCall(IJobMarket.burned, (_anyToken()));
        Act memory act = _nextOf(live[_pick(live.length)]);
        act.caller = caller;
        if (caller == goodProvider) act.result = _result(true);
        if (!_befits(act)) act.verb = Verb.Settle;
        return _encode(act);
    }

    function _anyDeposit(address caller) private returns (bytes memory) {
        uint256 amount = 1 + _pick(ASKED);
        _mint(address(coin), caller, amount);
        if (_chance(50)) return abi.encodeCall(IJobMarket.deposit, (address(coin), _anyone(), amount));
        return abi.encodeCall(IJobMarket.depositWithPermit, (address(coin), amount, _now(), 28, _salt(), _salt()));
    }

    function _anyAward() private returns (bytes memory) {
        Job memory job = _chance(60) ? _newJob() : _oldJob();
        _remember(job);
        Bid memory offer = _bidFor(job);
        (bytes memory jobSignature,) = _jobSignature(job);
        (bytes memory bidSignature,) = _bidSignature(offer);
        return abi.encodeCall(IJobMarket.award, (job, jobSignature, offer, bidSignature));
    }

    function _anyPost(address caller) private returns (bytes memory) {
        Job memory job = _newJob();
        if (_chance(80)) (job.submitter, job.epoch) = (caller, epoch[job.token][caller]);
        _remember(job);
        return abi.encodeCall(IJobMarket.post, (job));
    }

    function _anyBid(address caller) private returns (bytes memory) {
        Bid memory offer = _bidFor(_oldJob());
        if (_chance(80)) offer.provider = caller;
        bids.push(offer);
        return abi.encodeCall(IJobMarket.bid, (offer));
    }

    function _nested(address caller) private returns (bytes memory) {
        bytes[] memory calls = new bytes[](1);
        calls[0] = _anyCall(caller);
        return abi.encodeCall(IJobMarket.batch, (calls, false));
    }
}
