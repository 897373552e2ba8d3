"""The video encoder that ships: it opens as its family, and its features tell how a shape moves."""

import torch
from transformers import VideoMAEModel

import steerlab as sl
from steerlab.zoo import load
from steerlab.zoo.motion import Motion, random_motions, render_motion
from steerlab.zoo.motion_video import WEIGHTS
from steerlab.zoo.training.foresight import Foresight
from steerlab.zoo.training.probes import explained
from steerlab.zoo.training.video import BLOCK, CONFIG, features, truths

LOW = {"direction": 0.7, "speed": 0.8, "acceleration": 0.5}  # the card says more, with more clips


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def clip_of(motion, seed=0):
    return render_motion([motion], seeded(seed))[0]


def test_it_opens_as_a_proved_videomae():
    model = sl.load("zoo:motion-video")
    assert model.family.name == "videomae" and type(model.module) is VideoMAEModel
    assert not model.module.training
    assert {weight.dtype for weight in model.module.parameters()} == {torch.float32}
    assert len(model.sites("blocks.*.resid")) == CONFIG.num_hidden_layers
    assert model.doctor().refused == {}


def test_a_clip_is_read_by_token_and_by_frame_and_place():
    model = sl.load("zoo:motion-video")
    clips = [clip_of(Motion(direction=1.0, speed=2.0)), clip_of(Motion(direction=4.0, speed=1.0))]
    at = f"blocks.{BLOCK - 1}.resid"
    read = model.capture(clips, at)
    assert read[at].shape == (2, 128, 128)
    assert read.axes[model.site(at)] == ("batch", "token", "dim")
    grid = read.grid(at)
    assert grid.shape == (2, 8, 4, 4, 128)  # [batch, frame, row, column, dim]
    assert torch.equal(read[at], model.capture(torch.stack(clips), at)[at])  # no hidden change of scale
    assert torch.equal(read[at], model.capture(clips, at)[at])
    theirs = features(model.module, torch.stack(clips))
    assert torch.allclose(grid.mean((2, 3)).flatten(1), theirs, atol=1e-5)


def test_a_probe_reads_the_motion_and_finds_nothing_in_a_still_clip():
    model = load("motion-video").model
    motions = random_motions(800, seeded(77))
    clips = render_motion(motions, seeded(78))
    wanted = truths(motions)

    def scores(shown):
        seen, fitted = features(model, shown), len(shown) * 3 // 4
        return explained(seen[:fitted], wanted[:fitted], seen[fitted:], wanted[fitted : len(shown)])

    cos, sin, speed, acceleration = scores(clips).tolist()
    assert cos > LOW["direction"] and sin > LOW["direction"]
    assert speed > LOW["speed"] and acceleration > LOW["acceleration"]
    still = scores(clips[:400, 8, None].expand(400, *clips.shape[1:]))
    assert still.max() < 0.1


def test_the_weights_are_small_plain_tensors_with_a_card():
    files = {path.name: path.stat().st_size for path in WEIGHTS.iterdir()}
    assert set(files) == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "README.md",
        "evaluation.json",
    }
    assert sum(files.values()) < 4_000_000
    card = load("motion-video").card
    assert "Apache-2.0" in card and "python -m steerlab.zoo.training evaluate motion-video" in card


def test_two_loads_are_equal_and_independent():
    first, second = load("motion-video").model, load("motion-video").model
    clip = clip_of(Motion(direction=2.0, speed=1.5, acceleration=0.05))[None]
    with torch.no_grad():
        before = first(clip).last_hidden_state
        second.layernorm.weight.zero_()
        assert torch.equal(first(clip).last_hidden_state, before)
        assert not torch.equal(second(clip).last_hidden_state, before)


def test_targets_are_cut_in_the_order_of_tokens_and_the_scale_moves_into_the_weights():
    torch.manual_seed(0)
    learner = Foresight(CONFIG)
    clips = render_motion(random_motions(3, seeded(5)), seeded(6))
    projection = learner.encoder.embeddings.patch_embeddings.projection
    tubes = learner._tubes(clips)  # [clip, step, place, frame, pixel]
    kernel = projection.weight.transpose(1, 2).flatten(1)  # [dim, frame and pixel]
    ours = tubes.flatten(3) @ kernel.T + projection.bias
    theirs = learner.encoder.embeddings.patch_embeddings(clips).unflatten(1, (8, 16))
    assert torch.allclose(ours, theirs, atol=1e-5)
    with torch.no_grad():
        scaled = learner.encoder((clips - 0.5) / 0.25).last_hidden_state
        assert torch.allclose(learner.for_plain_pixels()(clips).last_hidden_state, scaled, atol=1e-4)
