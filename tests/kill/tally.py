"""What the suite counts: every life of a job that met a kill, and what became of it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One job whose life met one kill."""

    victim: str
    point: str
    """Where the job stood."""
    awards: int
    deliveries: int
    """On chain, both."""
    refused: bool
    """The machine said no before it was bound: there is nothing to deliver."""
    needless_runs: int
    """Containers that were started although a run before them was good."""
    spoilt: bool
    """What was delivered is not what the job's script makes."""

    @property
    def lost(self) -> bool:
        """No delivery, though one was promised."""
        return self.deliveries == 0 and not self.refused

    @property
    def doubled(self) -> bool:
        """More than one award or delivery, or a run that nobody needed."""
        return self.awards > 1 or self.deliveries > 1 or self.needless_runs > 0


@dataclass(slots=True)
class Tally:
    """All lives, and what was left lying about after each kill."""

    lives: list[Life] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    wasted: list[str] = field(default_factory=list)
    """Transactions that nobody needed: reverted, or the same again."""

    def table(self) -> list[str]:
        """The lives by victim, and one line for all."""
        lines = [
            f"{'killed':<28} {'steps':>5} {'delivered':>9} {'refused':>7} {'lost':>4} {'doubled':>7} {'spoilt':>6}"
        ]
        for victim in Counter(life.victim for life in self.lives):
            lives = [life for life in self.lives if life.victim == victim]
            lines.append(
                f"{victim:<28} {len(lives):>5} {sum(life.deliveries > 0 for life in lives):>9}"
                f" {sum(life.refused for life in lives):>7} {sum(life.lost for life in lives):>4}"
                f" {sum(life.doubled for life in lives):>7} {sum(life.spoilt for life in lives):>6}"
            )
        lines.append(
            f"steps tried {len(self.lives)}, deliveries lost {sum(life.lost for life in self.lives)},"
            f" duplicated {sum(life.doubled for life in self.lives)}, spoilt {sum(life.spoilt for life in self.lives)},"
            f" needless transactions {len(self.wasted)}, leaks {len(self.leaks)}"
        )
        return lines
