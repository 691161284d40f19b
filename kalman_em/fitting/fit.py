"""`fit`: a model and data in, a `Fit` out."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np

from kalman_em.em.result import EMIteration
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping
from kalman_em.em.variants import Variant
from kalman_em.errors import InputError
from kalman_em.fitting.learning import check_run, generator, learn
from kalman_em.fitting.result import Fit
from kalman_em.inference.numerics import AUTO
from kalman_em.latent.model import LatentModel
from kalman_em.leaves import leaf
from kalman_em.models.model import Model

if TYPE_CHECKING:
    from kalman_em.fitting.latent.factor_fit import FactorFit
    from kalman_em.fitting.latent.hmm_fit import HMMFit
    from kalman_em.fitting.latent.latent_fit import LatentFit
    from kalman_em.fitting.latent.markov_autoregression_fit import MarkovAutoregressionFit
    from kalman_em.fitting.latent.mixture_fit import MixtureFit
    from kalman_em.fitting.latent.switching_fit import SwitchingFit
    from kalman_em.fitting.latent.topic_fit import TopicFit
    from kalman_em.fitting.latent.variational_fit import VariationalMixtureFit
    from kalman_em.fitting.latent.variational_system_fit import VariationalLinearGaussianFit
    from kalman_em.latent.factor_analysis import FactorAnalysis
    from kalman_em.latent.factor_mixture import MixtureOfFactorAnalysers
    from kalman_em.latent.gaussian_hmm import GaussianHMM
    from kalman_em.latent.markov_autoregression import MarkovAutoregression
    from kalman_em.latent.mixture import GaussianMixture
    from kalman_em.latent.switching_linear_gaussian import SwitchingLinearGaussian
    from kalman_em.latent.topic_model import TopicModel
    from kalman_em.latent.variational_linear_gaussian import VariationalLinearGaussian
    from kalman_em.latent.variational_mixture import VariationalMixture


class Options(TypedDict, total=False):
    """The keyword arguments of `fit`, for type checkers."""

    start: Any
    stopping: Stopping
    method: str | Variant
    numerics: str
    n_starts: int
    trial_iterations: int | None
    seed: int | np.random.Generator | None
    inputs: Any
    time: Hashable | None
    series: Hashable | None
    values: Any
    n_threads: int | None
    progress: bool
    callback: Callable[[EMIteration[Any]], object] | None
    record_bound: bool


# A new kind of model brings its kind of result here and in `kalman_em.fitting.latent.kinds`.
@overload
def fit(model: GaussianMixture, data: Any, **options: Unpack[Options]) -> MixtureFit: ...
@overload
def fit(model: MixtureOfFactorAnalysers, data: Any, **options: Unpack[Options]) -> MixtureFit: ...
@overload
def fit(model: FactorAnalysis, data: Any, **options: Unpack[Options]) -> FactorFit: ...
@overload
def fit(model: TopicModel, data: Any, **options: Unpack[Options]) -> TopicFit: ...
@overload
def fit(model: GaussianHMM, data: Any, **options: Unpack[Options]) -> HMMFit: ...
@overload
def fit(model: MarkovAutoregression, data: Any, **options: Unpack[Options]) -> MarkovAutoregressionFit: ...
@overload
def fit(model: VariationalMixture, data: Any, **options: Unpack[Options]) -> VariationalMixtureFit: ...
@overload
def fit(model: VariationalLinearGaussian, data: Any, **options: Unpack[Options]) -> VariationalLinearGaussianFit: ...
@overload
def fit(model: SwitchingLinearGaussian, data: Any, **options: Unpack[Options]) -> SwitchingFit: ...
@overload
def fit(model: LatentModel, data: Any, **options: Unpack[Options]) -> LatentFit: ...
@overload
def fit(model: Model, data: Any, **options: Unpack[Options]) -> Fit: ...
def fit(
    model: Model | LatentModel,
    data: Any,
    *,
    start: Any = None,
    stopping: Stopping = DEFAULT_STOPPING,
    method: str | Variant = "em",
    numerics: str = AUTO,
    n_starts: int = 1,
    trial_iterations: int | None = None,
    seed: int | np.random.Generator | None = None,
    inputs: Any = None,
    time: Hashable | None = None,
    series: Hashable | None = None,
    values: Any = None,
    n_threads: int | None = 1,
    progress: bool = False,
    callback: Callable[[EMIteration[Any]], object] | None = None,
    record_bound: bool = False,
) -> Fit | LatentFit:
    """Learn the parameters of `model` from `data` by expectation-maximisation.

    Parameters
    ----------
    model : LocalLevel, LinearGaussian, GaussianMixture, ...
        What may vary, and how.
    data : Series, DataFrame, array_like of shape (T,) or (T, p), Observations or Panel
        Rows in time order (in any order for a mixture); NaN is missing.
        A long DataFrame with `series` is a panel, whose series share parameters. `TopicModel` takes counts, sparse too.
    start : mapping, optional
        Starting values for some or all of the model's parameters, by name; the others come from the data.
    stopping : Stopping
        When to stop.
    method : {"em", "plain", "accelerated", "hard", "annealed", "incremental", "stochastic"} or a variant of EM
        For state spaces "em" is EM, which every ten iterations from the 500th on, and where it would end, tries leaps
        (extrapolation, variances at 0, quasi-Newton steps), taken only if the likelihood is not lower; "plain" is EM
        alone; "hard" takes the smoothed means for the states (see `Hard`); "incremental" and "stochastic" take
        the series of a panel in parts (see `Incremental` and `Stochastic`).
        For other models the two are the same, and "accelerated" leaps along two steps of EM where that climbs (see
        `accelerated`): few iterations, each of three, where EM creeps. What variants such as ``Annealed(...)``, `Hard`,
        `Incremental` and `Stochastic` do and promise stands with each.
    numerics : {"auto", "standard", "square_root"}
        Whether the E-step carries covariances or their triangular factors, which keep twice the digits at several times
        the cost. "auto" begins with covariances and goes over to factors, for the rest of the run, when an E-step needs
        them; `Fit.numerics` and the summary say so. See `kalman_filter`.
    n_starts, seed : int, and int or numpy.random.Generator, optional
        Number of starts: the first from the data (or `start`), the others scattered around it. The best wins.
    trial_iterations : int, optional
        With several starts: try each with so many iterations first, and take only the best to the end. None takes all.
    inputs : array_like of shape (T,) or (T, k), Series, DataFrame or column names, optional
        Known inputs, one row a row of data.
    time, series, values : column names, optional
        Of a long DataFrame: the column of row labels, that of the series a row belongs to, and the observed ones.
    n_threads : int or None
        Number of threads for the series of a long panel of a state space (from 50,000 rows on); None for as many as
        there are processors. The result does not depend on it, to the last bit.
    progress : bool
        Show a progress bar on stderr.
    callback : callable, optional
        Called with an `EMIteration` after every iteration.
    record_bound : bool
        Keep the lower bound that each M-step raised, as `fit.em.bound_history`; models that are no state space always
        do, as it costs them nothing.

    Returns
    -------
    Fit, MixtureFit, ...
        The kind of result that belongs to the model.

    Raises
    ------
    InputError
        If an argument cannot be used; the message says which, what was expected and what came.
    NumericalError
        If the likelihood cannot be computed at the starting values.

    References
    ----------
    Shumway and Stoffer, An approach to time series smoothing and forecasting using the EM algorithm, JTSA 3 (1982).

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> fitted.em.stop_reason.is_converged, round(fitted.log_likelihood, 3)
    (True, -633.465)
    """
    if isinstance(model, LatentModel):
        if isinstance(model, type):
            raise InputError(f"model: expected a model such as LocalLevel(), got the class {model.__name__}; call it")
        check_run(stopping, n_starts, trial_iterations)
        if numerics != AUTO:
            raise InputError(f"numerics: expected 'auto' for {type(model).__name__}, got {numerics!r}")
        if n_threads != 1:
            raise InputError(f"n_threads: expected 1 for {type(model).__name__}, got {n_threads!r}")
        return leaf("fitting.latent.learning").learn_latent(  # type: ignore[no-any-return]
            model,
            data,
            start=start,
            stopping=stopping,
            method=method,
            n_starts=n_starts,
            trial_iterations=trial_iterations,
            rng=generator(seed),
            inputs=inputs,
            time=time,
            series=series,
            values=values,
            progress=progress,
            callback=callback,
        )
    learnt = learn(
        model,
        data,
        start=start,
        stopping=stopping,
        method=method,
        numerics=numerics,
        n_starts=n_starts,
        trial_iterations=trial_iterations,
        seed=seed,
        inputs=inputs,
        time=time,
        series=series,
        values=values,
        n_threads=n_threads,
        progress=progress,
        callback=callback,
        record_bound=record_bound,
    )
    return Fit(
        model=model,
        specification=learnt.specification,
        panel=learnt.panel,
        em=learnt.em,
        numerics=learnt.numerics,
    )
