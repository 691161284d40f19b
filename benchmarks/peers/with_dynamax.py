"""dynamax: JAX, in 64 bits, every function jitted once and warm when the clock runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from dynamax.linear_gaussian_ssm import LinearGaussianSSM, lgssm_filter, lgssm_smoother

from benchmarks.cases import Case
from benchmarks.sides import Outcome

jax.config.update("jax_enable_x64", True)


def prepared(case: Case, kind: str, variant: str) -> Callable[[], Outcome]:
    """Return the callable for one kind of work."""
    start = case.start
    model = LinearGaussianSSM(start.state_dim, start.obs_dim, has_dynamics_bias=False, has_emissions_bias=False)
    params, props = model.initialize(
        initial_mean=jnp.asarray(start.m),
        initial_covariance=jnp.asarray(start.P),
        dynamics_weights=jnp.asarray(start.F),
        dynamics_covariance=jnp.asarray(start.Q),
        emission_weights=jnp.asarray(start.H),
        emission_covariance=jnp.asarray(start.R),
    )
    if kind == "em":
        return _em(case, model, params, props)
    values = case.values[0]
    work = jax.jit(
        {
            "log_likelihood": lambda p, y: lgssm_filter(p, y).marginal_loglik,
            "filter": lgssm_filter,
            "smooth": lgssm_smoother,
        }[kind]
    )

    def run() -> Outcome:
        result = jax.block_until_ready(work(params, values))
        return Outcome(float(result if kind == "log_likelihood" else result.marginal_loglik))

    return run


def _em(case: Case, model: LinearGaussianSSM, params: Any, props: Any) -> Callable[[], Outcome]:
    def iterate(p: Any, y: Any) -> Any:
        statistics, log_likelihoods = jax.vmap(lambda one: model.e_step(p, one))(y[None])
        return model.m_step(p, props, statistics, None)[0], log_likelihoods.sum()

    n_series = len(case.values)
    if n_series == 1:
        many, work, values = params, jax.jit(iterate), case.values[0]
    else:
        many = jax.tree_util.tree_map(lambda leaf: jnp.broadcast_to(leaf, (n_series, *leaf.shape)), params)
        work, values = jax.jit(jax.vmap(iterate)), case.values

    def run() -> Outcome:
        _, log_likelihoods = jax.block_until_ready(work(many, values))
        return Outcome(float(log_likelihoods.sum()))

    return run
