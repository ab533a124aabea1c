from backbones.checkpoint.report import Report


def test_report__table_folds_blocks_and_groups_reasons():
    report = Report(
        'mae.pth',
        'official MAE with decoder',
        loaded=[f'blocks.{i}.norm1.bias' for i in range(12)],
        resized={'pos_embed': ((1, 197, 8), (1, 1025, 8))},
        kept={f'blocks.{i}.attn.rel_pos_h': 'start at zero' for i in range(12)},
        left_over={'mask_token': 'MAE decoder', 'decoder_norm.bias': 'MAE decoder', 'head.bias': 'head'},
        missing=['cls_token'],
        unexpected=[f'part{i}' for i in range(9)],
        mismatched={f'blocks.{i}.norm1.bias': ((8,), (16,)) for i in range(2)},
    )
    assert str(report).splitlines() == [
        'checkpoint   mae.pth',
        'format       official MAE with decoder',
        'loaded       12 tensors',
        'resized      pos_embed: (1, 197, 8) -> (1, 1025, 8)',
        'kept as is   blocks.*.attn.rel_pos_h (12): start at zero',
        'left over    mask_token, decoder_norm.bias: MAE decoder',
        'left over    head.bias: head',
        'missing      cls_token',
        'unexpected   part0, part1, part2, part3, part4, part5 and 3 more',
        'wrong shape  blocks.*.norm1.bias (2): (8,) in the file, the model has (16,)',
    ]


def test_report__complete():
    assert Report('a', 'timm', loaded=['x'], kept={'y': 'why'}, left_over={'z': 'why'}).complete
    assert not Report('a', 'timm').complete
    assert not Report('a', 'timm', loaded=['x'], missing=['y']).complete
    assert not Report('a', 'timm', loaded=['x'], unexpected=['y']).complete
    assert not Report('a', 'timm', loaded=['x'], mismatched={'y': ((1,), (2,))}).complete
