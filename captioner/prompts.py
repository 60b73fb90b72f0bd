"""Prompt templates → messages. Jinja2, sandboxed, and strict about names that do not exist."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinMethodType
from typing import Any

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from captioner import resources
from captioner.engines import Message
from captioner.errors import PromptError, did_you_mean
from captioner.schema import LabelSchema, Library, load_library
from captioner.triplets import Triplet


@dataclass(frozen=True, slots=True)
class Finding:
    """A label as a template sees it.

    Attributes:
        code: the class code.
        name: the clinical name.
        kind: ``finding``, ``grade``, ``normal``, ``absence``, ``organ``, ``tissue`` or ``device``.
        wordings: the name and the other wordings that will be accepted, best first.
    """

    code: str
    name: str
    kind: str
    wordings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A caption that was refused, as a repair template sees it.

    Attributes:
        caption: what the model wrote.
        problems: what is wrong with it and what would pass, a sentence each.
    """

    caption: str
    problems: tuple[str, ...]


_FINDING = frozenset(Finding.__slots__)


class Prompt:
    """One template file and whatever it extends, compiled once.

    A template defines three blocks: ``system`` (the same for every triplet, so that servers can cache it), ``user`` (the
    triplet) and ``repair`` (what was wrong with the last answer). It sees ``modality``, ``view``, ``anatomy``,
    ``findings``, ``negatives`` (lists of :class:`Finding`), ``attributes`` (name → value), ``dataset`` (the schema's
    title), ``k`` (how many captions are asked for), and in ``repair`` also ``failures`` (:class:`Failure`) and
    ``accepted`` (captions that need no change).

    Attributes:
        name: the file's name without its ending.
        sources: file name → text, of the template and everything that it extends or includes.

    Raises:
        PromptError: the template is not valid, or has not got these blocks.
    """

    BLOCKS = ("system", "user", "repair")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.stem
        self.sources: dict[str, str] = {}
        self._environment = _Environment(self._load)
        self._findings: dict[tuple[int, str], tuple[LabelSchema, Finding]] = {}
        try:
            self._template = self._environment.get_template(path.name)
            self._unknown_names()
            self._blocks = self._inheritance()
        except jinja2.TemplateSyntaxError as e:
            raise PromptError(f"{self._where(e)}: {e.message}") from None
        except jinja2.TemplateNotFound as e:
            raise PromptError(f"{path}: extends or includes {e.name!r}, which is in no prompts folder") from None
        self._system_sees = self._seen_by("system")
        self._system: tuple[list[Any], Message] | None = None
        missing = [b for b in self.BLOCKS if b not in self._blocks]
        if missing:
            raise PromptError(
                f"{path}: block {missing[0]!r} is missing. A prompt has the blocks system, user and repair; "
                "start with {% extends '_base.j2' %} to get those that you do not write."
            )

    @functools.cached_property
    def hash(self) -> str:
        """Sixteen hex digits over the template and everything that it extends or includes."""
        content = "\0".join(f"{name}\0{source}" for name, source in sorted(self.sources.items()))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def render(
        self, schema: LabelSchema, triplet: Triplet, count: int, library: Library | None = None
    ) -> tuple[Message, ...]:
        """Return the messages that ask for ``count`` captions of a triplet.

        Raises:
            PromptError: the template failed, such as on a name that does not exist.
        """
        return self._opening(context_of(schema, triplet, count, library or load_library(), self._findings))

    def render_repair(
        self,
        schema: LabelSchema,
        triplet: Triplet,
        count: int,
        *,
        failures: Sequence[Failure],
        accepted: Sequence[str],
        answer: str,
        library: Library | None = None,
    ) -> tuple[Message, ...]:
        """Return the conversation that asks again: the first messages, the model's answer, and what to put right.

        Raises:
            PromptError: the template failed.
        """
        context = context_of(schema, triplet, count, library or load_library(), self._findings)
        first = self._opening(context)
        context |= {"failures": list(failures), "accepted": list(accepted)}
        return (*first, Message("assistant", answer), Message("user", self._render("repair", context)))

    def _opening(self, context: dict[str, Any]) -> tuple[Message, Message]:
        seen = [context[name] for name in self._system_sees]
        if self._system is None or self._system[0] != seen:  # it is nearly always the same
            self._system = seen, Message("system", self._render("system", context))
        return self._system[1], Message("user", self._render("user", context))

    def _render(self, block: str, context: dict[str, Any]) -> str:
        # What the template's own new_context() does, without what only a whole template needs.
        scope = jinja2.runtime.Context(self._environment, context, self._template.name, {})
        scope.blocks = self._blocks
        try:
            return "".join(scope.blocks[block][0](scope)).strip()
        except jinja2.TemplateError as e:
            raise PromptError(f"{self.path}: block {block!r}: {e.message or type(e).__name__}") from None
        except Exception as e:  # noqa: BLE001, a template is the user's code: whatever it raises is theirs to read
            raise PromptError(f"{self.path}: block {block!r}: {type(e).__name__}: {e}") from None

    def _inheritance(self) -> dict[str, list[Any]]:
        """Return every block with its overrides, the nearest first: what Jinja gathers while it renders a template."""
        blocks: dict[str, list[Any]] = {}
        name: str | None = self.path.name
        while name is not None:
            for block, function in self._environment.get_template(name).blocks.items():
                blocks.setdefault(block, []).append(function)
            name = self._parent_of(name)
        return blocks

    def _parent_of(self, name: str) -> str | None:
        tree = self._environment.parse(self.sources[name], name)
        extends = tree.find(jinja2.nodes.Extends)
        if extends is None:
            return None
        if not isinstance(extends.template, jinja2.nodes.Const):
            raise PromptError(f"{self.path}: extends takes the name of a file, in quotes")
        return str(extends.template.value)

    def _unknown_names(self) -> None:
        """Refuse names that no context has, before any request is sent."""
        todo = [self._template.name or ""]
        while todo:
            name = todo.pop()
            tree = self._environment.parse(self.sources[name], name)
            for unknown in sorted(jinja2.meta.find_undeclared_variables(tree) - CONTEXT_NAMES):
                line = next((n.lineno for n in tree.find_all(jinja2.nodes.Name) if n.name == unknown), 1)
                raise PromptError(
                    f"{self._file_of(name)}:{line}: unknown name {unknown!r}.{did_you_mean(unknown, CONTEXT_NAMES)} "
                    f"A prompt may use: {', '.join(sorted(CONTEXT_NAMES))}."
                )
            for reference in jinja2.meta.find_referenced_templates(tree):
                if reference is not None and reference not in self.sources:
                    self._environment.get_template(reference)
                    todo.append(reference)

    def _seen_by(self, block: str) -> tuple[str, ...]:
        """Return the names of the context that a block may look at; all where it takes in other blocks or templates."""
        names: set[str] = set()
        todo, done = {block}, set[str]()
        while todo:
            done.add(wanted := todo.pop())
            for name, source in self.sources.items():
                for found in self._environment.parse(source, name).find_all(jinja2.nodes.Block):
                    if found.name != wanted:
                        continue
                    inside = list(found.find_all(jinja2.nodes.Node))
                    names |= {n.name for n in inside if isinstance(n, jinja2.nodes.Name)}
                    if "self" in names or any(isinstance(n, _TAKE_IN) for n in inside):
                        return _ASKED_WITH
                    todo |= {n.name for n in inside if isinstance(n, jinja2.nodes.Block)} - done
        return tuple(name for name in _ASKED_WITH if name in names)

    def _load(self, name: str) -> str | None:
        """Read a template: this prompt's own folder first, then the user's and the shipped ``prompts/``."""
        if "/" in name or "\\" in name:
            return None
        for folder in (self.path.parent, *resources.folders("prompts")):
            file = folder / name
            if file.is_file():
                try:
                    self.sources[name] = file.read_text(encoding="utf-8")
                except UnicodeDecodeError as e:
                    raise PromptError(f"{file}: not UTF-8 text: {e.reason} at byte {e.start}") from None
                return self.sources[name]
        return None

    def _file_of(self, name: str) -> Path | str:
        return self.path if name == self.path.name else name

    def _where(self, error: jinja2.TemplateSyntaxError) -> str:
        return f"{self._file_of(error.name or self.path.name)}:{error.lineno}"


_ASKED_WITH = ("dataset", "modality", "view", "anatomy", "findings", "negatives", "attributes", "k")
_TAKE_IN = (jinja2.nodes.Include, jinja2.nodes.Import, jinja2.nodes.FromImport)
_SCOPE = frozenset(("_loop_vars", "_block_vars"))
"""What Jinja itself hands to every call."""
CONTEXT_NAMES = frozenset({*_ASKED_WITH, "failures", "accepted"})


class _Environment(ImmutableSandboxedEnvironment):
    """Sandboxed: a template cannot reach Python's internals; label text is data and never a template."""

    def __init__(self, load: Any) -> None:
        super().__init__(
            loader=jinja2.FunctionLoader(load),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
            autoescape=False,  # the output is text for a model, not HTML
        )
        self.globals.clear()

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute of a finding at once, and let the sandbox look at all others."""
        if type(obj) is Finding and attribute in _FINDING:
            return getattr(obj, attribute)
        if type(obj) is dict and attribute == "items":
            return obj.items
        return super().getattr(obj, attribute)

    def call(self, context: Any, function: Any, /, *args: Any, **scope: Any) -> Any:
        """Call ``items()`` of a dict, which every prompt does, at once, and let the sandbox look at all others."""
        if (
            type(function) is BuiltinMethodType
            and function.__name__ == "items"
            and type(function.__self__) is dict
            and not args
            and scope.keys() <= _SCOPE
        ):
            return function()
        return super().call(context, function, *args, **scope)


def context_of(
    schema: LabelSchema, triplet: Triplet, count: int, library: Library, known: dict[tuple[int, str], Any] | None = None
) -> dict[str, Any]:
    """Return what a template sees of a triplet.

    Args:
        schema: the dataset's schema.
        triplet: what is asked about.
        count: how many captions are asked for.
        library: the modalities and anatomies.
        known: where findings are kept from one call to the next.
    """
    known = {} if known is None else known
    modality, anatomy = library.modalities[triplet.modality], library.anatomies[triplet.anatomy]
    view = modality.view.format(anatomy=anatomy.name, adjective=anatomy.adjective or anatomy.name)
    names = {
        a: schema.attributes[a].name or a.replace("_", " ") for a, _ in triplet.attributes if a in schema.attributes
    }
    return {
        "dataset": schema.title,
        "modality": modality.name,
        "view": view,
        "anatomy": anatomy.name,
        "findings": [_finding(schema, code, known) for code in triplet.findings],
        "negatives": [_finding(schema, code, known) for code in triplet.negatives],
        "attributes": {names.get(a, a): value for a, value in triplet.attributes},
        "k": count,
    }


def _finding(schema: LabelSchema, code: str, known: dict[tuple[int, str], Any]) -> Finding:
    found = known.get((id(schema), code))
    if found is None:
        item = schema[code]
        wordings = tuple(w for w in item.wordings if " ... " not in w)
        # With the schema, so that no other one can come to have its id.
        found = known[id(schema), code] = schema, Finding(item.code, item.name, item.kind, wordings)
    finding: Finding = found[1]
    return finding


@functools.cache
def load_prompt(name: str) -> Prompt:
    """Return a prompt by its name or by the path of its ``.j2`` file.

    Raises:
        UsageError: there is none of this name.
        PromptError: it is not valid.
    """
    return Prompt(resources.find("prompts", name))
