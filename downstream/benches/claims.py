"""What the benchmark promises, and the rows it reports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

# What a bench finds for one claim: the figure, None where it could not be measured, and what it rests on.
Finding = tuple[float | None, dict]


@dataclass(frozen=True)
class Claim:
    """A ratio of ours to a peer's, and the value it should reach.

    Attributes:
        work: what both do.
        peer: who else does it.
        device: 'cpu' or 'cuda'.
        target: '<= 0.70 x time' or '>= 1.05 x images/s': the sense, the value, and what is compared.
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
    """One measurement, which serves one or several claims.

    Attributes:
        claims: what it serves.
        run: takes the seconds it may spend on rounds after its first, and finds one figure per claim.
        share: its part of the budget, against the others'.
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
