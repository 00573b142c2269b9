"""What a trial is worth by its scores: the fast formulas against matrices, and what an estimate must do."""

import numpy as np
import pandas as pd
import pytest

from results.stats.repeated import Scores, fit, worth


def frame(scores: dict[tuple[str, str | None], list[float]]) -> pd.DataFrame:
    """(trial, GAN) -> its scores."""
    rows = [(trial, gan, score) for (trial, gan), own in scores.items() for score in own]
    return pd.DataFrame(rows, columns=["trial_id", "gan_key", "validation_auroc"])


SCORES = {
    ("a1", "A"): [0.9, 0.94, 0.91], ("a2", "A"): [0.95], ("b1", "B"): [0.8, 0.86], ("b2", "B"): [0.85],
    ("c1", "C"): [0.93, 0.9, 0.96, 0.9], ("d", None): [0.7], ("e", None): [0.88],
}  # fmt: skip


@pytest.mark.parametrize(("gan", "trial"), [(0.3, 0.4), (0.0, 0.5), (0.5, 0.0), (0.0, 0.0), (0.9, 0.05)])
def test_a_fit_is_the_mixed_model_of_its_matrices(gan, trial):
    """Restricted likelihood and best linear unbiased prediction (Robinson 1991), written out with dense matrices."""
    data = frame(SCORES)
    y, n = data["validation_auroc"].to_numpy(), len(data)
    of_trial = pd.get_dummies(data["trial_id"]).to_numpy(float)  # (N, T), trials in alphabetical order
    of_gan = pd.get_dummies(data["gan_key"].fillna(data["trial_id"])).to_numpy(float)
    covariance = gan * of_gan @ of_gan.T + trial * of_trial @ of_trial.T + (1 - gan - trial) * np.eye(n)
    inverse, one = np.linalg.inv(covariance), np.ones(n)
    information = one @ inverse @ one
    centre = one @ inverse @ y / information
    squares = (y - centre) @ inverse @ (y - centre)
    total = squares / (n - 1)
    likelihood = -(np.linalg.slogdet(covariance)[1] + np.log(information) + (n - 1) * np.log(total)) / 2
    # Of each trial: its GAN's effect and its own; `shared` is their covariance with the scores.
    gan_of_trial = (of_trial.T @ of_gan > 0).astype(float)  # (T, G)
    shared = gan * gan_of_trial @ of_gan.T + trial * of_trial.T
    estimate = centre + shared @ inverse @ (y - centre)
    left = 1 - shared @ inverse @ one
    variance = gan + trial - (shared @ inverse * shared).sum(1) + left**2 / information

    groups = data.groupby("trial_id")["validation_auroc"]
    spread = groups.apply(lambda own: ((own - own.mean()) ** 2).sum())
    known = Scores(*(part.to_numpy() for part in (groups.size(), groups.mean(), spread)), gan_of_trial.argmax(1))
    found = fit(known, gan, trial)
    assert found[0] == pytest.approx(likelihood)
    np.testing.assert_allclose(found[1], estimate)
    np.testing.assert_allclose(found[2], total * variance)


def test_a_lucky_score_is_drawn_to_its_gan_and_repeats_are_believed():
    draws = np.random.default_rng(0)
    others = {(f"t{i}", f"G{i // 3}"): [0.8 + 0.03 * (i // 3) + draws.normal(0, 0.02)] for i in range(12)}
    repeated = {("known", "H"): list(0.9 + draws.normal(0, 0.02, 4)), ("lucky", "I"): [0.97], ("twin", "I"): [0.82]}
    found = worth(frame(others | repeated))
    assert found.loc["lucky", "estimate"] < 0.95, "one high score is partly luck"
    assert abs(found.loc["known", "estimate"] - np.mean(repeated["known", "H"])) < 0.02
    assert found.loc["known", "standard_error"] < found.loc["lucky", "standard_error"]


def test_estimates_are_nearer_to_the_truth_than_scores_and_know_their_error():
    """150 simulated searches: mean squared error, and how often an estimate lies within two of its errors."""
    draws, errors, raw, within = np.random.default_rng(1), [], [], []
    for _ in range(150):
        shares = draws.dirichlet([1, 1, 1])
        gans, own = np.sqrt(shares[0]) * draws.normal(size=6), np.sqrt(shares[1]) * draws.normal(size=24)
        true = np.repeat(gans, 4) + own
        num = np.where(draws.random(24) < 0.2, 4, 1)
        scores = {(f"{i:02d}", f"{i // 4}"): list(true[i] + np.sqrt(shares[2]) * draws.normal(size=num[i]))
                  for i in range(24)}  # fmt: skip
        found = worth(frame(scores)).sort_index()
        means = np.array([np.mean(own) for own in scores.values()])
        errors.append(np.mean((found["estimate"] - true) ** 2))
        raw.append(np.mean((means - true) ** 2))
        within.append(np.mean(np.abs(found["estimate"] - true) < 2 * found["standard_error"]))
    assert np.mean(errors) < 0.75 * np.mean(raw)
    assert 0.9 < np.mean(within) < 0.99


@pytest.mark.parametrize("scores", [{}, {("a", "A"): [0.9]}, {("a", "A"): [0.9], ("b", "B"): [0.9]}])
def test_scores_that_do_not_differ_are_their_own_estimate(scores):
    found = worth(frame(scores))
    assert found["estimate"].eq(0.9).all() and found["standard_error"].isna().all()
