"""A verifier's tickets: buys them, and takes them back in two steps."""

from eth_account.signers.local import LocalAccount

from deai.clock import utc
from deai.job import Address, Timestamp
from deai.panel import Panel, Ticket


def stake(panel: Panel, account: LocalAccount, number: int, count: int) -> str:
    """Buys tickets in a resource class; what there is now, in a sentence."""
    panel.stake(account, number, count)
    mine = panel.tickets(number, Address(account.address))
    return f"class {number}: {len(mine)} tickets, {panel.rules.seat_stake} of {panel.rules.stake_token} each"


def unstake(panel: Panel, account: LocalAccount, number: int, count: int | None, now: Timestamp) -> list[str]:
    """Takes back up to `count` tickets of a class, all unless given: those that may leave are paid back, the others say that they will.
    Said again later, it goes on. What was done, in sentences.
    """
    mine = panel.tickets(number, Address(account.address))
    told = []
    ready = _first([slot for slot, each in mine.items() if _may_go(each, now)], count)
    if ready:
        panel.unstake(account, number, ready)
        told.append(f"class {number}: {len(ready)} tickets paid back")
    waiting = [slot for slot, each in mine.items() if each.leave_at and slot not in ready]
    left = None if count is None else max(0, count - len(ready) - len(waiting))
    leaving = _first([slot for slot, each in mine.items() if not each.leave_at], left)
    if leaving:
        panel.leave(account, number, leaving)
        mine = panel.tickets(number, Address(account.address))
    for slot in sorted([*waiting, *leaving]):
        ticket = mine[slot]
        judges = ", once its case is over" if ticket.seated else ""
        told.append(f"class {number}: ticket {slot} may be paid back from {utc(ticket.leave_at)} on{judges}")
    return told or [f"class {number}: no tickets"]


def _may_go(ticket: Ticket, now: Timestamp) -> bool:
    return 0 < ticket.leave_at <= now and not ticket.seated


def _first(slots: list[int], count: int | None) -> list[int]:
    return slots if count is None else slots[:count]
