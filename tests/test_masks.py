import numpy as np
import pytest

from tfvn.physics import masks


def lines(mask):
    return np.flatnonzero(mask)


@pytest.mark.parametrize("make", [masks.constant, masks.equispaced, masks.random])
@pytest.mark.parametrize("width", [1, 2, 5, 20, 33, 368])
def test_a_mask_is_a_float32_vector_of_zeros_and_ones(make, width):
    mask = make(width)
    assert mask.shape == (width,) and mask.dtype == np.float32
    assert set(np.unique(mask)) <= {0, 1} and mask.any()


def test_the_papers_mask_samples_55_of_368_lines():
    assert masks.constant(368).sum() == 55


def test_the_papers_mask_has_28_centre_lines_around_the_zero_frequency():
    mask = masks.constant(368)
    assert mask[170:198].all() and not mask[169] and not mask[198]
    assert 170 <= 184 < 198


def test_the_papers_mask_holds_the_first_and_the_last_line():
    mask = masks.constant(368)
    assert mask[0] and mask[-1]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_papers_outer_lines_are_equispaced(side):
    # Up to the centre block, whose edge is the next line of the series; whole lines round by less
    # than one.
    sampled = lines(masks.constant(368))
    series = sampled[sampled <= 170] if side == "left" else sampled[sampled >= 197]
    steps = np.diff(series)
    assert steps.max() - steps.min() <= 1


def test_the_papers_outer_lines_are_split_evenly():
    sampled = lines(masks.constant(368))
    assert abs((sampled < 170).sum() - (sampled > 197).sum()) <= 1


@pytest.mark.parametrize("width", [64, 96, 177, 320, 369, 512])
def test_other_widths_keep_the_sampled_share(width):
    assert masks.constant(width).mean() == pytest.approx(0.15, abs=0.5 / width + 1e-6)


@pytest.mark.parametrize("width", [64, 177, 320])
def test_other_widths_keep_the_share_of_the_centre(width):
    mask, size = masks.constant(width), round(28 * width / 368)
    start = width // 2 - size // 2
    assert mask[start : start + size].all() and not mask[start - 1] and not mask[start + size]


@pytest.mark.parametrize("width", [8, 9, 31, 368])
@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("center_lines", [0, 1, 2, None])
def test_the_constant_mask_samples_exactly_the_promised_number(width, fraction, center_lines):
    assert masks.constant(width, fraction, center_lines).sum() == round(fraction * width)


def test_the_equispaced_mask_equals_that_of_the_pretrained_case(shared_data):
    expected = np.load(shared_data("vn_case.npz"))["mask"]
    np.testing.assert_array_equal(masks.equispaced(96, 4, 16 / 96), expected)


def test_the_offset_moves_the_equispaced_lines():
    np.testing.assert_array_equal(lines(masks.equispaced(12, 4, 0, offset=3)), [3, 7, 11])


def test_an_acceleration_may_be_fractional():
    assert masks.equispaced(100, 2.5, 0).sum() == 40


@pytest.mark.parametrize(
    "width, acceleration, center", [(320, 4, 0.08), (321, 8, 0.04), (64, 3.5, 0.1), (20, 1, 0)]
)
def test_the_random_mask_samples_exactly_the_promised_number(width, acceleration, center):
    assert masks.random(width, acceleration, center).sum() == round(width / acceleration)


def test_the_random_mask_keeps_the_centre():
    mask = masks.random(320, 8, 0.1, seed=5)
    assert mask[144:176].all()


@pytest.mark.parametrize(
    "width, acceleration, fraction", [(372, 4, 0.5), (20, 10, 0.5), (368, 16, 0.08), (64, 1.5, 1)]
)
def test_a_centre_of_more_lines_than_all_is_refused_with_both_numbers(
    width, acceleration, fraction
):
    total, center = round(width / acceleration), round(fraction * width)
    words = (
        f"center_fraction={fraction}, width={width}, which is {center} lines in the centre and"
        f" {total} in all. Make"
    )
    with pytest.raises(ValueError, match=words):
        masks.random(width, acceleration, fraction)


def test_a_centre_of_all_sampled_lines_is_possible():
    np.testing.assert_array_equal(lines(masks.random(20, 4, 0.25)), np.arange(8, 13))


def test_the_papers_mask_is_refused_where_its_centre_has_more_lines_than_all():
    with pytest.raises(
        ValueError, match="fraction=0.05, width=368, which is 28 lines in the centre and 18 in all"
    ):
        masks.constant(368, 0.05)


@pytest.mark.parametrize("width", [16, 33, 96, 368])
@pytest.mark.parametrize("acceleration", [2, 4, 8])
@pytest.mark.parametrize("fraction", [0, 0.04, 0.1, 0.3])
def test_a_random_mask_samples_what_was_asked_for_or_is_refused(width, acceleration, fraction):
    try:
        mask = masks.random(width, acceleration, fraction)
    except ValueError:
        assert round(fraction * width) > max(1, round(width / acceleration))
    else:
        assert mask.sum() == max(1, round(width / acceleration))


@pytest.mark.parametrize(
    "values",
    [("20",), (None,), (20, "4"), (20, None), (20, True), (20, 4, "0.1"), (20, float("inf"))],
)
@pytest.mark.parametrize("make", [masks.equispaced, masks.random])
def test_what_is_no_number_is_refused_with_its_name(make, values):
    name = ("width", "acceleration", "center_fraction")[len(values) - 1]
    with pytest.raises(ValueError, match=f"Received: {name}="):
        make(*values)


def test_the_random_mask_depends_on_its_seed_alone():
    np.testing.assert_array_equal(masks.random(320, seed=1), masks.random(320, seed=1))
    assert (masks.random(320, seed=1) != masks.random(320, seed=2)).any()


def test_the_random_mask_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy(), np.random.get_state()[2]
    masks.random(320, seed=1)
    assert (np.random.get_state()[1] == before[0]).all() and np.random.get_state()[2] == before[1]


@pytest.mark.parametrize("make", [masks.constant, masks.equispaced, masks.random])
@pytest.mark.parametrize("width", [0, -3, 2.5])
def test_a_width_that_is_no_number_of_lines_is_refused(make, width):
    with pytest.raises(ValueError, match=f"Received: width={width}"):
        make(width)


@pytest.mark.parametrize("make", [masks.equispaced, masks.random])
@pytest.mark.parametrize("acceleration", [0.5, 0, -4, float("nan")])
def test_an_acceleration_below_one_is_refused(make, acceleration):
    with pytest.raises(ValueError, match=f"Received: acceleration={acceleration}"):
        make(20, acceleration)


@pytest.mark.parametrize("make", [masks.equispaced, masks.random])
@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_centre_outside_the_lines_is_refused(make, fraction):
    with pytest.raises(ValueError, match=f"Received: center_fraction={fraction}"):
        make(20, 4, fraction)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, float("nan")])
def test_a_sampled_share_outside_the_lines_is_refused(fraction):
    with pytest.raises(ValueError, match=f"Received: fraction={fraction}"):
        masks.constant(20, fraction)


@pytest.mark.parametrize("center_lines", [-1, 4])
def test_more_centre_lines_than_lines_are_refused(center_lines):
    with pytest.raises(ValueError, match=f"Received: center_lines={center_lines}"):
        masks.constant(20, center_lines=center_lines)


VOLUME = "file1000000.h5"


def draws(name=VOLUME):
    """The generator of a volume's mask after the choice of an acceleration."""
    generator = np.random.RandomState(tuple(map(ord, name)))
    generator.randint(1)
    return generator


def centre(width, number):
    first = (width - number + 1) // 2
    return set(range(first, first + number))


@pytest.mark.parametrize("width", [368, 371])
def test_fastmris_random_lines_have_one_probability_outside_the_centre(width):
    number = round(0.08 * width)
    probability = (width / 4 - number) / (width - number)
    drawn = set(np.flatnonzero(draws().uniform(size=width) < probability).tolist())
    assert set(lines(masks.fastmri(width, name=VOLUME))) == drawn | centre(width, number)


@pytest.mark.parametrize("width", [368, 371])
def test_fastmris_equispaced_lines_begin_at_an_offset_that_is_drawn(width):
    expected = set(range(draws().randint(0, 4), width, 4)) | centre(width, round(0.08 * width))
    assert set(lines(masks.fastmri(width, "equispaced", name=VOLUME))) == expected


def test_fastmris_equispaced_fraction_samples_the_share_that_was_asked_for():
    numbers = []
    for number in range(20):
        mask = masks.fastmri(368, "equispaced-fraction", name=f"file{number}.h5")
        numbers.append(mask.sum())
        outer = lines(mask)[lines(mask) < 160]
        assert set(np.diff(outer)) <= {5, 6}  # 339 lines, of which 63 are to be sampled: 5.4
    assert np.mean(numbers) == pytest.approx(92, abs=1)


@pytest.mark.parametrize("width", [368, 371])
def test_fastmris_magic_lines_fill_the_gaps_of_their_mirror(width):
    for number in range(6):
        mask = masks.fastmri(width, "magic", (4,), (0.0,), f"file{number}.h5")
        distances = lines(mask) - width // 2
        assert set(np.diff(distances[distances >= 0])) == {4}
        assert set(np.diff(distances[distances < 0])) == {4}
        # Lines at equal distances on both sides are conjugates: none is measured twice, and with
        # the mirrored ones every second line is known.
        assert not set(distances) & set(-distances)
        known = np.sort(np.concatenate([distances, -distances]))
        assert set(np.diff(known[known > 0])) == {2}


@pytest.mark.parametrize("kind", masks.FASTMRI)
def test_a_mask_of_fastmri_belongs_to_its_file(kind):
    first, again = (masks.fastmri(368, kind, name=VOLUME) for _ in range(2))
    assert first.dtype == np.float32 and (first == again).all()
    others = [masks.fastmri(368, kind, name=f"file{number}.h5") for number in range(8)]
    assert len(np.unique(others, axis=0)) > 1
    assert masks.fastmri(368, kind).any()


def test_fastmri_draws_one_of_several_accelerations():
    sums = set()
    for number in range(8):
        mask = masks.fastmri(400, "equispaced", (4, 8), (0.08, 0.04), f"file{number}.h5")
        sums.add(int(mask.sum()))
    assert max(sums) < 130 and min(sums) < 65 and max(sums) > 115


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(kind="spiral"), "Received: kind='spiral'"),
        (dict(accelerations=(4, 8)), "lists of one length. Received: accelerations=\\[4, 8\\]"),
        (dict(accelerations=(8,), center_fractions=(0.2,)), "80 lines in the centre and 50 in all"),
        (dict(kind="magic", accelerations=(4.5,)), "Received: acceleration=4.5"),
    ],
)
def test_masks_that_fastmri_does_not_make_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        masks.fastmri(400, **values)
