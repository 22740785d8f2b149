"""The linear model: the fits are those of scikit-learn, and C is where cross-validation peaks."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from benchmarks.studies import linear


@pytest.mark.parametrize(("pixels", "axes"), [(100, 28), (12, 12)])  # centred, and two rows are the same
def test_rotation_changes_no_ridge_fit(pixels: int, axes: int) -> None:
    random = np.random.default_rng(0)
    train_pixels = random.normal(3, 2, (30, pixels)).astype(np.float32)
    train_pixels[5] = train_pixels[4]  # duplicate rows occur
    unseen, target = random.normal(3, 2, (7, pixels)).astype(np.float32), random.normal(size=(30, 2))
    features, coordinates = linear.rotate(train_pixels.copy(), unseen.copy())
    assert features.shape == (30, axes)
    np.testing.assert_allclose(np.triu(features.T @ features, 1), 0, atol=1e-4)
    scaler = StandardScaler().fit(train_pixels)
    expected = Ridge(alpha=pixels / 4.0).fit(scaler.transform(train_pixels), target).predict(scaler.transform(unseen))
    found = Ridge(alpha=1 / 4.0).fit(features, target).predict(coordinates)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("peak", "expected"), [(1, 10.0), (-1, 0.1), (3, 1000.0), (99, 10.0 ** linear.EXPONENTS[-1])])
def test_c_is_where_cross_validation_peaks(peak: int, expected: float) -> None:
    videos = np.repeat(np.arange(6), 2)

    def fit(known: np.ndarray, target: np.ndarray, test: np.ndarray, c: float) -> np.ndarray:
        assert not set(known[:, 0]) & set(test[:, 0])  # no video on both sides
        return np.full(len(test), np.log10(c))

    found = linear.choose_c(
        fit, lambda predicted, target: -abs(predicted[0] - peak), videos[:, None], np.arange(12), videos
    )
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("c", [0.01, 10.0, 1000.0])
def test_the_fit_is_that_of_scikit_learn(classes: int, c: float) -> None:
    random = np.random.default_rng(classes)
    known = (random.normal(size=(90, 40)) * np.geomspace(1, 1e-3, 40)).astype(np.float32)
    target = random.choice(classes, 90, p=np.arange(1, classes + 1) / sum(range(1, classes + 1)))
    expected = LogisticRegression(C=c, class_weight="balanced", max_iter=100_000, tol=1e-8)
    expected.fit(known.astype(float), target)
    found = linear.logistic(known, target, known, c, classes=classes)
    np.testing.assert_allclose(found, expected.predict_proba(known), atol=2e-3)


def test_logistic_ignores_how_rare_a_class_is_and_never_predicts_an_absent_one() -> None:
    train_pixels = np.array([[0.0]] * 30 + [[1.0]] * 2, dtype=np.float32)
    target = np.array([2] * 30 + [5] * 2)
    probabilities = linear.logistic(train_pixels, target, np.array([[0.0], [0.5], [1.0]]), 10.0, classes=8)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert set(probabilities.nonzero()[1]) == {2, 5}
    np.testing.assert_allclose(probabilities[1, [2, 5]], 0.5, atol=1e-3)
    only = linear.logistic(train_pixels[:3], target[:3], train_pixels, 1.0, classes=8)
    assert (only.argmax(axis=1) == 2).all()
