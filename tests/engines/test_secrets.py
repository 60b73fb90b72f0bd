"""What of an engine's settings is written into a run's folder."""

from captioner.engines.secrets import without_secrets


def test_nothing_that_may_hold_a_key_is_written_down_at_any_depth() -> None:
    key = "sk-hush-hush"
    safe = without_secrets(
        {
            "model": "tiny",
            "base_url": f"http://me:{key}@a/v1?key={key}",
            "proxy": f"http://me:{key}@proxy:3128",
            "headers": {"api-key": key},
            "extra_body": {"token": key},
            "endpoints": [
                {
                    "base_url": f"http://me:{key}@b/v1?key={key}",
                    "weight": 2,
                    "headers": {"X": key},
                    "extra_body": {"t": key},
                }
            ],
        }
    )
    assert key not in str(safe)
    assert safe["base_url"] == "http://a/v1"
    assert safe["proxy"] == "http://proxy:3128"
    assert safe["headers"] == {"api-key": "(not stored)"}
    assert safe["endpoints"][0] == {
        "base_url": "http://b/v1",
        "weight": 2,
        "headers": {"X": "(not stored)"},
        "extra_body": {"t": "(not stored)"},
    }


def test_a_list_of_addresses_is_written_down_without_their_secrets() -> None:
    safe = without_secrets({"base_url": ["http://a/v1?key=hush", "http://me:hush@b/v1"]})
    assert safe == {"base_url": ["http://a/v1", "http://b/v1"]}


def test_what_is_no_secret_stays_as_it_is() -> None:
    given = {"name": "vllm", "model": "m", "chunk": 5, "engine_args": {"max_model_len": 10}}
    assert without_secrets(given) == given
