"""Guidance with a forward of its own for each branch: named passes, guiders, two denoisers with one count."""

from __future__ import annotations

import diffusers
import pytest
import tiny
import torch
from denoising import seen
from diffusers.guiders import AdaptiveProjectedGuidance, ClassifierFreeGuidance
from diffusers.modular_pipelines.stable_diffusion_xl import StableDiffusionXLAutoBlocks

import steerlab as sl
from steerlab.families import Attention, Block, Denoiser, Family
from steerlab.families.inputs import pipeline_inputs
from steerlab.families.token_maps import latent_tokens

VECTOR = torch.linspace(0.5, 1.0, 4)
SIZES = {"patch_size": (1, 2, 2), "num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2}
SIZES |= {"in_channels": 4, "out_channels": 4, "text_dim": 32, "freq_dim": 16, "ffn_dim": 32}
VAE = {"base_dim": 4, "z_dim": 4, "num_res_blocks": 1, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
RUN = {"height": 16, "width": 16, "num_frames": 5, "output_type": "latent", "max_sequence_length": 16}


def part(name: str) -> Attention:
    projections = tuple(f"{name}.to_{letter}" for letter in "qkv")
    return Attention(name, f"{name}.to_out.0", projections=projections, heads=f"{name}.heads")


def proof(pipe) -> list:
    given = {"hidden_states": torch.randn(1, 4, 2, 4, 8), "timestep": torch.tensor([1])}
    given["encoder_hidden_states"] = torch.randn(1, 5, 32)
    return [(model, given) for model in (pipe.transformer, pipe.transformer_2) if model is not None]


TOWER = Denoiser(
    Block({"self": part("attn1"), "cross": part("attn2")}, mlp="ffn", mlp_last=("ffn.net.2",)),
    places={"": ""},
    blocks="blocks",
    tokens=latent_tokens(2),
)
WAN = Family("wan", (), {"transformer": TOWER, "transformer_2": TOWER}, proof, pipeline_inputs)


def video(**settings) -> diffusers.WanPipeline:
    """A tiny pipeline that calls its transformer once a branch, in a named context."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        words = tiny.tiny("pixart").model
        both = [tiny.perturb(diffusers.WanTransformer3DModel(**SIZES), 0.05) for _ in range(2)]
        pipe = diffusers.WanPipeline(
            tokenizer=words.tokenizer,
            text_encoder=words.text_encoder,
            vae=diffusers.AutoencoderKLWan(**VAE),
            transformer=both[0],
            transformer_2=both[1] if settings else None,
            scheduler=diffusers.UniPCMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
            ),
            **settings,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def film(pipe, steps: int, scale: float = 4.0) -> dict[str, list[torch.Tensor]]:
    with seen(pipe) as found:
        generator = torch.Generator().manual_seed(0)
        pipe("a red cat", num_inference_steps=steps, guidance_scale=scale, generator=generator, **RUN)
    return found


@pytest.mark.parametrize("scale", [1.5, 4.0])
def test_a_named_pass_moves_the_guided_prediction_by_its_share(scale):
    pipe = video()
    model, bare = sl.wrap(pipe, family=WAN), film(pipe, 3, scale)
    assert len(bare["noise"]) == 6
    for branch, share, call in (("cond", scale, 2), ("uncond", 1 - scale, 3)):
        edit = sl.Add(VECTOR).on(branch=branch, steps=[1])
        with model.edit({"transformer.noise": edit}) as receipt:
            edited = film(pipe, 3, scale)
        moved = [not torch.equal(a, b) for a, b in zip(bare["noise"], edited["noise"], strict=True)]
        assert moved[:4] == [place == call for place in range(4)]
        told = edited["guided"][1] - bare["guided"][1]
        expected = (share * VECTOR)[:, None, None, None].expand_as(told)
        torch.testing.assert_close(told, expected, rtol=0, atol=1e-4)
        entry = receipt["transformer.noise"]
        assert (entry.fires, entry.waits, entry.steps, entry.branches) == (1, 5, {1}, {branch})


def test_a_pass_without_guidance_is_conditional():
    pipe = video()
    with sl.wrap(pipe, family=WAN).edit({"transformer.noise": sl.Scale(1.1).on(branch="cond")}) as receipt:
        film(pipe, 2, 1.0)
    assert (receipt["transformer.noise"].fires, receipt["transformer.noise"].waits) == (2, 0)


def test_two_denoisers_share_one_count_of_steps():
    pipe, ran = video(boundary_ratio=0.7), []
    for name in ("transformer", "transformer_2"):
        getattr(pipe, name).register_forward_hook(lambda m, a, o, name=name: ran.append(name))
    film(pipe, 8)
    switch = ran.index("transformer_2") // 2
    assert 0 < switch < 7
    sites, steps = ["transformer.noise", "transformer_2.noise"], [switch - 1, switch, 7]
    edit = sl.Scale(1.1).on(steps=steps, branch="uncond")
    with sl.wrap(pipe, family=WAN).edit(dict.fromkeys(sites, edit)) as receipt:
        film(pipe, 8)
    assert [receipt[site].steps for site in sites] == [{switch - 1}, {switch, 7}]
    assert [receipt[site].fires + receipt[site].waits for site in sites] == [2 * switch, 2 * (8 - switch)]


def test_a_region_of_a_video_is_one_of_every_frame():
    pipe, mask = video(), torch.zeros(16, 16)
    mask[:8, :8] = 1
    model, bare = sl.wrap(pipe, family=WAN), film(pipe, 1)
    with model.edit({"transformer.noise": sl.Add(VECTOR).on(region=mask, branch="cond")}):
        moved = film(pipe, 1)["noise"][0] != bare["noise"][0]
    assert moved[..., :1, :1].all() and int(moved.sum()) == moved[..., :1, :1].numel()


@pytest.fixture(scope="module")
def modular():
    """A modular pipeline: what guidance is, is a part of it."""
    parts = tiny.tiny("sdxl").model.components
    pipe = StableDiffusionXLAutoBlocks().init_pipeline()
    wanted = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")
    pipe.update_components(**{name: parts[name] for name in wanted}, force_zeros_for_empty_prompt=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(pipe, steps: int = 3) -> dict[str, list[torch.Tensor]]:
    with seen(pipe) as found:
        prompt, generator = ["a red cat", "a blue dog"], torch.Generator().manual_seed(0)
        sizes = {"height": 16, "width": 16, "output_type": "latent", "output": "images"}
        pipe(prompt=prompt, num_inference_steps=steps, generator=generator, **sizes)
    return found


GUIDERS = {
    "classifier-free": (lambda: ClassifierFreeGuidance(guidance_scale=5.0), 5.0),
    "adaptive projected": (lambda: AdaptiveProjectedGuidance(guidance_scale=5.0), None),
}


@pytest.mark.parametrize(("make", "scale"), GUIDERS.values(), ids=GUIDERS)
def test_a_guiders_pass_is_edited_alone(make, scale, modular):
    modular.update_components(guider=make())
    model, bare = sl.wrap(modular), drawn(modular)
    order = [0, 1]  # as guiders prepare them: the conditional pass first
    for branch, place in zip(("cond", "uncond"), order, strict=True):
        with model.edit({"unet.noise": sl.Add(VECTOR).on(branch=branch, steps=[1], rows=[1])}) as receipt:
            edited = drawn(modular)
        moved = [not torch.equal(a, b) for a, b in zip(bare["noise"], edited["noise"], strict=True)]
        assert moved[:4] == [call == 2 + place for call in range(4)]
        assert torch.equal(bare["noise"][2 + place][0], edited["noise"][2 + place][0])
        if scale:
            share = scale if branch == "cond" else 1 - scale
            expected = torch.stack([torch.zeros(4), share * VECTOR])[:, :, None, None]
            told = edited["guided"][1] - bare["guided"][1]
            torch.testing.assert_close(told, expected.expand_as(told), rtol=0, atol=2e-4)
        assert (receipt["unet.noise"].fires, receipt["unet.noise"].branches) == (1, {branch})
    assert not {"prepare_inputs", "prepare_models"} & set(vars(modular.guider))


def test_a_guider_exchanged_in_a_context_is_never_misread(modular):
    modular.update_components(guider=ClassifierFreeGuidance(guidance_scale=5.0))
    with pytest.raises(sl.SteerlabError, match=r"unet.noise: branch='cond': "):
        with sl.wrap(modular).edit({"unet.noise": sl.Add(VECTOR).on(branch="cond")}):
            drawn(modular)
            modular.update_components(guider=AdaptiveProjectedGuidance(guidance_scale=5.0))
            drawn(modular)
