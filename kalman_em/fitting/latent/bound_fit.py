"""What fits have whose objective is a lower bound on the evidence: the bound, and no criteria made for likelihoods."""

from __future__ import annotations

from dataclasses import dataclass

from kalman_em.errors import InputError
from kalman_em.fitting.latent.latent_fit import LatentFit


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class BoundFit(LatentFit):
    """A fit by variational EM: `log_likelihood` is the evidence lower bound, which pays for every parameter already.

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.VariationalMixture(2), kem.datasets.load("nile")["flow"])
    >>> isinstance(fitted, BoundFit), fitted.bound == fitted.log_likelihood
    (True, True)
    """

    @property
    def bound(self) -> float:
        """The evidence lower bound, exact, with every constant."""
        return self.log_likelihood

    @property
    def aic(self) -> float:
        """None: see `bound`."""
        raise no_criterion("AIC")

    @property
    def aicc(self) -> float:
        """None: see `bound`."""
        raise no_criterion("AICc")

    @property
    def bic(self) -> float:
        """None: see `bound`."""
        raise no_criterion("BIC")

    @property
    def _objective(self) -> str:
        return "lower bound"


def no_criterion(name: str) -> InputError:
    """Return the error for who asks for the criterion called `name`.

    Examples
    --------
    >>> str(no_criterion("BIC"))
    'BIC: a Bayesian model has none; compare bounds, which pay for every parameter already'
    """
    return InputError(f"{name}: a Bayesian model has none; compare bounds, which pay for every parameter already")
