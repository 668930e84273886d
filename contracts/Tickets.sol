// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IPanel, Ticket} from "./IPanel.sol";
import {JobId} from "./IJobMarket.sol";

/// @dev A resource class: its tickets in their slots, and the cases that wait for a draw, from `head` on.
struct Class {
    Ticket[] slots;
    uint32[] empty; // slots that were left; some may be taken again, or gone, since
    JobId[] queue;
    uint64 head;
    uint32 tickets;
    uint32 free; // of them, those that back no case
}

/// @title The tickets of one resource class
/// @dev Whether a draw may take a ticket is settled when the draw is requested, but for what the draws before it take: a ticket that comes,
/// or is let go, is of that block; one that leaves within a draw's time says so `unstakeSeconds` before; and no ticket moves meanwhile.
library Tickets {
    using SafeCast for uint256;

    /// @notice A new ticket, in an empty slot if one is known.
    function add(Class storage class, address account) internal returns (uint32 slot) {
        slot = _vacancy(class).toUint32();
        class.slots[slot] = Ticket(account, uint256(block.number).toUint40(), 0, false);
        ++class.tickets;
        ++class.free;
    }

    function remove(Class storage class, uint32 slot) internal {
        if (!class.slots[slot].seated) --class.free;
        --class.tickets;
        delete class.slots[slot];
        class.empty.push(slot);
    }

    function take(Class storage class, uint32 slot) internal {
        class.slots[slot].seated = true;
        --class.free;
    }

    function letGo(Class storage class, uint32 slot) internal {
        class.slots[slot].seated = false;
        class.slots[slot].since = uint256(block.number).toUint40();
        ++class.free;
    }

    /// @notice Whether a draw requested in the block `requested`, to be made before `drawBy`, may take the ticket.
    function isDrawable(Ticket memory ticket, uint256 requested, uint256 drawBy) internal pure returns (bool) {
        return ticket.account != address(0) && !ticket.seated && ticket.since < requested
            && (ticket.leaveAt == 0 || ticket.leaveAt > drawBy);
    }

    /// @notice Makes up to `count` steps: drops an empty last slot, or moves the last ticket to an empty slot.
    function compact(Class storage class, uint16 resourceClass, uint256 count) internal {
        for (; count != 0 && class.slots.length != 0; --count) {
            uint32 last = (class.slots.length - 1).toUint32();
            Ticket memory ticket = class.slots[last];
            uint32 to = last;
            if (ticket.account != address(0)) {
                if (ticket.seated || class.empty.length == 0) return;
                to = class.empty[class.empty.length - 1];
                class.empty.pop();
                if (to >= last || class.slots[to].account != address(0)) continue;
                class.slots[to] = ticket;
            }
            class.slots.pop();

            emit IPanel.Moved(resourceClass, last, to);
        }
    }

    function draws(Class storage class) internal view returns (uint256) {
        return class.queue.length - class.head;
    }

    /// @dev Looks at one entry only, so that many that are out of date cannot make it dear.
    function _vacancy(Class storage class) private returns (uint256 slot) {
        uint256 known = class.empty.length;
        if (known != 0) {
            slot = class.empty[known - 1];
            class.empty.pop();
            if (slot < class.slots.length && class.slots[slot].account == address(0)) return slot;
        }
        slot = class.slots.length;
        class.slots.push();
    }
}
