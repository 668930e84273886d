"""withdraw: the only way in which money leaves."""

from world import NOBODY, ONE, World, reverts


def test_a_withdrawal_pays_out_and_emits(world: World) -> None:
    held = world.held()
    sent = world.send(world.submitter, "withdraw", world.token, world.stranger, 3 * ONE)
    assert sent.only("Withdrawn") == {
        "token": world.token,
        "account": world.submitter,
        "to": world.stranger,
        "amount": 3 * ONE,
    }
    assert world.balance(world.submitter) == 997 * ONE
    assert world.held() == held - 3 * ONE
    assert world.dai.functions.balanceOf(world.stranger).call() == 3 * ONE


def test_the_whole_balance_can_leave_but_not_one_more(world: World) -> None:
    with reverts("InsufficientBalance", world.token, world.submitter, 1000 * ONE, 1000 * ONE + 1):
        world.send(world.submitter, "withdraw", world.token, world.submitter, 1000 * ONE + 1)
    world.send(world.submitter, "withdraw", world.token, world.submitter, 1000 * ONE)
    assert world.balance(world.submitter) == 0


def test_an_amount_beyond_any_word_reverts(world: World) -> None:
    with reverts("InsufficientBalance", world.token, world.submitter, 1000 * ONE, 2**256 - 1):
        world.send(world.submitter, "withdraw", world.token, world.submitter, 2**256 - 1)


def test_a_withdrawal_to_the_zero_address_reverts(world: World) -> None:
    with reverts("Malformed", "to"):
        world.send(world.submitter, "withdraw", world.token, NOBODY, 1)


def test_a_withdrawal_to_the_escrow_itself_reverts(world: World) -> None:
    with reverts("Malformed", "to"):
        world.send(world.submitter, "withdraw", world.token, world.market.address, 1)


def test_a_withdrawal_of_nothing_reverts(world: World) -> None:
    with reverts("Malformed", "amount"):
        world.send(world.submitter, "withdraw", world.token, world.submitter, 0)


def test_locked_money_cannot_be_withdrawn(world: World) -> None:
    _, terms = world.awarded()
    free = 1000 * ONE - terms.price
    with reverts("InsufficientBalance", world.token, world.submitter, free, free + 1):
        world.send(world.submitter, "withdraw", world.token, world.submitter, free + 1)
