"""tools/evaluate.py: JSON, tables, mistakes."""

import json

import cv2
import numpy as np
import pytest
import torch

from downstream.cli.evaluate import features_of, main, parse_args
from downstream.study.results import table


@pytest.fixture(scope='module')
def crops(tmp_path_factory):
    """Two classes told apart by their colour."""
    root = tmp_path_factory.mktemp('crops')
    rng = np.random.default_rng(0)
    for part, count in (('train', 6), ('val', 4)):
        for name, colour in (('dark', 40), ('light', 200)):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                image = rng.integers(colour - 40, colour + 40, (24, 24, 3), dtype=np.uint8)
                cv2.imwrite(str(root / part / name / f'{index}.png'), image)
    return root


RANDOM = ['random', '--variant', 'tiny', '--img-size', '32', '--data-root']


def test_evaluate__json_and_tables(crops, tmp_path, capsys):
    out = tmp_path / 'new' / 'results.json'
    assert (
        main([*RANDOM, str(crops), '--protocols', 'knn', 'linear', 'layers', '--seeds', '0', '1', '--out', str(out)])
        == 0
    )
    content = json.loads(out.read_text())
    assert content['checkpoint'] == 'random' and content['data'] == str(crops)
    assert {name: set(runs) for name, runs in content['protocols'].items()} == {
        'knn': {'0', '1'},
        'linear': {'0', '1'},
        'layers': {'0', '1'},
    }
    assert content['protocols']['linear']['0']['top1'] == 100
    assert content['protocols']['knn']['0'] == {'top1': 100.0, 'class_mean': 100.0, 'top1_k5': 100.0, 'top1_k1': 100.0}
    layers = content['protocols']['layers']['0']
    assert len(layers) == 13 and layers['top1'] == max(layers.values())
    assert 'torch' in content['versions']
    printed = capsys.readouterr().out
    assert printed.count('random on') == 3 and 'seed   1' in printed


@pytest.mark.parametrize(('pool', 'width'), [('class', 192), ('both', 384)])
def test_pool__changes_the_features(crops, pool, width):
    args = parse_args([*RANDOM, str(crops)])
    plain = features_of(args, 0, 'pooled')[0][0]
    args.pool = pool
    other = features_of(args, 0, 'pooled')[0][0]
    # Two views of 12 images.
    assert plain.shape == (2, 12, 192) and other.shape == (2, 12, width)
    assert not torch.allclose(plain, other[..., :192])


def test_img_size__changes_the_features(crops):
    args = parse_args([*RANDOM, str(crops)])
    plain = features_of(args, 0, 'layers')[0][0]
    args.img_size = 48
    assert not torch.allclose(plain, features_of(args, 0, 'layers')[0][0])


def test_table__mean_and_deviation():
    lines = table('knn', 'a on b', {'0': {'top1': 50.0}, '3': {'top1': 60.0}}).splitlines()
    assert lines[2].split() == ['top1', '55', '7.07', '50', '60']
    assert table('knn', 'a', {'0': {'top1': 50.0}}).splitlines()[2].split() == ['top1', '50', '-', '50']


def mistakes(crops, tmp_path):
    lacking = tmp_path / 'lacking'
    (lacking / 'train' / 'a').mkdir(parents=True)
    cv2.imwrite(str(lacking / 'train' / 'a' / '0.png'), np.zeros((8, 8, 3), np.uint8))
    yield [*RANDOM, str(tmp_path / 'nowhere')], 'no directory'
    yield [*RANDOM, str(lacking)], 'one class only'
    (lacking / 'train' / 'b').mkdir()
    yield [*RANDOM, str(lacking)], 'hold no image: b'
    cv2.imwrite(str(lacking / 'train' / 'b' / '0.png'), np.zeros((8, 8, 3), np.uint8))
    yield [*RANDOM, str(lacking)], 'no val directory'
    for name in 'ac':
        (lacking / 'val' / name).mkdir(parents=True)
        cv2.imwrite(str(lacking / 'val' / name / '0.png'), np.zeros((8, 8, 3), np.uint8))
    yield [*RANDOM, str(lacking)], 'only one has b, c (2 in all)'
    yield ['random', '--data-root', str(crops)], "'random' needs --variant and --img-size"
    yield ['nowhere.pth', '--data-root', str(crops)], 'nowhere.pth'
    both = ['--protocols', 'knn', 'finetune', 'linear_full', '--pool', 'both']
    yield [*RANDOM, str(crops), *both], '--pool both means nothing to finetune, linear_full: run that without --pool'
    yield [*RANDOM, str(crops), '--protocols', 'layers', '--pool', 'mean'], '--pool mean means nothing to layers'
    broken = tmp_path / 'broken.pth'
    broken.write_bytes(b'no weights')
    yield [str(broken), '--data-root', str(crops)], 'broken.pth'


def test_evaluate__mistakes_take_one_line(crops, tmp_path, capsys):
    for arguments, message in mistakes(crops, tmp_path):
        assert main(arguments) == 2, arguments
        printed = capsys.readouterr()
        assert message in printed.err and printed.err.count('\n') == 1 and not printed.out


def test_evaluate__figures_before_a_mistake_are_kept(tmp_path, capsys):
    for part in ('train', 'val'):
        for name, colour in (('dark', 40), ('light', 200)):
            (tmp_path / part / name).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / part / name / '0.png'), np.full((24, 24, 3), colour, np.uint8))
    out = tmp_path / 'results.json'
    # The probe keeps a part of the training images for the choice of its learning rate.
    assert main([*RANDOM, str(tmp_path), '--protocols', 'knn', 'linear', '--out', str(out)]) == 2
    printed = capsys.readouterr()
    assert 'each class has one training image' in printed.err and printed.out.startswith('knn: random on')
    assert list(json.loads(out.read_text())['protocols']) == ['knn']
    assert json.loads(out.read_text())['protocols']['knn']['0']['top1'] == 100
