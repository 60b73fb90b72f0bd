"""The checker: compiled once for a schema, then a pure function of caption and labels."""

from collections.abc import Mapping, Sequence

from captioner.agreement import form, surroundings, unknown
from captioner.agreement.compiling import compile_vocabulary
from captioner.agreement.context import Context, context_of
from captioner.agreement.issues import Issue, Verdict
from captioner.agreement.judge import Judge
from captioner.agreement.reader import read
from captioner.agreement.tokens import tokenize
from captioner.agreement.vocabulary import Vocabulary
from captioner.agreement.wordings import accepted
from captioner.schema import LabelSchema, Library, hash_of, load_library, load_schema

RULES = "6"
"""Version of the rules; raised whenever a verdict may change for the same vocabulary."""

_DEFAULT_LEVELS = {"denied_class": "info", "unknown_word": "warning"}
_ORDER = {"error": 0, "warning": 1, "info": 2}
_ACCEPTED = 6

_compiled: dict[str, Vocabulary] = {}
_CONTEXTS = 10_000


class Checker:
    """Judges captions of one dataset.

    Compiling takes a moment and is shared between checkers of the same schema; checking is a pure function of its
    arguments, safe in threads. A checker can be pickled.

    Attributes:
        schema: the dataset's schema.
        library: the concepts, modalities and anatomies.
        vocabulary: the schema, compiled.
        version: the rules' version and a hash of the vocabulary; checkers of one version give the same verdicts.
    """

    def __init__(self, schema: LabelSchema, library: Library | None = None) -> None:
        self.schema = schema
        self.library = library or load_library()
        key = hash_of([schema.hash, self.library.hash])
        self.version = f"{RULES}-{key}"
        vocabulary = _compiled.get(key)
        if vocabulary is None:
            vocabulary = _compiled[key] = compile_vocabulary(schema, self.library)
        self.vocabulary = vocabulary
        self._contexts: dict[tuple[int, ...], Context] = {}
        self._labels: dict[str, int] = {}
        self._wordings: dict[int, tuple[str, ...]] = {}

    def __reduce__(self) -> tuple[type["Checker"], tuple[LabelSchema, Library]]:
        """Pickle the schema and the library; the vocabulary is compiled again where it is needed."""
        return (Checker, (self.schema, self.library))

    def check(
        self,
        caption: str,
        labels: Sequence[str],
        *,
        negatives: Sequence[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Return whether a caption agrees with all of an image's labels.

        Args:
            caption: any text whatsoever.
            labels: the positive labels: codes, names or aliases, in any case.
            negatives: labels that are known to be absent.
            attributes: name (as in the schema's ``attributes``) → value, which a caption may then state.

        Raises:
            SchemaError: a label is not in the schema.
        """
        context = self._context(tuple(dict.fromkeys([self._label(label) for label in labels])))
        denied = [self._label(label) for label in negatives]
        issues: list[Issue] = []
        if len(caption) > form.LIMIT:
            self._form(issues, "too_long", None, caption)
        else:
            tokens = tokenize(caption)
            for kind, span in form.problems(caption, tokens):
                self._form(issues, kind, span, caption)
            if tokens.words:
                judge = Judge(
                    caption,
                    read(tokens, self.vocabulary),
                    context,
                    self.vocabulary,
                    negatives=denied,
                    closed_world=self.schema.negatives == "closed_world",
                    accept=self._accept,
                    level_of=self._level,
                )
                judge.run()
                surroundings.judge(judge, attributes or {}, self.schema.attributes)
                unknown.judge(judge, attributes or {})
                issues += judge.issues
        if len(issues) > 1:
            issues.sort(key=lambda i: (_ORDER[i.level], i.span or (-1, -1)))
        bad = any(i.level == "error" for i in issues)
        return Verdict("disagree" if bad else "agree", tuple(issues), self.version)

    def _form(self, issues: list[Issue], kind: str, span: tuple[int, int] | None, caption: str) -> None:
        level = self._level("not_a_caption", kind, "error")
        if level != "off":
            text = caption[span[0] : span[1]] if span else None
            issues.append(Issue("not_a_caption", level, None, span, text, None, kind, form.FIXES[kind]))

    def _label(self, label: str) -> int:
        index = self._labels.get(label)
        if index is None:
            index = self.vocabulary.by_code[self.schema.resolve(label).code]
            if len(self._labels) < _CONTEXTS:
                self._labels[label] = index
        return index

    def _context(self, labels: tuple[int, ...]) -> Context:
        context = self._contexts.get(labels)
        if context is None:
            context = context_of(labels, self.vocabulary, self.library)
            if len(self._contexts) < _CONTEXTS:
                self._contexts[labels] = context
        return context

    def _accept(self, label: int) -> tuple[str, ...]:
        found = self._wordings.get(label)
        if found is None:
            code = self.vocabulary.meanings[label].code or ""
            found = self._wordings[label] = accepted(self.schema, code)[:_ACCEPTED]
        return found

    def _level(self, code: str, detail: str | None, default: str) -> str:
        levels = self.schema.levels
        if levels:
            if detail is not None and f"{code}.{detail}" in levels:
                return levels[f"{code}.{detail}"]
            if code in levels:
                return levels[code]
        return _DEFAULT_LEVELS.get(code, default)


def check_caption(
    caption: str,
    labels: Sequence[str],
    schema: LabelSchema | str,
    *,
    negatives: Sequence[str] = (),
    attributes: Mapping[str, str] | None = None,
) -> Verdict:
    """Return whether a caption agrees with its labels; see :meth:`Checker.check`.

    Args:
        caption: any text.
        labels: codes, names or aliases of the positive classes.
        schema: a schema, or the name or path of one.
        negatives: labels known to be absent.
        attributes: metadata that a caption may state.

    Raises:
        SchemaError: a label is not in the schema, or the schema is not valid.
        UsageError: there is no such schema.
    """
    if isinstance(schema, str):
        schema = load_schema(schema)
    return Checker(schema).check(caption, labels, negatives=negatives, attributes=attributes)
