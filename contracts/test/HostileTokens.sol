// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A token that anyone may mint. The tokens below do not add permits: each costs the compiler seconds.
abstract contract MintedToken is ERC20 {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}

/// @notice Keeps one percent of every transfer.
contract FeeToken is ERC20("Fee", "FEE"), MintedToken {
    function _update(address from, address to, uint256 value) internal override {
        uint256 fee = from == address(0) || to == address(0) ? 0 : value / 100;
        super._update(from, to, value - fee);
        if (fee != 0) super._update(from, address(0), fee);
    }
}

/// @notice Answers false instead of reverting, and moves nothing.
contract FalseToken is ERC20("False", "FALSE"), MintedToken {
    function transfer(address, uint256) public pure override returns (bool) {
        return false;
    }

    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return false;
    }
}

/// @notice Moves tokens but answers nothing, as some old tokens do; has no permit.
contract NoReturnToken {
    mapping(address account => uint256) public balanceOf;
    mapping(address account => mapping(address spender => uint256)) public allowance;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function approve(address spender, uint256 amount) external {
        allowance[msg.sender][spender] = amount;
    }

    function transfer(address to, uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external {
        allowance[from][msg.sender] -= amount;
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @notice Refuses transfers from and to the accounts on its list.
contract BlockingToken is ERC20("Blocking", "BLOCK"), MintedToken {
    error Blocked(address account);

    mapping(address account => bool) public blocked;

    function setBlocked(address account, bool value) external {
        blocked[account] = value;
    }

    function _update(address from, address to, uint256 value) internal override {
        if (blocked[from]) revert Blocked(from);
        if (blocked[to]) revert Blocked(to);
        super._update(from, to, value);
    }
}

/// @notice Takes a tenth of an account's balance without a transfer.
contract RebasingToken is ERC20("Rebasing", "REBASE"), MintedToken {
    function rebase(address account) external {
        _burn(account, balanceOf(account) / 10);
    }
}

/// @notice Makes one prepared call in the middle of its next transfer, and remembers how it went.
contract ReenteringToken is ERC20("Reentering", "REENTER"), MintedToken {
    address public target;
    bytes public payload;
    bool public called;
    bool public succeeded;
    bytes public answer;

    function prepare(address target_, bytes calldata payload_) external {
        (target, payload, called, succeeded, answer) = (target_, payload_, false, false, "");
    }

    function run(address target_, bytes calldata payload_) external {
        (bool done, bytes memory returned) = target_.call(payload_);
        require(done, string(returned));
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (payload.length == 0 || called || from == address(0)) return;
        called = true;
        (succeeded, answer) = target.call(payload);
    }
}

/// @notice Refuses every transfer with a reason of 64 kilobytes.
contract ChattyToken is ERC20("Chatty", "CHAT") {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        assembly {
            revert(0, 65536)
        }
    }
}

/// @notice Sends its coins to an address that did not ask for them.
contract Forcer {
    constructor(address payable to) payable {
        selfdestruct(to);
    }
}
