import csv

import cv2

from downstream.report.sweep import Row, draw_sweep, short, write_table

AXES = ['model.mask_ratio', 'model.decoder.depth']
ROWS = [
    Row((ratio, depth), seed, float(ratio) * int(depth) + seed / 10)
    for ratio in ('0.3', '0.75')
    for depth in ('1', '2')
    for seed in (0, 1)
]


def test_write_table__a_row_per_run(tmp_path):
    write_table(tmp_path / 'a.csv', AXES, 'acc', [ROWS[0], Row(('0.3', '2'), 1, None)])
    with (tmp_path / 'a.csv').open() as file:
        assert list(csv.reader(file)) == [[*AXES, 'seed', 'acc'], ['0.3', '1', '0', '0.3'], ['0.3', '2', '1', '']]


def colours(path):
    """Which of the lines' colours are in a picture."""
    pixels = cv2.imread(str(path))[:, :, ::-1].reshape(-1, 3).tolist()
    return {colour for colour in ((0xB0, 0x56, 0x3A), (0x2B, 0x6C, 0xB0)) if list(colour) in pixels}


def test_draw_sweep__a_line_per_value_of_the_second_axis(tmp_path):
    draw_sweep(tmp_path / 'two.png', AXES, 'acc', ROWS)
    shallow = [Row(row.values[:1], row.seed, row.measured) for row in ROWS if row.values[1] == '1']
    draw_sweep(tmp_path / 'one.png', AXES[:1], 'acc', shallow)
    assert len(colours(tmp_path / 'two.png')) == 2
    assert len(colours(tmp_path / 'one.png')) == 1


def test_draw_sweep__words_and_failures(tmp_path):
    rows = [Row(('random',), 0, 0.5), Row(('block',), 0, None), Row(('grid',), 0, 0.7)]
    draw_sweep(tmp_path / 'a.png', ['model.mask'], 'acc', rows)
    assert len(colours(tmp_path / 'a.png')) == 1
    draw_sweep(tmp_path / 'none.png', ['model.mask'], 'acc', rows[1:2])
    assert not colours(tmp_path / 'none.png')


def test_short__for_a_reader():
    assert short('model.decoder.embed_dim') == 'decoder embed dim'
