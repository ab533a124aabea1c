"""The module in place of the compiled one: installed, complete while importing, honest about what it lacks."""

import ast
import importlib
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import mmcv.ops
import pytest
import torch
from mmengine.utils.dl_utils.misc import mmcv_full_available

from backbones.openmmlab import pairing, prepare
from backbones.openmmlab.operators.served import OPERATORS
from tests.backbones.openmmlab.subprocesses import python


def test_prepare__again_changes_nothing():
    module, finders = sys.modules['mmcv._ext'], list(sys.meta_path)
    prepare()
    assert sys.modules['mmcv._ext'] is module
    assert sys.meta_path == finders


def test_prepare__everything_upstream_imports():
    result = python(
        'import backbones, mmdet.models, mmdet.datasets, mmdet.apis, mmseg.models, mmseg.datasets, mmseg.apis\n'
        'from mmcv.utils import collect_env\n'
        'print(collect_env()["MMCV Compiler"])'
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == 'not compiled: operators of torchvision and torch'


def test_upstream__needs_the_stand_in():
    result = python('import mmcv.ops')
    assert "No module named 'mmcv._ext'" in result.stderr


@pytest.mark.slow
def test_upstream__imported_too_early_works_after_backbones():
    """As in a notebook: the cell fails, a line is added, the cell runs."""
    result = python(
        'try:\n    import mmdet.apis\nexcept ModuleNotFoundError as error:\n    print(error.name)\n'
        'import backbones, mmdet.apis, mmseg.apis\nprint("fine")'
    )
    assert result.stdout.split() == ['mmcv._ext', 'fine'], result.stderr


def test_stand_in__does_not_pretend_to_be_compiled():
    assert find_spec('mmcv._ext').loader is None
    assert not mmcv_full_available()


def asked_for():
    """Names of the operators that mmcv's files load."""
    for path in Path(mmcv.ops.__file__).parent.glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith('load_ext'):
                yield from ast.literal_eval(node.args[1])


def test_stand_in__serves_the_listed_operators_and_names_the_others():
    module = importlib.import_module('mmcv._ext')
    names = set(asked_for())
    served = set(OPERATORS)
    assert served <= names
    # What the detectors and segmentors of our configs call.
    assert served >= {'nms', 'roi_align_forward', 'roi_align_backward', 'bbox_overlaps', 'sigmoid_focal_loss_forward'}
    assert names - served
    for name in names - served:
        with pytest.raises(NotImplementedError, match=f"operator '{name}' needs a compiled mmcv.*pip install.*mmcv"):
            getattr(module, name)(1, key=2)


def test_stand_in__unserved_operator_through_mmcv():
    with pytest.raises(NotImplementedError, match="'roi_pool_forward' needs a compiled mmcv"):
        mmcv.ops.roi_pool(torch.zeros(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]), 2)


def test_versions__as_collect_env_prints_them():
    assert mmcv.ops.get_compiler_version() == 'not compiled: operators of torchvision and torch'
    assert mmcv.ops.get_compiling_cuda_version() == (torch.version.cuda or 'not available')


def full_mmcv(folder, extension, content):
    """A copy of the installed mmcv with one more file, as a compiled mmcv has it."""
    package = folder / 'mmcv'
    package.mkdir()
    for entry in Path(mmcv.__file__).parent.iterdir():
        (package / entry.name).symlink_to(entry)
    (package / extension).write_text(content)


def test_compiled_mmcv__is_used_untouched(tmp_path):
    content = "origin = 'compiled'\n\ndef __getattr__(name):\n    return lambda *args, **kwargs: 'compiled ' + name\n"
    full_mmcv(tmp_path, '_ext.py', content)
    result = python(
        'import backbones, mmcv.ops.bbox as ops, mmcv._ext\n'
        'print(mmcv._ext.origin, ops.ext_module is mmcv._ext, ops.ext_module.nms(1))',
        tmp_path,
    )
    assert result.stdout.strip() == 'compiled True compiled nms', result.stderr


def test_compiled_mmcv__broken_one_is_not_hidden(tmp_path):
    full_mmcv(tmp_path, f'_ext{EXTENSION_SUFFIXES[0]}', 'not a library')
    result = python('import backbones, mmcv.ops', tmp_path)
    assert result.stderr.strip().splitlines()[-1].startswith('ImportError')
    assert f'_ext{EXTENSION_SUFFIXES[0]}' in result.stderr


def fake_torchvision(folder, body, version='0.1.2+cpu'):
    """A torchvision whose import does what a build for another torch does."""
    (folder / 'torchvision').mkdir()
    (folder / 'torchvision' / '__init__.py').write_text(body)
    metadata = folder / f'torchvision-{version}.dist-info'
    metadata.mkdir()
    (metadata / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: torchvision\nVersion: {version}\n')


@pytest.mark.parametrize(
    ('body', 'reason'),
    [
        (
            "import torch\ntorch.library.register_fake('torchvision::nms')(lambda: None)",
            'operator torchvision::nms does not exist',
        ),
        ("raise RuntimeError('compiled with different CUDA major versions')", 'different CUDA major versions'),
        # newer torchvisions keep quiet when their library does not load
        ('', 'its operators could not be loaded'),
    ],
)
def test_pairing__torchvision_for_another_torch(tmp_path, body, reason):
    fake_torchvision(tmp_path, body)
    result = python('import backbones, mmengine', tmp_path)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError: torchvision 0.1.2+cpu does not work with torch ' + torch.__version__), last
    assert reason in last
    assert 'the same package index' in last


def test_pairing__looked_at_again_where_an_operator_is_needed(tmp_path):
    fake_torchvision(tmp_path, '', version='0.1.2')
    assert python('import backbones, mmengine', tmp_path).returncode == 0
    result = python('import backbones, mmcv.ops', tmp_path)
    assert 'its operators could not be loaded' in result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ('torch_is', 'torchvision_is', 'wanted', 'paired'),
    [
        ('2.14.1', '0.29.1', ['torch==2.14.1', 'numpy'], True),
        ('2.14.1+cpu', '0.29.1+cpu', ['torch (==2.14.1)'], True),
        ('2.14.1', '0.29.1', None, True),
        ('2.15.0', '0.29.1', ['numpy', 'torch==2.14.1'], False),
        ('2.14.1+cpu', '0.29.1', ['torch==2.14.1'], False),
    ],
)
def test_pairing__by_what_the_packages_say(torch_is, torchvision_is, wanted, paired, monkeypatch):
    versions = {'torch': torch_is, 'torchvision': torchvision_is}
    monkeypatch.setattr(pairing, 'version', versions.__getitem__)
    monkeypatch.setattr(pairing, 'requires', lambda name: wanted)
    assert pairing.looks_paired() is paired


def test_pairing__of_packages_that_say_nothing(monkeypatch):
    def unknown(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(pairing, 'version', unknown)
    assert not pairing.looks_paired()


@pytest.mark.parametrize(
    ('build', 'gpu', 'refused'),
    [
        ('cuda 13.0, torchvision for it', True, False),
        ('cuda 13.0, torchvision for the CPU', True, True),
        ('cuda 13.0, torchvision for the CPU', False, False),
        # torchvision names a CUDA version in CUDA builds alone
        ('rocm', True, False),
        ('cpu', False, False),
    ],
)
def test_pairing__builds(build, gpu, refused, monkeypatch):
    monkeypatch.setattr(torch.version, 'cuda', '13.0' if build.startswith('cuda') else None)
    monkeypatch.setattr(torch.version, 'hip', '6.4' if build == 'rocm' else None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    seen = 13000 if build.endswith('for it') else -1
    monkeypatch.setattr(torch.ops.torchvision, '_cuda_version', lambda: seen, raising=False)
    if not refused:
        pairing.check_pairing()
        return
    with pytest.raises(ImportError, match=r'built for the CPU only.*the same package index'):
        pairing.check_pairing()


NEWER = "import mmcv, mmcv.version\nmmcv.__version__ = mmcv.version.__version__ = '{version}'\n"


@pytest.mark.parametrize('version', ('2.2.0', '2.3.1'))
def test_newer_mmcv__is_accepted_with_one_warning(version):
    result = python(
        NEWER.format(version=version)
        + 'import backbones\nbackbones.prepare()\nimport mmdet, mmseg\nprint(mmcv.__version__)'
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == version
    warnings = [line for line in result.stderr.splitlines() if 'version check' in line]
    assert warnings == [f'mmcv {version}: the version check of mmdet and mmseg, which ends below 2.2, is passed over']


def test_newer_mmcv__the_packages_files_are_found():
    result = python(
        NEWER.format(version='2.2.0') + 'import backbones, importlib.resources, importlib.util, inspect, pkgutil\n'
        "spec = importlib.util.find_spec('mmdet')\n"
        "print(spec.loader.is_package('mmdet'), len(spec.loader.get_data(spec.origin)) > 0)\n"
        "print(pkgutil.get_data('mmseg', 'version.py')[:1])\n"
        'import mmdet, mmseg\n'
        "print((importlib.resources.files('mmdet') / 'version.py').is_file(), 'mmcv' in inspect.getsource(mmdet))\n"
        'print(type(mmdet.__loader__).__name__, type(mmdet.__spec__.loader).__name__)'
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ['True', 'True', "b'#'", 'True', 'True', 'SourceFileLoader', 'SourceFileLoader']


def test_newer_mmcv__is_refused_upstream():
    result = python(NEWER.format(version='2.2.0') + 'import mmdet')
    assert 'MMCV==2.2.0 is used but incompatible' in result.stderr


def test_older_mmcv__version_check_stays():
    result = python(NEWER.format(version='1.9.0') + 'import backbones, mmdet')
    assert 'MMCV==1.9.0 is used but incompatible' in result.stderr
    assert 'version check' not in result.stderr
