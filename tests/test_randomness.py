from deepfake_ms.randomness import key


def test_keys_are_stable_and_depend_on_type_and_order_of_parts():
    assert key("step", 0, "1_masked_eyes", 3, 7, 0) == 3700873287838866749
    assert len({key("a", 1), key("a", "1"), key("a1"), key(1, "a"), key("a", 11), key("a", 1, 1)}) == 6
    assert 0 <= key("a") < 2**63
