// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {Bid, IJobMarket, Job, JobId, JobState, Outcome, Terms} from "../../contracts/IJobMarket.sol";
import {TestToken} from "../../contracts/test/TestToken.sol";
import {
    BlockingToken,
    FalseToken,
    FeeToken,
    Forcer,
    MintedToken,
    NoReturnToken,
    ReenteringToken,
    RebasingToken
} from "../../contracts/test/HostileTokens.sol";
import {CHEATS} from "./Cheats.sol";
import {Rebuilt} from "./Rebuilt.sol";
import {Mood, Wallet} from "./Wallet.sol";

/// @notice Everybody who takes part in a history, and the dice.
///
/// The honest ones do what they should, always in time (`History.pass`): `goodSubmitter` approves no bad result, `goodProvider` delivers a
/// good one, `goodArbiter` rules by the truth. `silentArbiter` never rules. All others do anything, and pay anybody.
/// A result is good if its last bit is set; that is the truth an honest arbiter finds.
abstract contract World is Rebuilt {
    uint256 internal constant MUCH = 1e9;
    uint256 internal constant ASKED = 1e6;

    address[] internal actors;
    mapping(address account => uint256) internal keyOf;
    address internal goodSubmitter;
    address internal goodProvider;
    address internal goodArbiter;
    address internal silentArbiter;
    address internal liar;
    address internal twin; // the liar's second account
    address internal sloppy;
    address internal corrupt;
    address internal matcher;
    address internal stranger;
    Wallet internal signing;
    Wallet internal serving;

    address[] internal tokens;
    address internal constant NATIVE = address(0);
    TestToken internal coin;
    FeeToken internal taxed;
    FalseToken internal lying;
    NoReturnToken internal mute;
    BlockingToken internal blocking;
    RebasingToken internal rebasing;
    ReenteringToken internal reentering;
    mapping(address token => uint256) internal given; // sent to the market past its books

    uint256 private _dice;

    constructor() {
        goodSubmitter = _account(1);
        goodProvider = _account(2);
        goodArbiter = _account(3);
        silentArbiter = _account(4);
        liar = _account(5);
        twin = _account(6);
        sloppy = _account(7);
        corrupt = _account(8);
        matcher = _account(9);
        stranger = _account(10);
        signing = new Wallet();
        serving = new Wallet();
        actors.push(address(signing));
        actors.push(address(serving));

        coin = new TestToken("Coin", "COIN");
        taxed = new FeeToken();
        lying = new FalseToken();
        mute = new NoReturnToken();
        blocking = new BlockingToken();
        rebasing = new RebasingToken();
        reentering = new ReenteringToken();
        actors.push(address(reentering));

        tokens.push(NATIVE);
        tokens.push(address(coin));
        tokens.push(address(reentering));
        tokens.push(address(mute));
        tokens.push(address(blocking));
        tokens.push(address(taxed));
        tokens.push(address(rebasing));
        tokens.push(address(lying));
        for (uint256 i = 0; i + 1 < tokens.length; ++i) {
            for (uint256 j = 0; j < actors.length; ++j) _fund(tokens[i], actors[j], MUCH);
        }
        _fold();
    }

    function _account(uint256 key) private returns (address account) {
        account = CHEATS.addr(key);
        keyOf[account] = key;
        actors.push(account);
    }

    function _fund(address token, address account, uint256 amount) private {
        _mint(token, account, amount);
        CHEATS.prank(account);
        market.deposit{value: token == NATIVE ? amount : 0}(token, account, amount);
    }

    /// @dev Gives `account` the tokens, and the market the right to pull them.
    function _mint(address token, address account, uint256 amount) internal {
        if (token == NATIVE) {
            CHEATS.deal(account, account.balance + amount);
        } else {
            bool blocked = token == address(blocking) && blocking.blocked(account);
            if (blocked) blocking.setBlocked(account, false);
            MintedToken(token).mint(account, amount);
            if (blocked) blocking.setBlocked(account, true);
            CHEATS.prank(account);
            // Some tokens answer nothing.
            NoReturnToken(token).approve(address(market), amount);
        }
    }

    /// @dev What the token says the market has.
    function _held(address token) internal view returns (uint256) {
        return token == NATIVE ? address(market).balance : MintedToken(token).balanceOf(address(market));
    }

    function _force(address token, uint256 amount) internal {
        if (token == NATIVE) {
            CHEATS.deal(address(this), amount);
            new Forcer{value: amount}(payable(address(market)));
        } else {
            MintedToken(token).mint(address(market), amount);
        }
        given[token] += amount;
    }

    // ---------------------------------------------------------------- dice

    function _throw(uint256 seed) internal {
        _dice = uint256(keccak256(abi.encode(_dice, seed)));
    }

    /// @dev A number below `sides`.
    function _pick(uint256 sides) internal returns (uint256) {
        _dice = uint256(keccak256(abi.encode(_dice)));
        return _dice % sides;
    }

    function _chance(uint256 percent) internal returns (bool) {
        return _pick(100) < percent;
    }

    function _anyone() internal returns (address) {
        return actors[_pick(actors.length)];
    }

    function _anyToken() internal returns (address) {
        return tokens[_pick(tokens.length)];
    }

    function _salt() internal returns (bytes32) {
        return bytes32(_pick(type(uint256).max));
    }

    function _result(bool good) internal returns (bytes32) {
        return bytes32(_pick(type(uint248).max) << 8 | 2 | (good ? 1 : 0));
    }

    function _isGood(bytes32 result) internal pure returns (bool) {
        return uint256(result) & 1 == 1;
    }

    function _now() internal view returns (uint256) {
        return CHEATS.getBlockTimestamp();
    }

    // ---------------------------------------------------------------- signatures

    /// @dev A signature of `account`, 65 or 64 bytes; a wallet takes any bytes or none, as its mood is.
    function _sign(address account, bytes32 digest) internal returns (bytes memory) {
        if (keyOf[account] == 0) return new bytes(1 + _pick(70));
        (uint8 v, bytes32 r, bytes32 s) = CHEATS.sign(keyOf[account], digest);
        if (_chance(50)) return abi.encodePacked(r, s, v);
        return _compact(v, r, s);
    }

    function _compact(uint8 v, bytes32 r, bytes32 s) internal pure returns (bytes memory) {
        return abi.encodePacked(r, bytes32(uint256(s) | uint256(v - 27) << 255));
    }

    /// @dev Whether what `_sign` gave counts now.
    function _counts(address account) internal view returns (bool) {
        if (keyOf[account] != 0) return true;
        if (account.code.length == 0 || account == address(reentering)) return false;
        Mood mood = Wallet(payable(account)).mood();
        return mood == Mood.Agreeable || mood == Mood.Reentering;
    }
}
