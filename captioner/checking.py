"""An answer → its captions, each checked: against the labels and against the others of its set. A pure function."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from captioner.agreement import Checker, Verdict
from captioner.agreement.repair import repair_in_code
from captioner.agreement.sets import NEAR_DUPLICATE, twin_of, words_of
from captioner.answers import parse_answer
from captioner.engines import SEPARATOR, Answer
from captioner.schema import LabelSchema
from captioner.store import Attempt, CheckedCaption, PackedAttempt
from captioner.triplets import Triplet


class Round(NamedTuple):
    """An answer that is to be checked, and all that its verdict depends on.

    Attributes:
        triplet: what the captions must agree with.
        number: which round of the triplet it is.
        kind: ``ask``, ``repair`` or ``regenerate``.
        key: of the request.
        text: of the answer; None when the model said nothing.
        finish_reason: as the server said it.
        silence: why it said nothing.
        earlier: the captions of earlier rounds that were accepted.
    """

    triplet: Triplet
    number: int
    kind: str
    key: str
    text: str | None
    finish_reason: str | None
    silence: str | None
    earlier: tuple[str, ...]


class AnswerCheck:
    """Checks answers about one dataset. It can be pickled.

    Args:
        schema: the dataset's schema.
        captions: how many make a set.
        near_duplicate: two captions whose sets of words overlap by this share (Jaccard) or more are one.
        source: who wrote the answers.
    """

    def __init__(
        self,
        schema: LabelSchema,
        captions: int = 10,
        near_duplicate: float = NEAR_DUPLICATE,
        source: Literal["engine", "rules"] = "engine",
    ) -> None:
        self.checker = Checker(schema)
        self._wanted, self._near_duplicate, self._source = captions, near_duplicate, source

    def attempt(self, round_: Round) -> PackedAttempt:
        """Read the captions of an answer and check each."""
        if round_.text is None:
            problem = round_.silence or "the answer is empty"
            return Attempt(round_.number, round_.kind, round_.key, (problem,), ()).packed()
        captions, problems = parse_answer(Answer(round_.key, round_.text, round_.finish_reason))
        missing = self._wanted - len(round_.earlier)
        few, many = len(captions) < missing, len(captions) > missing
        # Of several answers to one question, each is asked for its share, rounded up.
        if captions and (few or (many and SEPARATOR not in round_.text)):
            problems.append(f"{len(captions)} captions where {missing} were asked for")
        checked = self.captions(round_.triplet, captions, round_.earlier)
        return Attempt(round_.number, round_.kind, round_.key, tuple(problems), tuple(checked)).packed()

    def captions(self, triplet: Triplet, captions: Sequence[str], earlier: Sequence[str]) -> list[CheckedCaption]:
        """Check captions against a triplet and against each other, repairing in code what needs no LLM.

        Args:
            triplet: what they must agree with.
            captions: new ones.
            earlier: accepted ones of the same set.
        """
        kept = {words: frozenset(words) for words in map(words_of, earlier)}
        result = []
        for caption in captions:
            text, original = caption, None
            verdict = verdict_of(self.checker, triplet, text)
            if not verdict.agrees:
                mended = repair_in_code(text, verdict)
                if mended is not None and mended != text:
                    again = verdict_of(self.checker, triplet, mended)
                    if again.agrees:
                        text, original, verdict = mended, caption, again
            issues: list[dict[str, Any]] = [i.to_dict() for i in verdict.issues]
            words = words_of(text)
            if verdict.agrees and (twin := twin_of(words, kept, self._near_duplicate)):
                issues.append({"code": twin, "level": "error", "fix": "word it differently from the other captions"})
            elif verdict.agrees and len(kept) == self._wanted:
                issues.append({"code": "surplus", "level": "error", "fix": "not needed: the set is complete"})
            accepted = not any(i["level"] == "error" for i in issues)
            if accepted:
                kept[words] = frozenset(words)
            result.append(CheckedCaption(text, accepted, "code" if original else self._source, original, tuple(issues)))
        return result


def verdict_of(checker: Checker, triplet: Triplet, caption: str) -> Verdict:
    """Return whether a caption agrees with everything that a triplet says."""
    return checker.check(caption, triplet.findings, negatives=triplet.negatives, attributes=dict(triplet.attributes))
