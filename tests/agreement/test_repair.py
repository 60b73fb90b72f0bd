"""Details that can be cut out without a language model, and sentences that are better left alone."""

import pytest

from captioner.agreement import check_caption
from captioner.agreement.repair import repair_in_code


@pytest.mark.parametrize(
    ("label", "caption", "repaired"),
    [
        (
            "Nodule",
            "A 12 mm pulmonary nodule is seen on this chest X-ray.",
            "A pulmonary nodule is seen on this chest X-ray.",
        ),
        ("Mass", "Chest X-ray with a mass measuring 3 x 4 cm in diameter.", "Chest X-ray with a mass."),
        ("Mass", "Chest X-ray of a 65-year-old man showing a mass.", "Chest X-ray showing a mass."),
        ("Mass", "Chest X-ray showing a mass in the left lung.", "Chest X-ray showing a mass in the lung."),
        ("Mass", "Chest X-ray showing a mass on the right.", "Chest X-ray showing a mass."),
        ("Mass", "Chest X-ray with a mass. Follow-up is recommended.", "Chest X-ray with a mass."),
        ("Effusion", "Bilateral pleural effusions on a chest X-ray.", "Pleural effusions on a chest X-ray."),
        ("Consolidation", "Chest X-ray with consolidation in the right upper lobe.", "Chest X-ray with consolidation."),
    ],
)
def test_an_invented_detail_is_cut_out_where_a_good_sentence_is_left(label, caption, repaired):
    verdict = check_caption(caption, [label], "chestxray14")
    assert not verdict.agrees
    assert repair_in_code(caption, verdict) == repaired
    assert check_caption(repaired, [label], "chestxray14").agrees


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ("Mass", "Chest X-ray with a mass."),
        ("Mass", "Chest X-ray with a 3 cm nodule."),
        ("Mass", "CT of the chest with a mass of 3 cm."),
        ("Mass", "I cannot see a mass of 3 cm."),
        ("Mass", "Chest X-ray of a mass that has been treated with chemotherapy for years."),
    ],
)
def test_what_needs_more_than_scissors_is_left_alone(label, caption):
    assert repair_in_code(caption, check_caption(caption, [label], "chestxray14")) is None
