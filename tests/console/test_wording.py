"""What the library says, in the words of the command line."""

import warnings

import pytest

import kalman_em as kem
from kalman_em.console.wording import in_options, one_line_warnings, unconverged


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "data: series 'b' has no observed value; leave it out",
            "a.csv: series 'b' has no observed value; leave it out",
        ),
        ("data: index; a long frame needs series= (a column)", "a.csv: index; a long frame needs --series (a column)"),
        ("inputs: expected shape (2, 1), got None", "--inputs: expected shape (2, 1), got None"),
        ("start: the E-step failed there", "start: the E-step failed there"),
    ],
)
def test_arguments_become_options(said: str, shown: str) -> None:
    assert in_options(said, "a.csv") == shown


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("max_iterations", "EM did not converge: max_iterations after 1 iteration (odd). Raise --max-iterations."),
        (
            "interrupted",
            "EM did not converge: interrupted after 1 iteration (odd). The best parameters so far are kept.",
        ),
        ("non_finite", "EM did not converge: non_finite after 1 iteration (odd). Look for extreme values"),
    ],
)
def test_a_run_that_did_not_converge_is_one_line(reason: str, shown: str) -> None:
    em = kem.EMResult(
        params=None,
        log_likelihoods=[-2.0, -1.0],
        parameter_changes=[1.0],
        best_iteration=1,
        stop_reason=kem.StopReason(reason),
        detail="odd",
    )
    assert unconverged(em).startswith(shown)  # type: ignore[arg-type]


def test_warnings_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    usual = warnings.showwarning
    with one_line_warnings():
        warnings.simplefilter("always")
        warnings.warn("an\noverflow", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == "kalman-em: warning: an overflow\n"
    assert warnings.showwarning is usual
