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
    uint32 free; // of them, those that back no case and did not ask to leave
    uint32 reserved; // seats that the requested draws are to fill
    mapping(uint32 slot => uint256 blockNumber) freed; // when a case last let go of the slot's ticket, or slashed it
}

/// @dev What a draw finds in a slot.
enum Find {
    Nobody, // look at the next slot
    Busy, // the seat stays empty: else the share of the free tickets grew with every other that a case holds
    Free
}

/// @title The tickets of one resource class
/// @dev What a draw finds in a slot is settled in the block of its request, but for what the draws before it take: a ticket that comes is
/// of its block; one let go or slashed later stays busy for this draw; one that leaves within a draw's time says so `unstakeSeconds` before;
/// and no ticket moves meanwhile.
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
        Ticket memory ticket = class.slots[slot];
        if (!ticket.seated && ticket.leaveAt == 0) --class.free;
        class.freed[slot] = ticket.seated ? block.number : 0;
        --class.tickets;
        delete class.slots[slot];
        class.empty.push(slot);
    }

    function leave(Class storage class, uint32 slot, uint40 leaveAt) internal {
        if (!class.slots[slot].seated) --class.free;
        class.slots[slot].leaveAt = leaveAt;
    }

    function take(Class storage class, uint32 slot) internal {
        class.slots[slot].seated = true;
        if (class.slots[slot].leaveAt == 0) --class.free;
    }

    function letGo(Class storage class, uint32 slot) internal {
        class.slots[slot].seated = false;
        class.freed[slot] = block.number;
        if (class.slots[slot].leaveAt == 0) ++class.free;
    }

    /// @notice What a draw requested in the block `requested`, to be made before `drawBy`, finds in the slot.
    function find(Class storage class, uint32 slot, uint256 requested, uint256 drawBy)
        internal
        view
        returns (Find found, address account)
    {
        Ticket memory ticket = class.slots[slot];
        if (ticket.leaveAt != 0 && ticket.leaveAt <= drawBy) return (Find.Nobody, address(0));
        if (ticket.seated || class.freed[slot] > requested) {
            // Who staked in the slot since is not who was busy.
            return (Find.Busy, ticket.since < requested ? ticket.account : address(0));
        }
        if (ticket.account == address(0) || ticket.since >= requested) return (Find.Nobody, address(0));
        return (Find.Free, ticket.account);
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

    /// @notice How many free tickets no requested draw counts on.
    function unreserved(Class storage class) internal view returns (uint256) {
        return class.free > class.reserved ? class.free - class.reserved : 0;
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
