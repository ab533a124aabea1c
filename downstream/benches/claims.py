"""The claims that the benchmark checks, and the rows that it reports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# The result of a bench for one claim: the figure (None if it could not be measured), and the details behind it.
Finding = tuple[float | None, dict]


@dataclass(frozen=True)
class Claim:
    """A ratio of our figure to a peer's, and the value it should reach.

    Attributes:
        work: what both do.
        peer: the software we compare with.
        device: 'cpu' or 'cuda'.
        target: '<= 0.70 x time' or '>= 1.05 x images/s': the direction, the value, and what is compared.
    """

    work: str
    peer: str
    device: str
    target: str

    def is_met(self, measured: float) -> bool:
        """Compare a figure with the target."""
        sense, value = self.target.split()[:2]
        return measured <= float(value) if sense == '<=' else measured >= float(value)

    def row(self, finding: Finding) -> dict:
        """The row of the report: {work, peer, device, measured, target, met, detail}."""
        measured, detail = finding
        return {
            'work': self.work,
            'peer': self.peer,
            'device': self.device,
            'measured': None if measured is None else round(measured, 4),
            'target': self.target,
            'met': None if measured is None else self.is_met(measured),
            'detail': detail,
        }


@dataclass(frozen=True)
class Bench:
    """One measurement, which checks one or several claims.

    Attributes:
        claims: the claims that it checks.
        run: takes the seconds it may spend on rounds after its first, and returns one finding per claim.
        share: its part of the budget, relative to the other benches.
        needs: modules that have to be installed for the peer.
    """

    claims: tuple[Claim, ...]
    run: Callable[[float], Sequence[Finding]]
    share: float = 1.0
    needs: tuple[str, ...] = field(default=())

    @property
    def device(self) -> str:
        """'cpu' or 'cuda'."""
        return self.claims[0].device
