"""UniMed's thirteen outputs: tars of numbered images and texts, from its annotation files or from a run's captions.

The facts come from UniMed-CLIP's documentation and preprocessing scripts (mbzuai-oryx/UniMed-CLIP, docs/UniMed-DATA.md and
data_prepration_scripts/, commit 6f09177). Where a script works, the tars here are byte for byte its own; ``docs/unimed.md``
lists where they are not, and why.
"""

from captioner.unimed.build import Built, build
from captioner.unimed.excluding import Excluding
from captioner.unimed.outputs import OUTPUTS, Output
from captioner.unimed.sources import Source, State, from_files, from_runs, look

__all__ = ["OUTPUTS", "Built", "Excluding", "Output", "Source", "State", "build", "from_files", "from_runs", "look"]
