"""The checker: compiled once for a schema, then a pure function of caption and labels."""

from collections.abc import Mapping, Sequence

from captioner.agreement import form, surroundings, unknown
from captioner.agreement.compiling import compile_vocabulary
from captioner.agreement.context import Context, Setting, context_of, setting_of
from captioner.agreement.issues import Issue, Verdict
from captioner.agreement.judge import Judge
from captioner.agreement.reader import read
from captioner.agreement.tokens import tokenize
from captioner.agreement.vocabulary import Vocabulary
from captioner.agreement.wordings import accepted
from captioner.schema import LabelSchema, Library, hash_of, load_library, load_schema

RULES = "7"
"""Version of the rules; raised whenever a verdict may change for the same vocabulary."""

_DEFAULT_LEVELS = {"denied_class": "info", "unknown_word": "warning"}
_ORDER = {"error": 0, "warning": 1, "info": 2}
_ACCEPTED = 6

_compiled: dict[str, Vocabulary] = {}
_VOCABULARIES = 64
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
            if len(_compiled) >= _VOCABULARIES:
                _compiled.pop(next(iter(_compiled)), None)
            vocabulary = _compiled[key] = compile_vocabulary(schema, self.library)
        self.vocabulary = vocabulary
        self._passed = Verdict("agree", (), self.version)
        self._contexts: dict[tuple[str, ...], Context] = {}
        self._settings: dict[tuple[frozenset[str], frozenset[str]], Setting] = {}
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
        context = self._context(tuple(labels))
        denied = frozenset(map(self._label, negatives))
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
        if not issues:
            return self._passed
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
        return self.vocabulary.by_code[self.schema.resolve(label).code]

    def _context(self, labels: tuple[str, ...]) -> Context:
        context = self._contexts.get(labels)
        if context is None:
            if len(self._contexts) == _CONTEXTS:
                self._settings.clear()
                self._contexts.clear()  # the captions of one image come together: what is old will hardly come again
            indices = tuple(dict.fromkeys(map(self._label, labels)))
            context = self._contexts[labels] = context_of(indices, self.vocabulary, self._setting(indices))
        return context

    def _setting(self, labels: tuple[int, ...]) -> Setting:
        meanings = [self.vocabulary.meanings[i] for i in labels]
        key = frozenset(m.modality for m in meanings), frozenset(m.anatomy for m in meanings)
        setting = self._settings.get(key)
        if setting is None:
            setting = self._settings[key] = setting_of(*key, self.vocabulary, self.library)
        return setting

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
