"""What a name on the command line stands for: a pipeline, a label schema, or a schema of texts."""

from pathlib import Path
from typing import Literal

from captioner.errors import PipelineError, UsageError, did_you_mean

Kind = Literal["pipelines", "label_schemas", "text_schemas"]
KINDS: tuple[Kind, ...] = ("pipelines", "label_schemas", "text_schemas")


def kind_of(name: str) -> Kind:
    """Return what a name is, or the content of a file.

    Raises:
        UsageError: there is nothing of this name.
        PipelineError: the file is no YAML.
    """
    from captioner import resources
    from captioner.schema import read_yaml

    path = Path(name)
    for kind in KINDS:
        if name in resources.names(kind) or (str(path.parent) == kind and path.stem in resources.names(kind)):
            return kind
    if path.is_file():
        content = read_yaml(path, PipelineError)
        if not isinstance(content, dict):
            raise UsageError(
                f"{name}: neither a pipeline nor a schema. To describe a label table: captioner schema new {name}"
            )
        if "schema" in content or "tables" not in content:
            return "pipelines"
        return "label_schemas" if "classes" in content else "text_schemas"
    known = {known for kind in KINDS for known in resources.names(kind)}
    hint = did_you_mean(name, known)
    raise UsageError(f"{name}: no dataset, pipeline or file of this name.{hint} All datasets: captioner schema list")
