"""The shipped data sets: what is in them, who may share images with whom, and that they never move.

The digits' figures are those of E. Alpaydin and C. Kaynak's data set as scikit-learn documents and
carries it. The other golden hashes fix our own splits and drawings: a change of one of them changes
what every stored measurement was measured on.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refimpl import data
from refimpl.data import catalogue, digits, glyph_tasks, glyphs

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
    "latin-capitals-clean": "4f225e6cf8569e129bbfa7b9f1b978aa6f247376ecb24852e2ddbb37edac7134",
    "latin-capitals-noisy": "c62ce988c283da3d242f914d74de0b7ff27f2f8e6307fae11740896e4dc13e0f",
    "latin-capitals-ten": "5f5bc925aa4a1b343678dcaa1b05d6ded962538b714058773bd9df43618de33d",
    "latin-small-clean": "f527b1d3f4ccb95208a76fd3f6f722d4873a0a15638cc189a0717c64a89efa2f",
    "latin-small-noisy": "18ec9f63959192b4403b17b779de12d1a0b6462bc26e4425e0f497bad621fe9b",
    "latin-small-ten": "dbe68927e8466aa90cc8fdc402aa7170b480f070824651ef0dd406f6a8e2e00e",
    "greek-clean": "51304ce6f9c16cd011854015ce3cd44c11b7fa32fe056a60ae0ae6d62858d6e2",
    "greek-noisy": "6457bb396faafb338ec7fb02cdef403458f03f6e21e20eb0b5224ac23f389508",
    "greek-ten": "b5db18deccf754efce01bac868cb83efa621377d08137d896fb47f910ce6b539",
    "cyrillic-clean": "07d6fb54c49eb831df7de7dc413e9f8ef71ffb8898788d1de36c5671df04238b",
    "cyrillic-noisy": "967b9aad563363462a3ee5c8181327674ee3f4bd7ccbb721c56ad7d0db3ef716",
    "cyrillic-ten": "9af13552c4526a901114b2e4160d0fe50d37eeb2f8861477b86722a9b93ce314",
    "phonetic-clean": "0f54f8228286ac01c47a578a803458527a977c09d5bf111196ac51d87087b830",
    "phonetic-noisy": "4c0fa4527bcf725263eca397cc0b2fc725826a140dad5cd3a46ffcea4d28e881",
    "phonetic-ten": "cc8c35b163e8b1092dc35aaa7a8259eaa7138b0b135f1e5fd7c72955a59f734d",
    "symbols-clean": "4d4deeef97768e3846815b7eb6c59570d1cd544da2e49c5c878fb0db8904e0cf",
    "symbols-noisy": "f39df61a331594bc78ac50d23f221e80f4d7ff19a6b3795719bcfbfe3d761d1a",
    "symbols-ten": "dcb3b6a68f52a73a8e78ab876f731d9bb9d0a91061e55fe5eb3949db686e2730",
}

every_task = pytest.mark.parametrize("name", TASKS)  # the text has its own, test_text.py
every_glyph_task = pytest.mark.parametrize("name", data.meta_training_names())


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


def test_the_names_are_distinct_and_digits_and_text_are_left_out_of_meta_training():
    assert len(set(data.names())) == len(data.names()) == 20
    assert set(data.names()) - set(data.meta_training_names()) == {"digits", "topics"}


def test_tasks_that_say_they_come_from_different_images_share_none():
    images = {}
    for task in map(data.load, TASKS):
        images.setdefault(task.images_from, set()).update(rows(task.train_images), rows(task.test_images))
    assert len(images) == 7
    assert len(set.union(*images.values())) == sum(map(len, images.values()))


# The glyph tasks


@every_glyph_task
def test_glyph_tasks_have_balanced_classes(name):
    task = data.load(name)
    assert len(task.train_labels) == 1440 and len(task.test_labels) == 360
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
