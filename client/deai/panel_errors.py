"""What a panel refuses: one class per Solidity error of IPanel that the escrow does not have as well."""

from typing import ClassVar

from deai.errors import WrongRequest


class PanelRefusal(WrongRequest):
    """The panel refused. Subclasses have the Solidity error's name; `args` are its arguments, in order."""

    hint: ClassVar[str] = "the panel refused"

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self.args))}): {self.hint}"


class WrongPhase(PanelRefusal):
    """The verb is not allowed in the case's phase."""

    hint = "the case's phase does not allow this"


class NoDispute(PanelRefusal):
    """The job is not Disputed, or these are not its terms, or the panel is not its arbiter."""

    hint = "there is no dispute of this job that this panel could judge"


class TooLate(PanelRefusal):
    """Less time is left to rule than a case of this job may take."""

    hint = "too little time is left to rule"


class TooFewTickets(PanelRefusal):
    """The class has fewer free tickets than the case has seats. It may be opened later."""

    hint = "too few verifiers of this class are free"


class NothingToDraw(PanelRefusal):
    """No draw is requested in this class."""

    hint = "no draw is requested in this class"


class DrawAhead(PanelRefusal):
    """The randomness of the next draw is not there yet."""

    hint = "the block that decides the draw is ahead"


class PhaseAhead(PanelRefusal):
    """The phase goes on."""

    hint = "the phase goes on"


class PhaseOver(PanelRefusal):
    """The phase is over."""

    hint = "the phase is over"


class VoteAhead(PanelRefusal):
    """No vote is taken yet."""

    hint = "votes are taken later"


class NoSeat(PanelRefusal):
    """The account holds no seat of this case that may still do this."""

    hint = "the account has no seat that may do this"


class WrongSeal(PanelRefusal):
    """This is not what the account sealed."""

    hint = "this is not the vote that was sealed"


class NotYours(PanelRefusal):
    """The ticket is another account's."""

    hint = "the ticket is another account's"


class LeavingAlready(PanelRefusal):
    """The ticket asked to leave already."""

    hint = "the ticket asked to leave already"


class LeaveAhead(PanelRefusal):
    """The ticket may be unstaked later; or never, as it did not ask to leave."""

    hint = "the ticket may not be unstaked yet"


class Seated(PanelRefusal):
    """The ticket backs a case."""

    hint = "the ticket backs a case"


class DrawsPending(PanelRefusal):
    """Draws are requested in this class, which its slots must not move under."""

    hint = "draws are requested in this class"
