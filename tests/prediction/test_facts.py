"""Facts of a detector from a file: every missing or impossible value is found, at any depth."""

import copy
import json

import numpy as np
import pytest

from deepfake_ms.errors import UserError
from deepfake_ms.prediction.detector import TrainedDetector
from deepfake_ms.prediction.facts import find_fault

OF_ANY_KIND = {"data", "model", "seed", "fingerprint"}
"""Keys of `about` that predictions repeat as they are."""
IMPOSSIBLE = [[], {}, ["x"], {"x": 1}, [None], float("nan"), float("inf"), 10**400, "\ud800"]


def paths(value: object, above: tuple = ()):
    """Every key at any depth; of a list, the first and last position."""
    inside = value.items() if isinstance(value, dict) else [(0, value[0]), (-1, value[-1])] if value else ()
    for name, each in inside:
        yield (*above, name)
        if isinstance(each, dict | list):
            yield from paths(each, (*above, name))


def changed(facts: dict, path: tuple, value: object) -> dict:
    """A copy with another value at a path, or, for KeyError, without it."""
    facts = copy.deepcopy(facts)
    inner = facts
    for name in path[:-1]:
        inner = inner[name]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return facts


def test_a_detectors_own_facts_have_no_fault(loaded):
    assert find_fault(loaded.facts()) is None
    assert find_fault(json.loads(json.dumps(loaded.facts()))) is None


def test_what_is_missing_at_any_depth_is_found(loaded):
    facts = loaded.facts()
    optional = {("about", name) for name in facts["about"]} - {
        ("about", "protocol_card"),
        ("about", "checkpoint_sha256"),
        ("about", "code"),
    }
    wanted = [path for path in paths(facts) if path[:2] not in optional and path[:2] != ("about", "protocol_card")]
    assert len(wanted) > 30
    accepted = [path for path in wanted if find_fault(changed(facts, path, KeyError)) is None]
    assert accepted == []


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=[repr(each)[:12] for each in IMPOSSIBLE])
def test_values_of_the_wrong_kind_are_found_at_any_depth(loaded, value):
    facts = loaded.facts()
    accepted = {path for path in paths(facts) if find_fault(changed(facts, path, value)) is None}
    plain = {path for path in accepted if OF_ANY_KIND & set(path) and path[0] == "about"}
    plain |= {("about", "protocol_card")} if value == {} else set()  # no field of the card is needed
    plain |= {("preparation", "pipeline_version")} if value == 10**400 else set()  # refused as another version
    text = {("name",)} | {path for path in paths(facts) if path[0] == "about"} if isinstance(value, str) else set()
    assert accepted <= plain | text
    if isinstance(value, float):
        assert accepted == set(), "predictions are JSON without NaN"


@pytest.mark.parametrize("facts", [None, [], "x", 3, {}])
def test_something_else_is_no_facts(facts):
    assert find_fault(facts)


def test_the_statistics_must_be_those_of_this_version(loaded):
    reference = {**loaded.facts()["reference"], "mean": [0.0, 0.0], "precision": [[1.0, 0.0], [0.0, 1.0]]}
    assert "14" in find_fault({**loaded.facts(), "reference": reference})


def test_a_fault_is_one_sentence(loaded):
    facts = changed(loaded.facts(), ("preparation", "face"), "x" * 10_000)
    with pytest.raises(UserError, match=r"face=x+.*: copy or export the folder again\.$") as caught:
        TrainedDetector.from_facts(facts, loaded.model)
    assert len(str(caught.value)) < 400


def test_weights_that_are_not_finite_are_one_sentence(loaded):
    broken = copy.deepcopy(loaded)
    with np.errstate(all="ignore"):
        for parameter in broken.model.parameters():
            parameter.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite: its weights are damaged"):
        broken.probabilities(np.zeros((1, 3, 32, 32), np.uint8))
