"""The sentences that captions are built from: data, no logic.

Slots: ``{v}`` a view without article, ``{a_v}`` with one, ``{free_v}`` without one where English allows it, ``{on}`` the
preposition that goes with it; ``{f}`` the findings with articles, ``{bare_f}`` without, ``{is_}`` their verb,
``{there_is}`` the verb that agrees with the first of them; ``{d}`` what is denied, as a list with "or", ``{a_d}`` the
same where a single thing takes an article, ``{d_is}`` its verb; ``{o}`` an organ or a structure with "the", ``{o_is}`` its verb; ``{part}`` the anatomy, ``{part_is}`` and ``{part_s}`` its
verb.
``{v0}`` is a view that leaves the anatomy out.
"""

from dataclasses import dataclass
from typing import Literal

Needs = Literal[
    "one", "several", "free view", "disease", "grade", "device", "finding", "singular", "singular part", "own anatomy"
]


@dataclass(frozen=True, slots=True)
class Frame:
    """A sentence, and what it needs to make sense.

    Attributes:
        text: with slots; no capital, no full stop.
        needs: conditions on the content.
        tail: whether a denial may follow after a comma.
    """

    text: str
    needs: frozenset[Needs] = frozenset()
    tail: bool = True


def _frames(*lines: str) -> tuple[Frame, ...]:
    """Read frames written as ``text | needs, needs | no tail``."""
    found = []
    for line in lines:
        text, _, rest = line.partition(" | ")
        needs = {n.strip() for n in rest.split(",") if n.strip()}
        found.append(Frame(text, frozenset(needs - {"no tail"}), "no tail" not in needs))  # type: ignore[arg-type]
    return tuple(found)


POSITIVE = _frames(
    "{v} showing {f}",
    "{v} demonstrating {f}",
    "{v} with {f}",
    "{v} revealing {f}",
    "{v}: {bare_f} | no tail",
    "{v} with evidence of {f} | finding",
    "{v} in which {f} {is_} seen",
    "{a_v} showing {f}",
    "{a_v} that demonstrates {f}",
    "{a_v} with {f}",
    "{a_v} depicting {f}",
    "{a_v}, with {f} visible | no tail",
    "this {v} shows {f}",
    "this {v} demonstrates {f}",
    "this {v} reveals {f}",
    "this is {a_v} showing {f}",
    "this {v} depicts {f}",
    "the {v} shows {f}",
    "the {v} reveals {f}",
    "the {v} demonstrates {f}",
    "the {v} depicts {f}",
    "the image is {a_v} and shows {f}",
    "the findings {on} this {v} are {f} | several, finding, no tail",
    "the finding {on} this {v} is {f} | one, singular, finding, no tail",
    "{f} {is_} seen {on} this {v}",
    "{f} {is_} visible {on} this {v}",
    "{f} {is_} present {on} this {v}",
    "{f} {is_} demonstrated {on} this {v}",
    "{f} {is_} evident {on} the {v}",
    "{f} {is_} identified {on} {a_v}",
    "{f} can be seen {on} the {v}",
    "{f} {is_} noted {on} this {v}",
    "{f} {is_} shown {on} this {v}",
    "{bare_f} {on} {free_v} | free view",
    "{bare_f} demonstrated {on} {free_v} | free view",
    "{f} {on} {a_v}",
    "{f} as seen {on} {a_v} | one",
    "{f}, shown {on} {a_v} | no tail",
    "there {there_is} {f} {on} this {v}",
    "there {there_is} {f} visible {on} the {v}",
    "there is evidence of {f} {on} this {v} | finding",
    "evidence of {f} is seen {on} this {v} | finding",
    "{on} this {v}, {f} {is_} seen",
    "{on} this {v}, {f} {is_} visible",
    "{on} this {v} there {there_is} {f}",
    "{on} the {v}, {f} {is_} evident",
    "{on} {free_v}, {f} {is_} demonstrated | free view",
    "shown here is {a_v} with {f}",
    "shown {on} this {v} {is_} {f} | no tail",
    "signs of {bare_f} are seen {on} this {v} | disease",
    "{v} with features of {bare_f} | disease",
    "the appearances {on} this {v} are those of {bare_f} | disease",
    "{v} showing the changes of {bare_f} | disease",
    "this {v} shows signs of {bare_f} | disease",
    "{bare_f} {is_} the diagnosis {on} this {v} | disease, one",
    "this {v} is graded as {bare_f} | grade, one, no tail",
    "{v} graded as {bare_f} | grade, one, no tail",
    "the grade shown {on} this {v} is {bare_f} | grade, one, no tail",
    "{f} {is_} in place {on} this {v} | device",
    "{v} with {f} in place | device",
)

# The second sentence of two, for findings that the first has left.
ALSO = (
    "{f} {is_} also seen",
    "{f} {is_} also present",
    "there {there_is} also {f}",
    "in addition, {f} {is_} visible",
    "it also shows {f}",
    "{f} {is_} present as well",
)

# For classes of the form "X pathology", on their own.
# After a sentence that names devices only.
OTHERWISE_NORMAL = (
    "no abnormal finding is seen",
    "there is no abnormal finding",
    "no abnormality is seen",
    "there is no evidence of disease",
    "no disease is seen",
    "otherwise, no abnormality is visible",
)

ABNORMAL = _frames(
    "the {o} {o_is} abnormal {on} this {v}",
    "the {o} {o_has} an abnormal appearance {on} this {v} | no tail",
    "{on} this {v}, the {o} {o_is} abnormal",
    "this {v} shows that the {o} {o_is} abnormal",
    "the {v} shows the {o} to be abnormal",
    "{v} showing the {o} to be abnormal",
)

ABSENT = _frames(
    "{v} showing no {d}",
    "{v} without {a_d}",
    "{v} with no evidence of {a_d}",
    "{v} without evidence of {a_d}",
    "{v} with no sign of {a_d}",
    "{v} negative for {d}",
    "{v}: no {d}",
    "{a_v} that shows no {d}",
    "{a_v} with no {d}",
    "{a_v} without signs of {a_d}",
    "this {v} shows no {d}",
    "this {v} shows no evidence of {a_d}",
    "this {v} is negative for {d}",
    "this {v} demonstrates no {d}",
    "this {v} is free of {d}",
    "this is {a_v} without {a_d}",
    "the {v} shows no signs of {a_d}",
    "the {v} reveals no {d}",
    "the {v} gives no evidence of {a_d}",
    "the {part}, as seen {on} this {v0}, show{part_s} no {d} | singular part",
    "the {part} show{part_s} no sign of {a_d} {on} this {v0} | singular part",
    "no {d} {d_is} seen {on} this {v}",
    "no {d} {d_is} visible {on} the {v}",
    "no {d} {d_is} present {on} this {v}",
    "no evidence of {a_d} is found {on} this {v}",
    "no sign of {a_d} can be seen {on} this {v}",
    "no signs of {a_d} are present {on} the {v}",
    "no {d} {on} {a_v}",
    "there {d_is} no {d} {on} this {v}",
    "there is no evidence of {a_d} {on} this {v}",
    "there is no sign of {a_d} {on} the {v}",
    "{on} this {v}, no {d} {d_is} seen",
    "{on} this {v} there is no evidence of {a_d}",
    "{on} the {v}, there is no sign of {a_d}",
    "shown here is {a_v} with no evidence of {a_d}",
)

NORMAL = _frames(
    "normal {v}",
    "{v} with normal appearances",
    "{v} showing no abnormality",
    "{v} without abnormality",
    "{v} with no visible abnormality",
    "{v} within normal limits",
    "{v}: normal appearances",
    "unremarkable {v}",
    "a normal {v}",
    "{a_v} showing no abnormality",
    "{a_v} with no evidence of disease",
    "{a_v} with a normal appearance",
    "this {v} is normal",
    "this {v} shows no abnormality",
    "this {v} is within normal limits",
    "this is a normal {v}",
    "this {v} has a normal appearance",
    "the {v} shows no abnormality",
    "the {v} is normal",
    "the {v} appears normal",
    "the {v} shows no signs of disease",
    "the {part} {part_is} normal {on} this {v0} | singular part",
    "the {part} appear{part_s} normal {on} this {v0} | singular part",
    "{v0} of a normal {part} | singular part",
    "{v0} showing a normal {part} | singular part",
    "a normal {part} is shown {on} this {v0} | singular part",
    "this {v0} shows a normal {part} | singular part",
    "{on} this {v0}, the {part} look{part_s} normal | singular part",
    "no abnormality is seen {on} this {v}",
    "no abnormality is detected {on} the {v}",
    "no abnormality is visible {on} this {v}",
    "no evidence of disease is seen {on} this {v}",
    "there is no abnormality {on} this {v}",
    "there is no evidence of disease {on} this {v}",
    "{on} this {v}, no abnormality is seen",
    "normal appearances {on} this {v}",
    "shown here is a normal {v}",
)

# For tissue, and for normal classes that have a name of their own ("benign lung tissue").
SHOWN = _frames(
    "{v} showing {f}",
    "{v} with {f}",
    "{v} depicting {f}",
    "{v}: {bare_f} | no tail",
    "{v0} of {f} | own anatomy",
    "{v} in which {f} {is_} seen",
    "{a_v} showing {f}",
    "{a_v} that shows {f}",
    "{a_v} with {f}",
    "{a_v0} of {f} | own anatomy",
    "this {v} shows {f}",
    "this {v} demonstrates {f}",
    "this {v} depicts {f}",
    "this is {a_v} showing {f}",
    "this is {a_v0} of {f} | own anatomy",
    "the {v} shows {f}",
    "the {v} reveals {f}",
    "the {v} demonstrates {f}",
    "the image is {a_v} and shows {f}",
    "the image shows {f} {on} {a_v}",
    "{f} {is_} seen {on} this {v}",
    "{f} {is_} shown {on} this {v}",
    "{f} {is_} visible {on} the {v}",
    "{f} {is_} demonstrated {on} this {v}",
    "{f} can be seen {on} the {v}",
    "{f} {on} {a_v}",
    "{f} as seen {on} {a_v}",
    "{f}, shown {on} {a_v} | no tail",
    "{bare_f} {on} {free_v} | free view",
    "{on} this {v}, {f} {is_} seen",
    "{on} this {v}, {f} {is_} visible",
    "{on} the {v}, {f} {is_} shown",
    "shown here is {a_v0} of {f} | own anatomy",
    "shown {on} this {v} {is_} {f} | no tail",
)

ORGAN = _frames(
    "{v}",
    "{a_v}",
    "this is {a_v}",
    "the image is {a_v}",
    "shown here is {a_v}",
    "{v0} showing {o}",
    "{v0} depicting {o}",
    "{a_v0} that shows {o}",
    "this {v0} shows {o}",
    "this {v0} depicts {o}",
    "the {v0} shows {o}",
    "the {v0} displays {o}",
    "the subject of this {v0} is {o}",
    "{o} {o_is} shown {on} this {v0}",
    "{o} {o_is} seen {on} this {v0}",
    "{o} {o_is} depicted {on} this {v0}",
    "{o} {o_is} visible {on} the {v0}",
    "{o} {on} {a_v0}",
    "{o}, as seen {on} {a_v0}",
    "{on} this {v0}, {o} {o_is} shown",
    "{on} this {v0}, {o} {o_is} visible",
    "view of {o} {on} {a_v0}",
    "a view of {o}, obtained with {method}",
    "{o} imaged with {method}",
    "{method} image of {o}",
    "{method} view of {o}",
    "imaging of {o} with {method}",
)

# What follows the findings where the table also denies something.
TAIL = (", without {a_d}", ", with no {d}", ", with no evidence of {a_d}", ", but no {d}", " and no {d}")
DENIAL = (
    "there {d_is} no {d}",
    "no {d} {d_is} seen",
    "there is no evidence of {a_d}",
    "no evidence of {a_d} is seen",
    "no sign of {a_d} is present",
    "it shows no {d}",
)
