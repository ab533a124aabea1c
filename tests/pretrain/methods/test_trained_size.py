"""A model that was trained on crops of another size than its grid is judged and drawn at the size of the crops."""

import cv2
import numpy as np
import torch
from mmengine.config import Config

from backbones.checkpoint.config_text import trained_size
from downstream.cli.reconstruct import main as reconstruct
from pretrain.evaluation.frozen import load_frozen
from pretrain.methods.restore import build_model, load_model
from pretrain.pictures.restored import GAP, HEADER, picture
from tests.helpers import randomise
from tests.pretrain.methods.test_restore import model_config


def save(path, **loader):
    made = model_config()
    loader = dict(train_dataloader=dict(batch_size=2, **loader)) if loader else {}
    text = Config(dict(model=made, **loader)).pretty_text
    torch.save({'state_dict': randomise(build_model(made)).state_dict(), 'meta': {'cfg': text}}, path)
    return made['encoder']


def test_trained_size__from_the_config_of_the_data():
    def of(dataset):
        return trained_size(Config(dict(train_dataloader=dict(dataset=dataset))).pretty_text)

    assert of(dict(type='UnlabelledImages', crop_size=160)) == (160, 160)
    assert of(dict(type='UnlabelledImages', crop_size=(96, 160))) == (96, 160)
    assert of(dict(type='LabelledImages', transform=dict(type='TrainTransform', size=384))) == (384, 384)
    for other in (dict(type='CocoDataset', pipeline=[]), dict(type='UnlabelledImages', crop_size='large')):
        assert of(other) is None
    assert trained_size('model = dict()') is None


def test_trained_size__of_evaluation_and_pictures(tmp_path):
    encoder = save(tmp_path / 'a.pth')
    save(tmp_path / 'b.pth', dataset=dict(type='UnlabelledImages', crop_size=(16, 24)))
    grid = encoder['img_size']
    assert load_frozen(tmp_path / 'a.pth').size == grid
    assert load_frozen(tmp_path / 'b.pth').size == (16, 24)
    assert load_frozen(tmp_path / 'b.pth', img_size=32).size == 32
    cv2.imwrite(str(tmp_path / 'x.png'), np.full((40, 40, 3), 90, np.uint8))
    model = load_model(tmp_path / 'b.pth')
    assert model.image_size == (16, 24)
    assert picture(model, [tmp_path / 'x.png']).shape == (16 + GAP + 2 * HEADER, 3 * (24 + GAP), 3)
    out = tmp_path / 'out.png'
    reconstruct([str(tmp_path / 'b.pth'), str(tmp_path / 'x.png'), '--mask-ratio', '0.5', '--out', str(out)])
    assert cv2.imread(str(out)).shape[0] == 16 + GAP + 2 * HEADER
