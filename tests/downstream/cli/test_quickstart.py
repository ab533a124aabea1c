"""The quickstart's plan: a fair comparison, and options that change it."""

from pathlib import Path

import pytest

from downstream.cli.quickstart import Budget, keep_budget, main, plan
from downstream.report.quickstart import Results
from downstream.study.methods import BEIT, MAE, METHODS


def commands(budget, method=MAE):
    return {each.name: list(each.argv) for _, group in plan(Results(Path('W'), method), budget) for each in group}


@pytest.mark.parametrize('method', METHODS.values(), ids=METHODS)
@pytest.mark.parametrize('model', ['mask_rcnn', 'upernet'])
def test_plan__arms_differ_in_nothing_but_the_start(model, method):
    budget = Budget.of(method, seed=0)
    planned = commands(budget, method)
    random, pretrained = planned[f'{model}_random'], planned[f'{model}_pretrained']
    assert len(random) == len(pretrained)
    different = {(a, b) for a, b in zip(random, pretrained, strict=True) if a != b}
    assert different == {
        ('random', f'W/{method.name}/epoch_{budget.epochs}.pth'),
        (f'W/{model}_random', f'W/{model}_pretrained'),
    }


def test_plan__beit_trains_a_tokenizer_and_predicts_its_tokens():
    planned = commands(Budget.of(BEIT, seed=0), BEIT)
    order = list(planned)
    assert order.index('tokenizer') < order.index('beit') < order.index('mask_rcnn_random')
    assert f'model.target.tokenizer=W/tokenizer/epoch_{BEIT.tokenizer_epochs}.pth' in planned['beit']
    for name in ('mask_rcnn_random', 'upernet_pretrained', 'upernet_random_evaluation'):
        assert 'model.backbone.rel_pos=table' in planned[name]
    assert 'tokenizer' not in commands(Budget())


def test_plan__seed_reaches_the_scenes_and_every_training():
    for name, argv in commands(Budget(seed=7)).items():
        if 'train.py' in argv[1] or 'make_shapes.py' in argv[1]:
            assert argv[argv.index('--seed') + 1] == '7', name


def test_scaled__less_of_everything_but_never_nothing():
    assert Budget(100, 1000, 20, 10, 200).scaled(0.1) == Budget(10, 100, 8, 1, 20)
    smallest = Budget().scaled(0.0)
    assert min(smallest.images, smallest.unlabelled, smallest.epochs, smallest.iterations) > 0
    assert Budget().scaled(1.0) == Budget()


def test_keep_budget__another_budget_in_the_same_place_is_refused(tmp_path):
    keep_budget(tmp_path, Budget())
    keep_budget(tmp_path, Budget())
    with pytest.raises(ValueError, match='another --method, --scale or --seed: use another --work-dir'):
        keep_budget(tmp_path, Budget(seed=1))
    with pytest.raises(ValueError, match='another --method'):
        keep_budget(tmp_path, Budget(), BEIT.name)


def test_main__refused_work_dir_is_a_message_and_exit_code_2(tmp_path, capsys):
    keep_budget(tmp_path, Budget(seed=1))
    assert main(['--work-dir', str(tmp_path), '--seed', '2']) == 2
    assert 'error:' in capsys.readouterr().err
