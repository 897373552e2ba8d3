"""Dictionaries inside networks: exact identities, closed forms and hand-written hooks."""

from __future__ import annotations

import pytest
import torch
from denoising import generate, observe
from torch import nn

import steerlab as sl
from steerlab.bases import Dictionary, JumpRelu, Linear, Relu, TopK

RESID = {"llama": "blocks.1.resid", "gpt2": "blocks.1.resid", "vit": "blocks.1.resid"} | {
    "clip": "vision.blocks.1.resid",
    "videomae": "blocks.1.resid",
}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sparse(dim: int, rule=None, atoms: int = 40, **facts) -> Dictionary:
    decoder = nn.functional.normalize(random(atoms, dim, seed=1), dim=1)
    encoder = Linear(random(dim, atoms, seed=2), 0.1 * random(atoms, seed=3), rule or TopK(6))
    return Dictionary(decoder=decoder, encoder=encoder, bias=random(dim, seed=4), facts=sl.Facts(**facts))


def width(one, site: str) -> int:
    return one.model._points.find(site)[0][1].shape[-1]


def run(one) -> torch.Tensor:
    with torch.no_grad():
        return sl.comparing.main_output(one.tiny.model(**one.tiny.inputs), {})


@pytest.mark.parametrize("family", RESID)
def test_a_splice_with_unchanged_codes_leaves_the_output_equal_and_a_replacement_does_not(family, held):
    one, site = held(family), RESID[family]
    sae, bare = sparse(width(one, site)), run(one)
    for edit in (sl.Scale(1.0, sae), sl.Clamp(-1e9, 1e9, sae), sl.Scale(1.0, sae.only([3, 5]))):
        with pytest.warns(sl.SteerlabWarning, match="changed nothing"), one.model.edit({site: edit}):
            assert torch.equal(run(one), bare)
    with one.model.edit({site: sl.Project(sae)}):
        assert not torch.allclose(run(one), bare, atol=1e-3)


@pytest.mark.parametrize("family", RESID)
def test_an_ablated_atom_is_a_hook_that_subtracts_it(family, held):
    one, site = held(family), RESID[family]
    sae = sparse(width(one, site), Relu())
    atom = int(sae.encode(one.model.capture(one.tiny.inputs, site)[site]).sum((0, 1)).argmax())

    def hook(module, arguments, output):
        x = output[0] if isinstance(output, tuple) else output
        code = (x @ sae.encoder.weight[:, atom] + sae.encoder.bias[atom]).relu()
        x = x - code[..., None] * sae.decoder[atom]
        return (x, *output[1:]) if isinstance(output, tuple) else x

    handle = one.model._points.find(site)[0][1].module.register_forward_hook(hook)
    expected = run(one)
    handle.remove()
    with one.model.edit({site: sl.Zero(sae.only(atom))}) as receipt:
        assert torch.allclose(run(one), expected, atol=1e-5)
    assert receipt[site].changed and not torch.allclose(run(one), expected, atol=1e-5)


class Two(nn.Module):
    """Two linear maps: the dictionary of the first is its own matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(9, 12, bias=False), nn.Linear(12, 5, bias=False)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(codes))


def test_in_a_linear_network_edits_of_codes_move_the_output_by_their_closed_forms():
    torch.manual_seed(0)
    net = Two().double()
    codes = torch.rand(4, 3, 9, dtype=torch.float64)
    rows = net.first.weight.detach().T  # atom k is what code k writes
    inverse = torch.linalg.pinv(rows)
    zero = torch.zeros(9, dtype=torch.float64)
    sae = Dictionary(decoder=rows, encoder=Linear(inverse, zero, JumpRelu(zero)))
    model, out = sl.wrap(net), net.second.weight.detach().T
    site = "module:first"
    bare = net(codes)

    def moved(*edits: sl.Edit) -> torch.Tensor:
        with model.edit({site: list(edits)}), torch.no_grad():
            return net(codes) - bare

    def step(change: torch.Tensor, atom: int) -> torch.Tensor:
        return change[..., None] * (rows[atom] @ out)

    z = codes[..., 2]
    assert torch.allclose(moved(sl.Zero(sae.only(2))), step(-z, 2))
    assert torch.allclose(moved(sl.Scale(3.0, sae.only(2))), step(2 * z, 2))
    assert torch.allclose(moved(sl.Clamp(0.5, 0.5, sae.only(2))), step(0.5 - z, 2))
    assert torch.allclose(moved(sl.Swap([1, 0, 3, 2], sae.only(2))), step(z[[1, 0, 3, 2]] - z, 2))
    assert torch.allclose(moved(sl.Add(sae[2], 0.7)), step(torch.full_like(z, 0.7), 2))
    both = moved(sl.Zero(sae.only([2, 5])))
    assert torch.allclose(both, step(-z, 2) + step(-codes[..., 5], 5))
    assert torch.allclose(moved(sl.Zero(sae.only(2)), sl.Zero(sae.only(5))), both)


def test_a_steered_stream_is_the_bias_of_the_module_before_it():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))
    x, direction = random(5, 6), random(8)
    with sl.wrap(net).edit({"module:0": sl.Add(direction, 2.0)}), torch.no_grad():
        steered = net(x)
    with torch.no_grad():
        net[0].bias += 2.0 * direction
        assert torch.allclose(net(x), steered, atol=1e-6)


def test_the_identity_is_not_the_mirrored_error():
    sae, x = sparse(16), random(3, 16)
    mirrored = 2 * sae.reconstruct(x) - x
    assert torch.equal(sl.Scale(1.0, sae)(x), x) and not torch.allclose(mirrored, x, atol=0.1)


def test_clamping_the_active_and_leaving_out_a_token_change_no_other_place(held):
    one, site = held("llama"), "blocks.1.resid"
    sae = sparse(width(one, site))
    seen = one.model.capture(one.tiny.inputs, site)[site]
    codes = sae.encode(seen)[..., 3]
    edit = sl.Clamp(9.0, 9.0, sae.only(3), active=True).on(exclude="first")
    with one.model.edit({site: edit}), one.model.read(site) as reading, torch.no_grad():
        one.tiny.model(**one.tiny.inputs)
    after, off = reading.calls(site)[0], codes == 0
    assert bool(off.any()) and not bool(off.all())
    assert torch.equal(after[off], seen[off]) and torch.equal(after[:, 0], seen[:, 0])
    on = ~off & (torch.arange(off.shape[1]) > 0)
    expected = seen + (9 - codes)[..., None] * sae[3]
    assert torch.allclose(after[on], expected[on], atol=1e-5)


@pytest.mark.parametrize("skip", (False, True))
def test_a_transcoder_edits_where_it_writes_with_codes_of_what_it_reads(skip, held):
    one = held("llama")
    dim = width(one, "blocks.1.mlp")
    reads, writes = "module:model.layers.1.post_attention_layernorm", "blocks.1.mlp"
    plain = sparse(dim, Relu(), reads=reads, site=writes)
    sae = Dictionary(
        decoder=plain.decoder,
        encoder=plain.encoder,
        skip=random(dim, dim) if skip else None,
        facts=plain.facts,
    )
    heard = one.model.capture(one.tiny.inputs, [reads, writes])
    codes = sae.encode(heard[reads])
    with one.model.edit(sl.across(sae, lambda live: sl.Zero(live.only([3, 5])))), one.model.read(writes) as r:
        run(one)
    expected = heard[writes] - codes[..., [3, 5]] @ sae.decoder[[3, 5]]
    assert torch.allclose(r.calls(writes)[0], expected, atol=1e-5)
    found = one.model.compare(one.tiny.inputs, sl.across(sae, lambda live: sl.Zero(live.only([3, 5]))))
    with one.model.edit(sl.across(sae, lambda live: sl.Zero(live.only([3, 5])))):
        alone = one.model.logits(one.tiny.inputs)[:, -1]
    real = torch.stack([found.edited[i] for i in range(len(alone))])
    mask = one.tiny.inputs["attention_mask"][:, -1].bool()
    assert torch.allclose(real[mask], alone[mask], atol=1e-4) and bool((found.controls > 0).all())


def test_with_frozen_attention_and_a_linear_path_the_response_is_linear_in_the_dose(held):
    one = held("llama")
    sae = sparse(width(one, "blocks.1.q"))
    frozen = one.model.capture(one.tiny.inputs, "blocks.1.pattern")["blocks.1.pattern"]

    def attended(dose: float, freeze: bool) -> torch.Tensor:
        # what attention adds is linear in its values once the pattern and the norm before it are held
        edits = {"blocks.1.v": sl.Add(sae[5], dose), "blocks.1.q": sl.Add(sae[3], dose)}
        if freeze:
            edits["blocks.1.pattern"] = sl.Replace(frozen)
        with one.model.edit(edits), one.model.read("blocks.1.attn") as reading:
            run(one)
        return reading.calls("blocks.1.attn")[0]

    for freeze, linear in ((True, True), (False, False)):
        low, middle, high = (attended(dose, freeze) for dose in (1.0, 2.0, 3.0))
        assert torch.allclose(high - middle, middle - low, atol=1e-5) == linear


def test_generation_is_the_same_with_and_without_the_cache(held):
    one, site = held("llama"), "blocks.1.resid"
    sae = sparse(width(one, site))
    edit = {site: sl.Clamp(4.0, 4.0, sae.only([3, 5]))}
    settings = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False, "output_logits": True}
    logits = []
    for cache in (True, False):
        with one.model.edit(edit) as receipt, torch.no_grad():
            made = one.tiny.model.generate(
                **one.tiny.inputs, **settings, use_cache=cache, return_dict_in_generate=True
            )
        logits.append(torch.stack(made.logits))
        assert receipt[site].fires == 8
    assert torch.allclose(*logits, atol=1e-4)


def test_a_direction_is_scaled_and_capped_and_the_rest_stays():
    x, unit = random(4, 7, 16), nn.functional.normalize(random(16), dim=0)
    direction, along = sl.Direction(unit), x @ unit
    across = x - along[..., None] * unit
    scaled = sl.Scale(-0.5, direction)(x)
    assert torch.allclose(scaled @ unit, -0.5 * along, atol=1e-5)
    assert torch.allclose(scaled - (scaled @ unit)[..., None] * unit, across, atol=1e-5)
    capped = sl.Clamp(high=0.3, basis=direction)(x)
    assert torch.allclose(capped @ unit, along.clamp(max=0.3), atol=1e-5)
    assert torch.equal(capped[along < 0.3], x[along < 0.3])


def test_at_a_difference_the_codes_are_those_of_the_change_and_the_step_goes_on_the_output(held):
    one, site = held("sdxl"), "unet.mid.0.update"
    sae = sparse(width(one, site), Relu())
    module, point = one.model._points.find(site)[0][1].module, one.model._points.find(site)[0][1]
    assert point.site.stream == "update"

    def hook(block, arguments, kwargs, output):
        out = output[0] if isinstance(output, tuple) else output.sample
        given = arguments[0] if arguments else kwargs["hidden_states"]
        change = (out - given).movedim(1, -1)
        code = (change @ sae.encoder.weight[:, 3] + sae.encoder.bias[3]).relu()
        moved = out - (code[..., None] * sae[3]).movedim(-1, 1)
        return (moved, *output[1:]) if isinstance(output, tuple) else type(output)(sample=moved)

    handle = module.register_forward_hook(hook, with_kwargs=True)
    expected = generate(one.tiny.model, one.tiny.inputs, num_inference_steps=2)
    handle.remove()
    with one.model.edit({site: sl.Zero(sae.only(3))}):
        found = generate(one.tiny.model, one.tiny.inputs, num_inference_steps=2)
    bare = generate(one.tiny.model, one.tiny.inputs, num_inference_steps=2)
    assert torch.allclose(found, expected, atol=1e-3) and not torch.allclose(found, bare, atol=1)


def test_contrast_on_both_branches_counts_twice_the_guidance_less_one(held):
    one, vector, scale = held("sdxl"), torch.linspace(0.5, 1.0, 4), 7.5
    settings = {"num_inference_steps": 2, "guidance_scale": scale}
    bare = observe(one.tiny.model, one.tiny.inputs, **settings)["guided"][0]
    edits = [sl.Add(vector, -1.0).on(branch="uncond"), sl.Add(vector).on(branch="cond")]
    with one.model.edit({"unet.noise": edits}):
        guided = observe(one.tiny.model, one.tiny.inputs, **settings)["guided"][0]
    moved = (2 * scale - 1) * vector[:, None, None]
    torch.testing.assert_close(guided - bare, moved.expand_as(bare), rtol=0, atol=3e-5 * scale)


def test_codes_of_another_run_are_put_in_place_step_by_step(held):
    one, site = held("sdxl"), "unet.mid.0.update"
    sae = sparse(width(one, site), Relu(), atoms=20)
    steps = {"num_inference_steps": 4}
    other = {**steps, "generator": torch.Generator().manual_seed(11)}
    with one.model.read(site, every=True) as source:
        generate(one.tiny.model, one.tiny.inputs, **other)
    taken = source.calls(site)
    assert len(taken) == 4
    edits = [sl.Replace(taken[step], sae).on(steps=step) for step in (1, 2)]  # F T T F
    with one.model.edit({site: edits}) as receipt, one.model.read(site, every=True) as after:
        generate(one.tiny.model, one.tiny.inputs, **steps)
    with one.model.read(site, every=True) as bare:
        generate(one.tiny.model, one.tiny.inputs, **steps)
    assert [entry.steps for entry in receipt] == [{1}, {2}]
    assert torch.equal(after.calls(site)[0], bare.calls(site)[0])
    first, clean = after.calls(site)[1], bare.calls(site)[1]
    step = (sae.encode(taken[1]) - sae.encode(clean)) @ sae.decoder
    assert torch.allclose(first, clean + step, atol=1e-4)


def test_an_atom_in_a_region_of_some_steps_on_one_branch_touches_nothing_else(held):
    one, site = held("sdxl"), "unet.mid.0.update"
    sae = sparse(width(one, site), Relu())
    region = torch.zeros(16, 16)
    region[:8, :8] = 1
    edit = sl.Add(sae[3], 5.0).on(steps=range(1, 3), branch="cond", region=region)
    settings = {"num_inference_steps": 4}
    with one.model.edit({site: edit}) as receipt, one.model.read(site, every=True) as after:
        generate(one.tiny.model, one.tiny.inputs, **settings)
    with one.model.read(site, every=True) as bare:
        generate(one.tiny.model, one.tiny.inputs, **settings)
    assert receipt[site].steps == {1, 2} and receipt[site].branches == {"cond"}
    assert torch.equal(after.calls(site)[0], bare.calls(site)[0])
    moved = (after.calls(site)[1] - bare.calls(site)[1]).abs().amax(-1)  # [branch * image, place]
    half = len(moved) // 2
    assert not bool(moved[:half].any())
    places = (moved[half:] > 0).float().mean()
    assert 0 < places < 1
