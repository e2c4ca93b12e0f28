"""A row of a sweep says which data it is of and how it is trained."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from refimpl import nn
from refimpl.peppp import Settings
from refimpl.peppp.sweeping.cell import name_of, row_of, split

positive = st.floats(2.0**-20, 2.0**20)
VALUES = {
    "model": st.sampled_from([*nn.models.NETWORKS, "package.module:function"]),
    "epochs": st.integers(1, 10**6),
    "batch_size": st.integers(1, 10**6),
    "learning_rate": positive,
    "loss_scale": positive,
}
changes = st.fixed_dictionaries({}, optional=VALUES)
names = st.text(min_size=1) | st.sampled_from(["digits", "a@b/c.npz", "/x@y=1/z.npz", "C:\\data", "\udcff.npz"])


def written(name, changes, order):
    return f"{name}@{','.join(f'{key}={changes[key]}' for key in order)}"


@given(names, changes.filter(bool), changes, st.data())
def test_what_a_row_sets_for_itself_is_read_back_and_all_else_is_as_the_sweep_says(name, own, others, data):
    settings = replace(Settings(), **others)
    row = written(name, own, data.draw(st.permutations(list(own))))
    assert split(row, settings) == (name, replace(settings, **own))
    assert name_of(row) == row


@given(names.filter(lambda name: "@" not in name), changes)
def test_a_row_that_sets_nothing_is_trained_as_the_sweep_says(name, others):
    settings = replace(Settings(), **others)
    assert split(name, settings) == (name, settings)


def test_rows_of_the_same_data_have_the_same_images_whatever_they_set():
    plain, _ = row_of("greek-ten", Settings())
    other, settings = row_of("greek-ten@model=lenet,epochs=3", Settings())
    assert other.fingerprint == plain.fingerprint and list(other.marks) == list(plain.marks)
    assert settings == Settings(model="lenet", epochs=3)
