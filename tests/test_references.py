"""Sample keys: those of a whole table at once are those of its references one by one."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.references import name_samples, normalise, sample_key

NAMES = st.text(st.sampled_from("aB1_-./"), min_size=1, max_size=12).filter(lambda n: not n.strip("/.").startswith("."))
ENDINGS = st.sampled_from(["", ".png", ".JPG", ".dicom", ".v1"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, ENDINGS), min_size=1, max_size=6), st.sampled_from(["d", "a_dataset_of_a_long_name"]))
def test_keys_of_a_table_are_those_of_its_references(names, dataset):
    references = list(dict.fromkeys(normalise(n + e) for n, e in names))
    images, keys, problems = name_samples(dataset, pa.array(references, pa.string()))
    single = [sample_key(dataset, r) for r in references]
    for i, (image, key) in enumerate(zip(images.to_pylist(), keys.to_pylist(), strict=True)):
        if i not in problems and single.count(single[i]) == 1:
            assert (image, key) == (references[i], single[i])


def test_a_long_tidy_reference_is_shortened_alike_at_once_and_alone():
    references = [f"folder-{'x' * 100}/1.2.840.{i}.dicom" for i in range(3)] + ["plain/a.png"]
    _, keys, _ = name_samples("set", pa.array(references))
    assert keys.to_pylist() == [sample_key("set", r) for r in references]
    assert max(map(len, keys.to_pylist())) <= 80
