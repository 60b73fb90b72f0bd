"""What a model says over HTTP in tests: captions made from the question, right or wrong as a test wants."""

import hashlib
import json
import re
from typing import Any

FRAMES = (
    "{view} showing {findings}.",
    "{findings} on this {view}.",
    "This {view} demonstrates {findings}.",
    "The {view} reveals {findings}.",
    "{findings} is seen on the {view}.",
    "{view} with {findings}.",
    "There is {findings} on the {view} presented here.",
    "{findings} can be identified in this {view}.",
    "Here, {findings} is depicted by {view}.",
    "Evident on this {view}: {findings}.",
    "The image is a {view} that displays {findings}.",
    "An example of {findings}, as shown by {view}.",
    "Findings on {view} consist of {findings}.",
    "{view}, in which {findings} is apparent.",
)


def _facts(body: dict[str, Any]) -> tuple[str, list[str], int, int]:
    """Return view, findings, how many captions are wanted, and how many times this was asked before."""
    question = next(m["content"] for m in body["messages"] if m["role"] == "user")
    view = re.search(r"Image: (.+)", question)[1]
    findings = re.findall(r"^(?:Finding|Shown): (.+?)(?: \(.*)?$", question, re.MULTILINE)
    wanted = int(re.search(r"Write (\d+)", body["messages"][-1]["content"])[1])
    return view, findings, wanted, sum(m["role"] == "assistant" for m in body["messages"])


def careful(body: dict[str, Any]) -> str:
    """As many right captions as are wanted; other ones when asked again."""
    view, findings, wanted, again = _facts(body)
    start = wanted * again + body.get("seed", 0) % 3
    frames = [FRAMES[(start + i) % len(FRAMES)] for i in range(wanted)]
    texts = [f.format(view=view, findings=" and ".join(findings)) for f in frames]
    return json.dumps({"captions": [t[0].upper() + t[1:] for t in texts]})


def careless(body: dict[str, Any]) -> str:
    """As :func:`careful`, but about a third of the first answer is wrong: denied, hedged, or of another thing."""
    captions = json.loads(careful(body))["captions"]
    view, findings, _, again = _facts(body)
    if again:
        return json.dumps({"captions": captions})
    faults = (
        f"{view} without {findings[0]}.",
        f"Possible {findings[0]} on this {view}.",
        f"{view} of a 63-year-old man with {' and '.join(findings)}.",
        "Brain MRI with a glioma.",
        f"Is there {findings[0]} on this {view}?",
    )
    for i, caption in enumerate(captions):
        draw = int(hashlib.sha256(caption.encode()).hexdigest(), 16)
        if draw % 3 == 0:
            captions[i] = faults[draw % len(faults)]
    return json.dumps({"captions": captions})
