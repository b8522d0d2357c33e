"""Node IDs: the lowest that is free, and none that rests."""

import pytest

from wirecrypt.controller.node_ids import NodeIds, resting
from wirecrypt.errors import ObjectError
from wirecrypt.model.objects import SeedSecret
from wirecrypt.model.secret import SecretBytes
from wirecrypt.model.session import Epoch
from wirecrypt.rotation.phases import carried_on


def seed(number: int, released: tuple[int, ...] = (), carried: tuple[int, ...] = ()) -> SeedSecret:
    """Return the Secret of an epoch."""
    return SeedSecret(Epoch(number, f"{number:032x}"), SecretBytes(bytes(32)), released, carried)


def test_the_lowest_free_node_id_is_given_out() -> None:
    """IDs begin at 16 and fill gaps, up to the highest that an SPI has room for."""
    assert NodeIds([], [], []).take() == 16
    assert NodeIds(range(16, 65535), [], []).take() == 65535
    ids = NodeIds([16, 18], [], [])
    assert [ids.take(), ids.take(), ids.take()] == [17, 19, 20]


def test_an_id_that_lies_next_to_keys_is_that_nodes_alone() -> None:
    """It gets it again unless another has it by now, or it rests, and nobody else does before it."""
    ids = NodeIds([16], [17, 18, 19], [seed(1, released=(19,))])
    assert [ids.take(), ids.take(18), ids.take(18), ids.take(16), ids.take(19), ids.take(17)] == [20, 18, 21, 22, 23, 17]


def test_a_released_node_id_rests_until_a_full_epoch_has_passed() -> None:
    """An ID given up in epoch 1 is free again only when epoch 2, which began with it, is gone as well."""
    first = seed(1, released=(16,))
    assert NodeIds([], [], [first]).take() == 17
    second = seed(2, carried=carried_on([first]))
    assert resting([first, second]) == {16}
    assert NodeIds([], [], [second]).take() == 17
    third = seed(3, carried=carried_on([second]))
    assert NodeIds([], [], [second, third]).take() == 17
    assert NodeIds([], [], [third]).take() == 16


def test_no_free_node_id_is_an_error_with_a_next_step() -> None:
    """Nothing is given out twice, even when all are used."""
    with pytest.raises(ObjectError, match="rotate"):
        NodeIds(range(16, 65536), [], []).take()
