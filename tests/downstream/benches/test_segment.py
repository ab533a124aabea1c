"""The bench of segmentation on tiny networks."""

import pytest
import torch

from downstream.benches import segment
from downstream.benches.segment import BENCHES, Case, build_ours, build_peer, metas, run_features, run_slide

TINY = Case(
    variant=dict(embed_dim=32, depth=4, num_heads=2), channels=16, classes=5, image=(80, 150), crop=64, stride=43
)


def test_case__windows_of_the_claim():
    assert Case().windows == 18
    assert Case().taps == [3, 5, 7, 11]


@torch.no_grad()
def test_segmentors__same_image_same_scores():
    peer = build_peer(TINY)
    ours, images = build_ours(TINY, peer), torch.randn(2, 3, 80, 150)
    assert type(peer.backbone).__module__.startswith('mmseg') and type(ours.backbone).__module__.startswith('backbones')
    assert type(peer).__name__ == 'EncoderDecoder' and type(ours).__name__ == 'FastEncoderDecoder'
    expected = peer.slide_inference(images, metas(images))
    assert torch.allclose(ours.slide_inference(images, metas(images)), expected, atol=1e-5)
    assert expected.std() > 1e-3


def test_slide__sums_of_windows_and_merge():
    image, merge = run_slide(TINY, seconds=0.0)
    assert image[0] > 0 and merge[0] > 0
    detail = image[1]
    assert detail['windows'] == 6
    for name in ('ours', 'peer'):
        expected = 6 * detail[name]['window']['median_s'] + merge[1][name]['median_s']
        assert detail[name]['image_s'] == pytest.approx(expected, abs=1e-3)
    # Upsampled maps are not convolved.
    assert detail['gflops_of_a_window']['ours'] < detail['gflops_of_a_window']['peer']
    assert max(detail['difference'], merge[1]['difference']) < 1e-4


def test_features__timed_once_equal(monkeypatch):
    [(measured, detail)] = run_features(TINY, seconds=0.0)
    assert measured > 0 and detail['difference'] < 1e-4

    def other(case, peer):
        ours = build_ours(case, peer)
        torch.nn.init.ones_(ours.backbone.blocks[0].attn.proj.bias)
        return ours

    monkeypatch.setattr(segment, 'build_ours', other)
    with pytest.raises(RuntimeError, match='maps of the pyramid: ours and the peer differ'):
        run_features(TINY, seconds=0.0)


def test_benches__the_promised_rows():
    rows = {(claim.work, claim.target) for bench in BENCHES for claim in bench.claims}
    assert rows == {
        ('MAE-B + pyramid 512 px, forward', '<= 0.78 x time'),
        ('UperNet ViT-B sliding-window inference 1024x2048', '<= 0.88 x time'),
        ('merge of the windows alone', '<= 0.25 x time'),
    }
