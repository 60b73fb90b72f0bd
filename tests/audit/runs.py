"""Runs of the demo's dataset with different prompts and engines, made once."""

from captioner.demo import make_dataset
from captioner.pipeline import load_pipeline
from captioner.run import execute, prepare
from tests.engines.faulty import FaultyServer
from tests.model import careful, careless


def make_runs(folder):
    """Folders of four runs: a careless and a careful model, and two prompts of the built-in writer."""
    make_dataset(folder / "data")
    out = folder / "out"

    def run(name, *settings):
        base = [f"data.root={folder / 'data'}", f"out={out}", f"name={name}"]
        execute(prepare(load_pipeline("demo", [*base, *settings])))
        return out / "runs" / name

    found = {}
    for name, caption in (("careless", careless), ("careful", careful)):
        with FaultyServer(caption=caption) as server:
            settings = (f"engine.base_url={server.base_url}", "engine.model=tiny", "price.input=1", "price.output=4")
            found[name] = run(name, *settings)
    found["template"] = run("template", "prompt=template")
    found["plain"] = run("plain", "prompt=plain")
    return found
