"""The shipped data sets: what is in them, who may share images with whom, and that they never move.

The digits' figures are those of E. Alpaydin and C. Kaynak's data set as scikit-learn documents and
carries it. The other golden hashes fix our own splits and drawings: a change of one of them changes
what every stored measurement was measured on.
"""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refimpl import data
from refimpl.data import catalogue, digits, drawn_tasks, glyph_tasks, glyphs

FOLDER = Path(data.__file__).parent
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")

# sha256 of the bytes of scikit-learn 1.9.1's load_digits(), as uint8.
DIGIT_IMAGES = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
DIGIT_LABELS = "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"
# Images of each digit 0 .. 9, as scikit-learn's copy of the test part has them.
DIGIT_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
# sha256 over the four arrays of every task, in the order of `names`.
TASKS = {
    "digits": "a48b2866c0d0ba6340360d46d7395820ff73c281e9c8e49429a4fc09253b9acd",
    "latin-capitals-clean": "e48224c53a877cbd5649836d4dbac4d75e1be3c6b27315776df920d9f3e4b6e6",
    "latin-capitals-noisy": "bc664dbf0141e72c6dd39ec94e46ce6ca8bfbcec0ad19fb835480c3fe30050f8",
    "latin-capitals-ten": "441fc918c046fbf60e032f6ec164f7f66355caf3f229dfabd272499ea3b42dff",
    "latin-small-clean": "c5a16c00cd06b3942f3aee08f4d5f9abd3003c47ff21e42865e22d0ca6ae9f7b",
    "latin-small-noisy": "d0e20956dcc34ef4b87f301c0e650c147ebb85f7126e235cfd412c1ac152ab28",
    "latin-small-ten": "ed36b68c87fbb85fc176d7eaf0403a58dbb59bb8318883d43d45a3f9ba2c7327",
    "greek-clean": "52a315ca64a033b73b13113c8490bfe58dbbe441fff00d2e60a827c0610fd661",
    "greek-noisy": "26f2b77c859082cbac682f691e9c4f5e6d63f28687e84238cbf3923156157467",
    "greek-ten": "7bf91b15b865ee7c81ee006abee86fc08c92be641a79910682081ff326af16ed",
    "cyrillic-clean": "602718f86e7e7535340de07282ba67f94a9fd5d27f868c977f6cf680feb1b986",
    "cyrillic-noisy": "90e0be5ece159e1b6676e6435b6c86f93743e90ab894c6bd376541c4791e8d53",
    "cyrillic-ten": "4c6d1e84fc4abc612f657ffdbdd7929b6336c3a1b1f05dd81e89bd232486263b",
    "phonetic-clean": "c8d3d35e167ac5070d8965e7017b25fcc5c524bb3be209e921f397a68796e364",
    "phonetic-noisy": "8158962aab44ef9d69fca1802a98a7ac2a943209921297db32f85f9899cb8922",
    "phonetic-ten": "3fb6e51be71512bfec1d9d8f5da5e2a509b356f4e1f87cd5d42cb342ace06cd9",
    "symbols-clean": "925ab4d9f7a5acdcf83c6e08d17a3351842e4393e8b17a9c33e2f0dd9b64c70e",
    "symbols-noisy": "83f5533cf48d1c510774374e402679c3ee57a3054fe23da5f4c8364eea513b10",
    "symbols-ten": "7a21ce20f58708a0a12e461d103a614d6738e74df3b30bd3bf846e3d53deafda",
}

every_task = pytest.mark.parametrize("name", TASKS)  # the text has its own, test_text.py
every_drawn_task = pytest.mark.parametrize("name", drawn_tasks.names())
every_glyph_task = pytest.mark.parametrize("name", glyph_tasks.names())


def sha256(*arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def task_sha256(task):
    return sha256(*(getattr(task, field) for field in ARRAYS))


def rows(images):
    return {image.tobytes() for image in images}


@pytest.fixture(scope="module")
def shipped():
    with np.load(FOLDER / "glyphs.npz", allow_pickle=False) as file:
        return dict(file)


# The digits


def test_the_digits_are_the_published_ones():
    images, labels = digits.raw()
    assert images.dtype == labels.dtype == np.uint8
    assert images.shape == (1797, 8, 8) and labels.shape == (1797,)
    assert images.min() == 0 and images.max() == 16
    assert np.bincount(labels).tolist() == DIGIT_COUNTS
    assert sha256(images) == DIGIT_IMAGES
    assert sha256(labels) == DIGIT_LABELS


def test_the_digits_split_is_a_permutation_and_keeps_each_image_with_its_label():
    assert sorted(digits.order()) == list(range(1797))
    images, labels = digits.raw()
    task = data.load("digits")
    assert len(task.train_images) == 1437 and len(task.test_images) == 360
    both = np.concatenate([task.train_images, task.test_images])
    assert np.array_equal(both[..., 0] * 16, images[digits.order()])
    both = np.concatenate([task.train_labels, task.test_labels])
    assert np.array_equal(both, labels[digits.order()])


def test_the_digits_carry_their_attribution():
    for text in (digits.__doc__, (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")):
        for part in ("Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0"):
            assert part in text


# Every task


@every_task
def test_a_task_is_the_same_at_every_load_and_on_every_machine(name):
    first, second = data.load(name), data.load(name)
    assert task_sha256(first) == task_sha256(second) == TASKS[name]
    for field in ARRAYS:
        assert not np.shares_memory(getattr(first, field), getattr(second, field))


@every_task
def test_a_task_has_its_name_and_images_in_sixteenths(name):
    task = data.load(name)
    assert task.name == name
    for images in (task.train_images, task.test_images):
        assert images.dtype == np.float32 and images.shape[1:] == (8, 8, 1)
        assert np.isin(images * 16, np.arange(17)).all()
        assert images.max(axis=(1, 2, 3)).min() > 0, "an image is blank"


@every_task
def test_no_test_image_is_a_training_image(name):
    task = data.load(name)
    assert not rows(task.train_images) & rows(task.test_images)


def test_the_names_are_distinct():
    assert len(set(data.names())) == len(data.names()) == 30


def test_tasks_that_say_they_come_from_different_images_share_none():
    images = {}
    for task in map(data.load, TASKS):
        images.setdefault(task.images_from, set()).update(rows(task.train_images), rows(task.test_images))
    assert len(images) == 7
    assert len(set.union(*images.values())) == sum(map(len, images.values()))


# The drawn tasks


@every_drawn_task
def test_drawn_tasks_are_balanced_in_8_bits_and_share_no_image_between_their_parts(name):
    task, again = data.load(name), data.load(name)
    assert (len(task.train_labels), len(task.test_labels), task.classes) == (960, 1440, 8)
    assert np.bincount(np.concatenate([task.train_labels, task.test_labels])).tolist() == [300] * 8
    assert np.bincount(task.train_labels).min() > 80
    for images in (task.train_images, task.test_images):
        assert np.array_equal(images, (np.rint(images * 255) / np.float32(255)).astype(np.float32))
    assert task_sha256(task) == task_sha256(again)
    if name not in ("dots", "outlines"):  # few parameters: some images come twice
        assert not rows(task.train_images) & rows(task.test_images)


def test_a_dot_s_class_is_their_number_and_a_colour_s_patch_has_its_hue():
    task = data.load("dots")
    for image, label in zip(task.train_images[:50, ..., 0], task.train_labels[:50], strict=True):
        assert np.count_nonzero(image) == 4 * (label + 1)
    task = data.load("colours")
    centre = task.train_images[task.train_labels == 0][:, 3:5, 3:5].mean(axis=(0, 1, 2))
    assert centre[0] > 2 * centre[1:].max()  # class 0 is red


# What marks shared images


def test_marks_find_images_in_common_whatever_the_names_and_only_those():
    digits_, greek = data.load("digits"), data.load("greek-clean")
    copied = dataclasses.replace(digits_, name="mine", images_from="")
    part = dataclasses.replace(copied, train_images=digits_.train_images[:99], train_labels=digits_.train_labels[:99])
    assert np.isin(copied.marks, digits_.marks).sum() == len(copied.marks) == 256
    assert np.isin(part.marks, digits_.marks).sum() > 20
    assert not np.isin(copied.marks, greek.marks).any()
    assert np.isin(greek.marks, data.load("greek-ten").marks).sum() == 2  # both say that they are of the Greek


# The glyph tasks


@every_glyph_task
def test_glyph_tasks_have_balanced_classes(name):
    task = data.load(name)
    assert len(task.train_labels) == len(task.test_labels) == 1440
    for labels in (task.train_labels, task.test_labels):
        counts = np.bincount(labels, minlength=task.classes)
        assert len(counts) == task.classes
        assert counts.max() - counts.min() <= 1


def test_each_family_of_fonts_holds_out_one_style():
    held_out = set(glyph_tasks.held_out_fonts())
    assert len(held_out) == 4
    for styles in glyph_tasks.FAMILIES.values():
        assert len(held_out & set(styles)) == 1


@pytest.mark.parametrize("part, fonts", [("train", 12), ("test", 4)])
@every_glyph_task
def test_glyph_images_come_only_from_the_fonts_of_their_part(name, part, fonts, monkeypatch):
    # Blacken all bitmaps of the other part's fonts: this part's images must not notice.
    load = np.load

    class Doctored:
        def __init__(self, path, *, allow_pickle):
            with load(path, allow_pickle=allow_pickle) as file:
                self.arrays = dict(file)
            held_out = np.isin(self.arrays["fonts"], glyph_tasks.held_out_fonts())
            others = held_out if part == "train" else ~held_out
            assert others.sum() == 16 - fonts
            self.arrays["bitmaps"][others] = 15

        def __enter__(self):
            return self.arrays

        def __exit__(self, *_):
            pass

    expected = getattr(data.load(name), f"{part}_images")
    monkeypatch.setattr(np, "load", Doctored)
    assert np.array_equal(getattr(data.load(name), f"{part}_images"), expected)


def test_the_shipped_glyphs_are_those_of_the_family(shipped):
    fonts = [name for styles in glyph_tasks.FAMILIES.values() for name in styles]
    assert shipped["fonts"].tolist() == fonts
    assert set(shipped["alphabets"]) == set(glyph_tasks.ALPHABETS)
    for alphabet, candidates in glyph_tasks.ALPHABETS.items():
        kept = "".join(shipped["characters"][shipped["alphabets"] == alphabet])
        assert 10 <= len(kept) <= 26
        assert list(kept) == sorted(set(kept), key=candidates.index)
        assert not any(character.isnumeric() for character in kept)


def test_shipped_bitmaps_fit_their_square_and_none_is_blank(shipped):
    bitmaps = shipped["bitmaps"]
    assert bitmaps.dtype == np.uint8 and bitmaps.max() == 15
    assert bitmaps.any(axis=(2, 3)).all()
    first_to_last = [
        20 - used.argmax(axis=2) - used[:, :, ::-1].argmax(axis=2)
        for used in (bitmaps.any(axis=3), bitmaps.any(axis=2))
    ]
    # The longer side is the square's; its outermost pixels may be too faint for one level in 15.
    assert np.maximum(*first_to_last).min() >= 18


def test_no_two_shipped_characters_look_alike_in_any_font(shipped):
    for drawn in shipped["bitmaps"].astype(int):
        difference = np.abs(drawn[:, None] - drawn).sum(axis=(2, 3))
        ink = (drawn[:, None] + drawn).sum(axis=(2, 3))
        np.fill_diagonal(difference, ink.max())
        assert (10 * difference >= ink).all()


def test_held_out_fonts_draw_every_character_in_a_new_way(shipped):
    held_out = np.isin(shipped["fonts"], glyph_tasks.held_out_fonts())
    bitmaps = shipped["bitmaps"].astype(int)
    for test in bitmaps[held_out]:
        for train in bitmaps[~held_out]:
            difference, ink = np.abs(test - train), test + train
            assert (50 * difference.sum(axis=(1, 2)) >= ink.sum(axis=(1, 2))).all()


@pytest.mark.parametrize("down, right", [(0, 0), (1, 0), (0, -1), (-1, 1)])
def test_resampling_shifts_a_square_by_whole_pixels_exactly(down, right):
    # The black bitmap covers 6.4 image pixels, 0.8 .. 7.2. Of the outermost pixel's points, at 1/6,
    # 1/2 and 5/6, the last is 1/30 pixel, or 5/48 of a bitmap's, inside the edge: with bilinear
    # weights 29/48 black, on the grid of sixteenths 10/16. A third of that is seen along an edge.
    black = np.full((1, 20, 20), 15, np.uint8)
    shift = np.array([[down], [right]], float)
    (ink,) = glyph_tasks._resample(black, np.ones(1), np.zeros(1), shift)
    along = np.array([10 / 48, 1, 1, 1, 1, 1, 1, 10 / 48])
    rows, columns = (np.pad(along, 1)[np.clip(np.arange(8) - by, -1, 8) + 1] for by in (down, right))
    assert np.array_equal(ink, np.floor(16 * np.outer(rows, columns) + 0.5))


@pytest.mark.parametrize("degrees, like", [(90, 1), (-90, -1), (180, 2)])
def test_resampling_turns_by_quarters_exactly(degrees, like):
    with np.load(FOLDER / "glyphs.npz", allow_pickle=False) as file:
        bitmaps = file["bitmaps"][0, :40]
    count, still = len(bitmaps), np.zeros((2, len(bitmaps)))
    one = np.ones(count)
    turned = glyph_tasks._resample(bitmaps, one, np.radians(degrees) * one, still)
    upright = glyph_tasks._resample(bitmaps, one, 0 * one, still)
    assert np.array_equal(turned, np.rot90(upright, like, axes=(1, 2)))


def test_glyphs_drawn_again_are_the_shipped_ones(shipped):
    glyphs_now = glyphs.draw()
    if str(glyphs_now["drawn_with"]) != str(shipped["drawn_with"]):
        pytest.skip(f"drawn with {shipped['drawn_with']}, here is {glyphs_now['drawn_with']}")
    assert glyphs_now.keys() == shipped.keys()
    for field, array in glyphs_now.items():
        assert np.array_equal(array, shipped[field]), field


def test_the_drawing_command_says_in_one_line_that_it_cannot_write(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(glyphs, "draw", lambda: {})
    assert glyphs.main([str(tmp_path / "missing" / "out.npz")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert glyphs.main([str(tmp_path / "out.npz")]) == 0
    assert (tmp_path / "out.npz").exists()


# The files and the commands


def test_the_shipped_files_are_small_and_need_no_pickle():
    for name, most in (("digits.npz", 120), ("glyphs.npz", 400)):
        assert (FOLDER / name).stat().st_size <= most * 1024
        with np.load(FOLDER / name, allow_pickle=False) as file:
            assert all(file[field].dtype.kind in "uU" for field in file)


def refused(call, *words):
    """Assert that a call ends in one line that says all these words."""
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    said = str(error.value)
    assert "\n" not in said and all(word in said for word in words), said


def test_an_unknown_name_is_refused_with_all_names_and_the_nearest():
    refused(lambda: data.load("Digit"), "load: unknown data set 'Digit'; did you mean 'digits'?", *data.names())
    for name in (None, 3, [1], np.zeros(3), "", "zzz", "greek", "digits-clean", "greek-clean-clean"):
        refused(lambda name=name: data.load(name), "load: unknown data set")


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("task: unknown glyph task 'greek'", lambda path: glyph_tasks.task("greek")),
        ("read_npz: path is 3", lambda path: data.read_npz(3)),
        ("read_idx: directory is None", lambda path: data.read_idx(None)),
        ("read_idx: classes is 1", lambda path: data.read_idx(path, classes=1)),
        ("read_cifar10: directory", lambda path: data.read_cifar10(3)),
        ("read_cifar10: records is 'all'", lambda path: data.read_cifar10(path, records="all")),
        ("read_cifar100: records is 5", lambda path: data.read_cifar100(path, records=5)),
        ("read_cifar100: records is 0", lambda path: data.read_cifar100(path, records=(0, None))),
        ("read_cifar100: unknown labels 'medium'", lambda path: data.read_cifar100(path, labels="medium")),
        ("read_folder: directory", lambda path: data.read_folder(3)),
        ("read_folder: size is 32", lambda path: data.read_folder(path, size=32)),
        ("read_folder: size[1] is 0", lambda path: data.read_folder(path, size=(32, 0))),
        ("read_folder: grey is 'no'", lambda path: data.read_folder(path, grey="no")),
        ("read_folder: test_fraction is 1.0", lambda path: data.read_folder(path, test_fraction=1.0)),
    ],
)
def test_what_readers_do_not_take_is_refused_by_name(words, call, tmp_path):
    refused(lambda: call(tmp_path), words)


def test_importing_the_data_room_loads_nothing_heavy():
    program = (
        "import sys, refimpl.data as data; data.load('greek-ten'); "
        "print([m for m in ('matplotlib', 'scipy', 'numba', 'sklearn') if m in sys.modules])"
    )
    root = Path(catalogue.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LABELS, BLANK, TOKENS = np.array([0, 1]), np.zeros((2, 8, 8, 1), np.float32), np.float32([[0, 1], [2, 0]])
ARRAYS_OF_TWO = {"train_labels": LABELS, "test_labels": LABELS, "classes": 2, "images_from": "nothing", "name": "two"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": None}, "name is None"),
        ({"images_from": 3}, "images_from is 3"),
        ({"classes": 1}, "classes is 1"),
        ({"classes": "2"}, "classes is '2'"),
        ({"train_images": np.zeros((2, 8, 8, 1))}, "train_images is an array of float64"),
        ({"train_images": [0.0]}, "train_images is [0.0]"),
        ({"train_images": np.zeros((2, 8, 8), np.float32)}, "train_images is of shape (2, 8, 8)"),
        ({"test_images": np.zeros((0, 8, 8, 1), np.float32)}, "test_images is (0, 8, 8, 1)"),
        ({"train_images": np.zeros((2, 3, 8, 8), np.float32)}, "train_images is (2, 3, 8, 8); allowed is (n, height,"),
        ({"train_images": np.zeros((2, 1, 8, 8), np.float32)}, "channels come last: numpy.moveaxis(images, 1, 3)"),
        ({"train_images": np.full((2, 8, 8, 1), np.nan, np.float32)}, "train_images[0, 0, 0, 0] is nan"),
        ({"train_images": np.full((2, 8, 8, 1), 16, np.float32)}, "divide by the largest intensity"),
        ({"test_images": np.full((2, 8, 8, 1), -0.5, np.float32)}, "test_images[0, 0, 0, 0] is -0.5"),
        ({"test_images": np.zeros((2, 8, 7, 1), np.float32)}, "test_images is of shape (2, 8, 7, 1)"),
        ({"train_labels": np.array([0, 1], np.int32)}, "train_labels is an array of int32"),
        ({"train_labels": np.array([0])}, "train_labels is of shape (1,)"),
        ({"test_labels": np.array([0, 2])}, "test_labels[1] is 2"),
        ({"test_labels": np.array([-1, 1])}, "test_labels[0] is -1"),
    ],
)
def test_a_task_with_a_mistake_cannot_be_made(change, words):
    good = {"train_images": BLANK, "test_images": BLANK, **ARRAYS_OF_TWO}
    data.Task(**good)
    refused(lambda: data.Task(**(good | change)), "Task: ", words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"words": 0}, "words is 0"),
        ({"words": 2}, "train_images[1, 0] is 2.0"),
        ({"test_images": np.float32([[0, 1], [0.5, 1]])}, "test_images[1, 0] is 0.5"),
        ({"test_images": np.float32([[np.nan, 1], [0, 1]])}, "test_images[0, 0] is nan"),
        ({"train_images": np.float32([0, 1])}, "train_images is of shape (2,)"),
        ({"train_images": TOKENS.astype(int)}, "train_images is an array of int64"),
    ],
)
def test_a_task_of_other_tokens_cannot_be_made(change, words):
    good = {"train_images": TOKENS, "test_images": TOKENS, "words": 3, **ARRAYS_OF_TWO}
    data.TokenTask(**good)
    refused(lambda: data.TokenTask(**(good | change)), "TokenTask: ", words)
