"""The quickstart's plan: a fair comparison, and options that change it."""

from pathlib import Path

import pytest

from tools.quickstart import Budget, keep_budget, main, plan
from tools.report.quickstart import Results


def commands(budget):
    return {each.name: list(each.argv) for _, group in plan(Results(Path('W')), budget) for each in group}


@pytest.mark.parametrize('model', ['mask_rcnn', 'upernet'])
def test_plan__arms_differ_in_nothing_but_the_start(model):
    planned = commands(Budget())
    random, pretrained = planned[f'{model}_random'], planned[f'{model}_pretrained']
    assert len(random) == len(pretrained)
    different = {(a, b) for a, b in zip(random, pretrained, strict=True) if a != b}
    assert different == {
        ('random', f'W/mae/epoch_{Budget().epochs}.pth'),
        (f'W/{model}_random', f'W/{model}_pretrained'),
    }


def test_plan__seed_reaches_the_scenes_and_every_training():
    for name, argv in commands(Budget(seed=7)).items():
        if 'train.py' in argv[1] or 'make_shapes.py' in argv[1]:
            assert argv[argv.index('--seed') + 1] == '7', name


def test_scaled__less_of_everything_but_never_nothing():
    assert Budget(images=100, unlabelled=1000, epochs=20, iterations=200).scaled(0.1) == Budget(10, 100, 8, 20)
    smallest = Budget().scaled(0.0)
    assert min(smallest.images, smallest.unlabelled, smallest.epochs, smallest.iterations) > 0
    assert Budget().scaled(1.0) == Budget()


def test_keep_budget__another_budget_in_the_same_place_is_refused(tmp_path):
    keep_budget(tmp_path, Budget())
    keep_budget(tmp_path, Budget())
    with pytest.raises(ValueError, match='another --scale or --seed: use another --work-dir'):
        keep_budget(tmp_path, Budget(seed=1))


def test_main__refused_work_dir_is_a_message_and_exit_code_1(tmp_path, capsys):
    keep_budget(tmp_path, Budget(seed=1))
    assert main(['--work-dir', str(tmp_path), '--seed', '2']) == 1
    assert 'error:' in capsys.readouterr().err
