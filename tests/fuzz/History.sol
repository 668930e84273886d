// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Bid, IJobMarket, Job, JobId, JobState, Outcome, Terms} from "../../contracts/IJobMarket.sol";
import {Payout} from "../../contracts/Settlement.sol";
import {CHEATS} from "./Cheats.sol";
import {Drafts} from "./Drafts.sol";
import {Rebuilt} from "./Rebuilt.sol";
import {Act, Verb} from "./Rules.sol";
import {Mood, Wallet} from "./Wallet.sol";

/// @notice One history of a market. Forge calls the functions under "steps" in any order; each throws the dice anew, does something,
/// and compares what happened with what the rules say: whether it succeeds, who gets what, and that a refusal changes nothing.
contract History is Drafts {
    uint256 private constant CALL_GAS = 20_000_000; // more than any call needs, so that who eats gas does not eat the test's

    // What is being done now.
    address private _caller;
    bool private _mayRule;
    bool private _foretold;
    JobId private _closing;
    Outcome private _dueOutcome;
    Payout private _duePayout;

    // How often each thing happened: a history that never gets somewhere proves nothing there.
    mapping(JobState state => uint256) public reached;
    mapping(Outcome outcome => uint256) public ended;
    mapping(Verb verb => uint256) public worked;
    mapping(Verb verb => uint256) public refused;
    mapping(Mood mood => uint256) public asked;
    mapping(string what => uint256) public happened;

    constructor(IJobMarket market_) Rebuilt(market_) {
        CHEATS.warp(1_000_000);
    }

    /// @dev Law 1 after every step.
    modifier step(uint256 seed) {
        _throw(seed);
        _;
        _checkHeld();
    }

    // ---------------------------------------------------------------- steps

    function deposit(uint256 seed) external step(seed) {
        _prepareReentry();
        address from = _anyone();
        address token = _anyToken();
        address account = _chance(50) ? from : _anyone();
        uint256 amount = _chance(5) ? 0 : _pick(ASKED) + 200;
        bool sent = token == NATIVE || _chance(3);
        _mint(token, from, amount);
        if (sent && token != NATIVE) CHEATS.deal(from, from.balance + amount);
        if (_chance(5)) account = address(0);

        bool expected = amount != 0 && account != address(0) && sent == (token == NATIVE) && token != address(lying);
        if (token == address(blocking) && (blocking.blocked(from) || blocking.blocked(address(market)))) expected = false;
        bytes memory data = abi.encodeCall(IJobMarket.deposit, (token, account, amount));
        _expect(from, sent ? amount : 0, data, expected, "deposit");
        _checkReentry();
    }

    /// @dev Of a token without permits, or with a permit that is spent or forged: the allowance alone decides.
    function depositWithPermit(uint256 seed) external step(seed) {
        _prepareReentry();
        address from = _anyone();
        address token = _anyToken();
        uint256 amount = 200 + _pick(ASKED);
        if (token != NATIVE) _mint(token, from, amount);
        bytes memory data = abi.encodeCall(IJobMarket.depositWithPermit, (token, amount, _now() + 1, 27, _salt(), _salt()));

        bool expected = token != NATIVE && token != address(lying);
        if (token == address(blocking) && (blocking.blocked(from) || blocking.blocked(address(market)))) expected = false;
        _expect(from, 0, data, expected, "depositWithPermit");
        _checkReentry();
    }

    function withdraw(uint256 seed) external step(seed) {
        address from = _anyone();
        address token = _anyToken();
        address to = _chance(5) ? address(market) : _anyone();
        _prepareReentry();
        uint256 has = balance[token][from];
        uint256 amount = _chance(80) ? has / (1 + _pick(1000)) : _pick(2 * has + 2);

        bool expected = amount != 0 && amount <= has && to != address(market) && _canTake(token, to, amount);
        _expect(from, 0, abi.encodeCall(IJobMarket.withdraw, (token, to, amount)), expected, "withdraw");
        _checkReentry();
    }

    function post(uint256 seed) external step(seed) {
        Job memory job = _chance(80) ? _newJob() : _oldJob();
        if (_chance(10)) _spoil(job);
        address caller = _chance(90) ? job.submitter : _anyone();
        JobId id = _remember(job);

        _expect(caller, 0, abi.encodeCall(IJobMarket.post, (job)), _postable(id, job, caller), "post");
    }

    function bid(uint256 seed) external step(seed) {
        Job memory job = _oldJob();
        Bid memory offer = _bidFor(job);
        address caller = _chance(90) ? offer.provider : _anyone();

        _expect(caller, 0, abi.encodeCall(IJobMarket.bid, (offer)), _placeable(offer, caller), "bid");
        bids.push(offer);
    }

    function cancel(uint256 seed) external step(seed) {
        if (_chance(60)) return;
        Job memory job = _oldJob();
        address caller = _chance(70) ? job.submitter : _anyone();
        JobState state = known[market.jobId(job)].state;

        bool expected = caller == job.submitter && (state == JobState.Unknown || state == JobState.Open);
        _expect(caller, 0, abi.encodeCall(IJobMarket.cancel, (job)), expected, "cancel");
    }

    function cancelAll(uint256 seed) external step(seed) {
        if (_chance(60)) return;
        _expect(_anyone(), 0, abi.encodeCall(IJobMarket.cancelAll, (_anyToken())), true, "cancelAll");
    }

    /// @dev A new job, signed alone or in a tree, and a bid for it.
    function start(uint256 seed) external step(seed) {
        Job memory job = _newJob();
        if (_chance(10)) _spoil(job);
        _remember(job);
        _award(job, _bidFor(job));
    }

    /// @dev A job that was seen before, in whatever state, with a new bid or an old one of any job.
    function award(uint256 seed) external step(seed) {
        Job memory job = _oldJob();
        _award(job, bids.length != 0 && _chance(30) ? bids[_pick(bids.length)] : _bidFor(job));
    }

    /// @dev What somebody in the job would do next.
    function proceed(uint256 seed) external step(seed) {
        if (live.length == 0) return;
        _try(_nextOf(live[_pick(live.length)]));
    }

    /// @dev Any verb on any job by anybody, with terms that may be forged.
    function intrude(uint256 seed) external step(seed) {
        if (jobs.length == 0) return;
        Act memory act = _nextOf(market.jobId(_oldJob()));
        act.verb = Verb(_pick(uint256(type(Verb).max) + 1));
        if (_chance(70)) act.caller = _anyone();
        act.exact = _chance(70);
        act.signed = _chance(50);
        act.shareBps = _pick(10_010);
        _try(act);
    }

    function batch(uint256 seed) external step(seed) {
        address caller = _chance(70) && live.length != 0 ? _nextOf(live[_pick(live.length)]).caller : _anyone();
        bool all = _chance(30);
        bytes[] memory calls = new bytes[](_pick(6));
        for (uint256 i = 0; i < calls.length; ++i) calls[i] = _anyCall(caller);
        bool broken = calls.length != 0 && _chance(5);
        if (broken) calls[0] = hex"deadbeef";
        _mayRule = true;
        uint256 before = skipped;

        (bool ok, bytes memory answer) = _call(caller, 0, abi.encodeCall(IJobMarket.batch, (calls, all)));
        require(ok ? !broken : all || broken, "a batch that may skip goes on, if each call gives its reason");
        if (ok) {
            bool[] memory done = abi.decode(answer, (bool[]));
            uint256 failed = 0;
            for (uint256 i = 0; i < done.length; ++i) if (!done[i]) ++failed;
            // A batch in the batch may report more.
            require(skipped - before >= failed && (!all || failed == 0), "each skipped call is reported");
            if (failed != 0) ++happened["skipped"];
        } else {
            ++happened["all or nothing"];
        }
        _mayRule = false;
    }

    /// @dev Time goes on. Before it passes a deadline, the honest do what they should.
    function pass(uint256 seed) external step(seed) {
        _passTo(_now() + 1 + _pick(_chance(30) ? 600 : 60));
    }

    /// @dev To the very second at which a job's deadline comes, or the one before.
    function passToDeadline(uint256 seed) external step(seed) {
        if (live.length == 0) return;
        uint256 deadline = known[live[_pick(live.length)]].terms.times.deadline();
        if (_chance(30)) --deadline;
        if (deadline > _now()) _passTo(deadline);
    }

    /// @dev What the world outside does to a market: moods, blocklists, coins nobody asked for, tokens that shrink.
    function shake(uint256 seed) external step(seed) {
        uint256 what = _pick(8);
        if (what < 3) (_chance(50) ? signing : serving).become(Mood(_pick(uint256(type(Mood).max) + 1)));
        else if (what < 5) blocking.setBlocked(_chance(90) ? _anyone() : address(market), _chance(50));
        else if (what < 6) rebasing.rebase(address(market));
        else _force(_chance(50) ? NATIVE : address(coin), 1 + _pick(1000));
    }

    // ---------------------------------------------------------------- the laws

    function _checkHeld() private view {
        for (uint256 i = 0; i < tokens.length; ++i) {
            address token = tokens[i];
            if (token == address(rebasing)) continue;
            uint256 owed = total[token] + locked[token] + burned[token];
            require(_held(token) == owed + given[token], "law 1: held is balances, locked and burned");
        }
    }

    /// @notice Law 6: what the events told is what the contract stores.
    function checkRebuilt() public view {
        for (uint256 i = 0; i < tokens.length; ++i) {
            require(market.burned(tokens[i]) == burned[tokens[i]], "law 6: burned");
            for (uint256 j = 0; j < actors.length; ++j) _checkAccount(tokens[i], actors[j]);
        }
        for (uint256 i = 0; i < ids.length; ++i) _checkJob(ids[i]);
        for (uint256 i = 0; i < placed.length; ++i) require(market.isPlaced(placed[i]), "law 6: a placed bid");
    }

    /// @notice Law 3: with nobody's help but time's, a stranger ends every job; then everybody takes what is his.
    function end() external {
        _calm();
        while (live.length != 0) _endOne(live[live.length - 1]);
        for (uint256 i = 0; i < jobs.length; ++i) {
            if (known[market.jobId(jobs[i])].state != JobState.Open) continue;
            _expect(jobs[i].submitter, 0, abi.encodeCall(IJobMarket.cancel, (jobs[i])), true, "law 3: cancel");
        }
        checkRebuilt();
        for (uint256 i = 0; i < tokens.length; ++i) {
            require(locked[tokens[i]] == 0, "law 3: nothing stays locked");
            if (tokens[i] != address(rebasing)) _emptyBooks(tokens[i]);
        }
    }

    function _checkAccount(address token, address account) private view {
        require(market.balanceOf(token, account) == balance[token][account], "law 6: a balance");
        require(market.epochOf(token, account) == epoch[token][account], "law 6: an epoch");
    }

    function _checkJob(JobId id) private view {
        (JobState state, Outcome outcome) = market.stateOf(id);
        require(state == known[id].state && outcome == known[id].outcome, "law 6: a job's state and outcome");
        bool alive = state == JobState.Awarded || state == JobState.Delivered || state == JobState.Disputed;
        require(market.isCommitted(id, known[id].terms) == alive, "law 6: a live job's terms");
    }

    function _endOne(JobId id) private {
        Act memory act = Act(Verb.Reclaim, stranger, id, true, false, 0, 0);
        _passTo(known[id].terms.times.deadline());
        // The honest may have moved it on, or closed it, meanwhile.
        JobState state = known[id].state;
        if (state == JobState.Closed || known[id].terms.times.deadline() > _now()) return;
        act.verb = state == JobState.Awarded ? Verb.Reclaim : state == JobState.Delivered ? Verb.Settle : Verb.Lapse;
        require(_try(act), "law 3: a stranger ends a job that is overdue");
    }

    function _emptyBooks(address token) private {
        for (uint256 i = 0; i < actors.length; ++i) {
            uint256 amount = balance[token][actors[i]];
            address to = address(uint160(0x1000000 + i));
            if (amount == 0 || token == address(blocking) && blocking.blocked(address(market))) continue;
            _expect(actors[i], 0, abi.encodeCall(IJobMarket.withdraw, (token, to, amount)), true, "everybody gets what is his");
        }
        if (total[token] == 0) require(_held(token) == burned[token] + given[token], "law 1: what stays was burned");
    }

    // ---------------------------------------------------------------- calls

    /// @dev As `caller`; what a refused call seemed to say is not taken in.
    function _call(address caller, uint256 value, bytes memory data) private returns (bool ok, bytes memory answer) {
        _caller = caller;
        CHEATS.prank(caller);
        (ok, answer) = address(market).call{value: value, gas: CALL_GAS}(data);
        if (ok) _fold();
        else CHEATS.getRecordedLogs();
    }

    function _expect(address caller, uint256 value, bytes memory data, bool expected, string memory what) private {
        (bool ok,) = _call(caller, value, data);
        require(ok == expected, string.concat(what, expected ? ": refused, but allowed" : ": went through, but must not"));
        if (ok) ++happened[what];
    }

    /// @dev True if it succeeded, which it must if it is allowed, and only then.
    function _try(Act memory act) private returns (bool ok) {
        if (!_befits(act)) return false;
        address submitter = known[act.id].terms.submitter.account();
        if (keyOf[submitter] == 0) act.signed = _counts(submitter);
        bool expected = _allowed(act);
        if (expected && _closes(act)) {
            (_dueOutcome, _duePayout) = _due(act);
            (_closing, _foretold) = (act.id, true);
        }
        _mayRule = act.verb == Verb.Rule;
        (ok,) = _call(act.caller, 0, _encode(act));
        _mayRule = false;
        require(ok == expected, ok ? "a verb went through that must not" : "a verb was refused that is allowed");
        require(!_foretold, "a verb that closes the job did not");
        ++(ok ? worked : refused)[act.verb];
    }

    function _closes(Act memory act) private view returns (bool) {
        if (act.verb == Verb.Deliver) return known[act.id].terms.times.challengeSeconds() == 0;
        return act.verb != Verb.Dispute;
    }

    function _closed(JobId id, JobState from, Payout memory payout) internal override {
        ++ended[known[id].outcome];
        _checkBounds(id, from, payout, _mayRule && _caller == known[id].terms.arbiter.account());
        _checkHonest(id, payout);
        if (!_foretold) return;
        require(JobId.unwrap(id) == JobId.unwrap(_closing), "another job closed");
        require(known[id].outcome == _dueOutcome, "the outcome is not the one due");
        require(keccak256(abi.encode(payout)) == keccak256(abi.encode(_duePayout)), "the payout is not the one due");
        _foretold = false;
    }

    function _moved(JobId id, JobState to) internal override {
        ++reached[to];
        if (to == JobState.Awarded) live.push(id);
        if (to != JobState.Closed) return;
        for (uint256 i = 0; i < live.length; ++i) {
            if (JobId.unwrap(live[i]) != JobId.unwrap(id)) continue;
            live[i] = live[live.length - 1];
            live.pop();
            return;
        }
    }

    // ---------------------------------------------------------------- time and honesty

    function _passTo(uint256 moment) private {
        for (uint256 i = live.length; i > 0; --i) {
            // A delivery may call for a dispute, a dispute for a ruling; a closed job is replaced by one that was looked at already.
            JobId id = live[i - 1];
            for (uint256 done = 0; done < 3 && known[id].terms.times.deadline() <= moment; ++done) _doDuty(id);
        }
        if (moment > _now()) CHEATS.warp(moment);
    }

    function _doDuty(JobId id) private {
        Terms memory terms = known[id].terms;
        JobState state = known[id].state;
        if (terms.times.deadline() <= _now()) return;
        Act memory act = Act(Verb.Deliver, terms.provider.account(), id, true, false, _result(true), 0);
        if (state == JobState.Awarded && act.caller == goodProvider) _try(act);
        act.caller = terms.arbiter.account();
        if (act.caller != goodArbiter) return;
        bool good = _isGood(terms.result);
        (act.verb, act.shareBps) = (Verb.Rule, good ? 10_000 : 0);
        if (state == JobState.Disputed) {
            _try(act);
        } else if (state == JobState.Delivered && !good) {
            if (_chance(50)) (act.verb, act.caller) = (Verb.Dispute, terms.submitter.account());
            _try(act);
        }
        if (known[id].state == JobState.Delivered && !_isGood(known[id].terms.result) && act.verb == Verb.Dispute) {
            (act.verb, act.caller) = (Verb.Rule, goodArbiter);
            _try(act);
        }
    }

    // ---------------------------------------------------------------- awards and calls back

    function _award(Job memory job, Bid memory offer) private {
        JobId id = market.jobId(job);
        bids.push(offer);
        address caller = job.matcher != address(0) && _chance(50) ? job.matcher : _anyone();
        (bytes memory jobSignature, bool jobSigned) = _jobSignature(job);
        (bytes memory bidSignature, bool bidSigned) = _bidSignature(offer);
        JobState state = known[id].state;

        bool expected = state == JobState.Open || state == JobState.Unknown && jobSigned;
        expected = expected && bidSigned && _awardable(id, job, offer, caller);
        bytes memory data = abi.encodeCall(IJobMarket.award, (job, jobSignature, offer, bidSignature));
        _expect(caller, 0, data, expected, "award");
        _countMood(job.submitter);
        _countMood(offer.provider);
    }

    function _countMood(address account) private {
        if (account == address(signing) || account == address(serving)) ++asked[Wallet(payable(account)).mood()];
    }

    /// @dev What a token or a wallet will do in the middle of the next deposit or withdrawal.
    function _prepareReentry() private {
        _calm();
        if (_chance(60)) reentering.prepare(address(market), _anyCall(address(reentering)));
        if (_chance(60)) signing.prepare(address(market), _anyCall(address(signing)));
        if (_chance(60)) serving.prepare(address(market), _anyCall(address(serving)));
    }

    function _calm() private {
        reentering.prepare(address(market), "");
        signing.prepare(address(market), "");
        serving.prepare(address(market), "");
    }

    function _checkReentry() private {
        _checkReentry(reentering.called(), reentering.succeeded(), reentering.payload());
        _checkReentry(signing.called(), signing.succeeded(), signing.payload());
        _checkReentry(serving.called(), serving.succeeded(), serving.payload());
    }

    function _checkReentry(bool called, bool succeeded, bytes memory payload) private {
        if (!called) return;
        ++happened[succeeded ? "called back" : "refused to call back"];
        bytes4 selector = bytes4(payload);
        bool guarded = selector == IJobMarket.deposit.selector || selector == IJobMarket.withdraw.selector
            || selector == IJobMarket.depositWithPermit.selector;
        require(!guarded || !succeeded, "money moved in the middle of a movement of money");
    }

    /// @dev Whether the token, or the receiver of the native coin, takes part in a withdrawal.
    function _canTake(address token, address to, uint256 amount) private view returns (bool) {
        if (token == address(blocking)) return !blocking.blocked(to) && !blocking.blocked(address(market));
        if (token == address(rebasing)) return _held(token) >= amount;
        if (token != NATIVE || to.code.length == 0) return true;
        if (to == address(reentering)) return false;
        Mood mood = Wallet(payable(to)).mood();
        return mood != Mood.Reverting && mood != Mood.GasEating;
    }
}
