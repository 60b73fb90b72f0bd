"""A whole run against a server that is faulty in every way that the benchmark knows, a few times each."""

import pytest

from benchmarks.faults import dataset, disagreeing, faulty
from captioner import run as running
from captioner.pipeline import load_pipeline
from tests.engines.asking import only_hangs_time_out
from tests.wrong import Model


@pytest.mark.parametrize("seed", range(2))
def test_whatever_a_server_does_a_run_completes_and_no_caption_disagrees_with_its_labels(tmp_path, monkeypatch, seed):
    with faulty(0.6, seed) as server:
        only_hangs_time_out(monkeypatch, server, 3.0)
        engine = {"model": "tiny", "base_url": server.base_url, "retry_wait": 0.01, "hedge": 0}
        plan = running.prepare(load_pipeline(dataset(tmp_path, 52) | {"engine": engine}))
        summary = running.execute(plan)
        assert isinstance(server.caption, Model)
        captions, bad = disagreeing(tmp_path, server.caption)
    assert bad == []
    assert (captions, summary.complete) == (520, True)
    assert len(server.caption.wrong) > 5
    assert len(set(server.served)) > 10
