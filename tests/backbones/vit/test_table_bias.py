"""The kept bias of BEiT's tables: the same numbers as a new one, after every change of table, grid and mode."""

import copy
import pickle

import pytest
import torch

from backbones.vit import rel_pos_table
from backbones.vit.rel_pos_table import TableBias, table_bias, table_rows


@pytest.fixture
def table():
    return torch.nn.Parameter(torch.randn(table_rows((3, 4)), 2))


@pytest.fixture
def kept():
    return TableBias((3, 4)).eval()


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_table_bias__kept_in_inference(table, kept, mode):
    with mode():
        first = kept(table, (3, 4), 13)
        assert kept(table, (3, 4), 13) is first
        assert torch.equal(first, table_bias(table, (3, 4), (3, 4)))


def test_table_bias__new_where_something_changes(table, kept):
    with torch.no_grad():
        first = kept(table, (3, 4), 13)
        table.mul_(2)
        torch.testing.assert_close(kept(table, (3, 4), 13), 2 * first)
        torch.testing.assert_close(kept(table, (3, 4), 12), 2 * first[:, 1:, 1:])
        assert kept(table, (2, 5), 11).shape == (2, 11, 11)
        torch.testing.assert_close(kept(table.double(), (3, 4), 13), 2 * first.double())


def test_table_bias__written_through_data_and_evaluated(table, kept):
    # As mmengine's EMA swaps weights, before it switches the mode.
    with torch.no_grad():
        first = kept(table, (3, 4), 13)
        table.data.mul_(2)
        kept.eval()
        torch.testing.assert_close(kept(table, (3, 4), 13), 2 * first)


def test_table_bias__gradients_and_training_keep_nothing(table, kept):
    with torch.no_grad():
        kept(table, (3, 4), 13)
    kept(table, (3, 4), 13).sum().backward()
    assert table.grad.sum() == 2 * 13 * 13
    with torch.no_grad():
        kept.train()
        assert kept(table, (3, 4), 13) is not kept(table, (3, 4), 13)


def test_table_bias__all_layers_keep_a_bounded_amount(table, monkeypatch):
    size = 2 * 13 * 13 * 4
    monkeypatch.setattr(rel_pos_table, 'KEPT_BYTES', rel_pos_table.kept_bytes(torch.device('cpu')) + 2 * size)
    layers = [TableBias((3, 4)).eval() for _ in range(4)]

    def keeping():
        return [layer(table, (3, 4), 13) is layer(table, (3, 4), 13) for layer in layers]

    with torch.no_grad():
        biases = [layer(table, (3, 4), 13) for layer in layers]
        assert all(torch.equal(bias, biases[0]) for bias in biases)
        assert keeping() == [True, True, False, False]
        # Room that is given back is taken by others; another grid takes the place of the one before.
        layers[0].eval()
        assert keeping() == [True, True, False, False]
        layers[1].train()
        assert layers[1](table, (3, 4), 13) is not layers[1](table, (3, 4), 13)
        assert keeping() == [True, False, True, False]
        del layers[0]
        assert keeping() == [False, True, True]
        assert layers[1](table, (3, 3), 10) is layers[1](table, (3, 3), 10)


def test_table_bias__copies_and_files_keep_nothing(table, kept):
    with torch.no_grad():
        kept(table, (3, 4), 13)
        empty = len(pickle.dumps(TableBias((3, 4)).eval()))
        assert len(pickle.dumps(kept)) == empty
        copied = copy.deepcopy(kept)
        assert copied._kept is None and kept._kept is not None
        torch.testing.assert_close(copied(table, (3, 4), 13), kept(table, (3, 4), 13))
