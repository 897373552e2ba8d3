"""Training finds what was planted: atoms, planes, thresholds, and what two modalities share."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from steerlab.errors import SteerlabError
from steerlab.fitting import Fitting, fit, fit_dictionary
from steerlab.fitting.fit import _left_to
from steerlab.fitting.kinds import KINDS, alignment
from steerlab.fitting.state import begun

FAST = {"steps": 300, "batch": 256, "lr": 1e-2}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def matched(similarity: torch.Tensor) -> torch.Tensor:
    rows, columns = linear_sum_assignment(-similarity.numpy())
    return similarity[rows, columns]


def explained(x: torch.Tensor, rebuilt: torch.Tensor) -> float:
    return 1 - float((x - rebuilt).square().sum() / (x - x.mean(0)).square().sum())


def sparse(rows: int, atoms: int, active: int, g: torch.Generator) -> torch.Tensor:
    places = torch.rand(rows, atoms, generator=g).topk(active).indices
    return torch.zeros(rows, atoms).scatter(1, places, 0.5 + torch.rand(rows, active, generator=g))


@pytest.fixture(scope="module")
def planted() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """48 atoms in 32 dimensions, three in every row, far from the origin and not of unit scale."""
    g = generator(0)
    atoms = unit(torch.randn(48, 32, generator=g))
    x = 20 * sparse(8000, 48, 3, g) @ atoms + 20 * torch.randn(32, generator=g)
    return atoms, x[:7000], x[7000:]


@pytest.mark.parametrize("kind", ["topk", "batch-topk"])
def test_planted_atoms_are_recovered_far_above_random_ones(planted, kind):
    atoms, x, held_out = planted
    sae = fit_dictionary(x, 48, kind=kind, settings=Fitting(k=3, **FAST))
    found = matched((atoms @ unit(sae.atoms).T).abs())
    random = matched((atoms @ unit(torch.randn(48, 32, generator=generator(9))).T).abs())
    assert found.mean() > 0.98 and random.mean() < 0.45
    codes = sae.encode(held_out)
    assert explained(held_out, sae.decode(codes)) > 0.93
    assert int((codes == 0).all(0).sum()) <= 1
    assert float((codes != 0).sum(-1).float().mean()) == pytest.approx(3, rel=0.05)
    assert torch.allclose(sae.atoms.norm(dim=-1), torch.ones(48), atol=1e-5)
    assert float(sae.stats.frequency.sum()) == pytest.approx(3, rel=0.05)
    assert sae.stats.norm == pytest.approx(float(held_out.norm(dim=-1).mean()), rel=0.05)


def test_the_threshold_of_batch_top_k_makes_the_codes_of_a_row_its_own(planted):
    _, x, held_out = planted
    sae = fit_dictionary(x, 48, kind="batch-topk", settings=Fitting(k=3, **FAST))
    together, alone = sae.encode(held_out[:64]), torch.cat([sae.encode(row[None]) for row in held_out[:64]])
    assert torch.allclose(together, alone, atol=1e-3)
    assert len({int(count) for count in (together != 0).sum(-1)}) > 1  # k is an average


@pytest.mark.parametrize(("kind", "least"), [("block", 0.98), ("grassmannian", 0.8), ("group-lasso", 0.55)])
def test_planted_planes_are_recovered_as_blocks(kind, least):
    g = generator(3)
    planes = torch.stack([torch.linalg.qr(torch.randn(24, 2, generator=g))[0].T for _ in range(8)])
    angles = 2 * torch.pi * torch.rand(6000, 8, generator=g)
    codes = torch.stack([angles.cos(), angles.sin()], -1) * sparse(6000, 8, 2, g)[..., None]
    x = torch.einsum("nbk,bkd->nd", codes, planes)
    settings = Fitting(k=2, block=2, steps=600, batch=256, lr=1e-2, auxiliary=1 / 32)
    sae = fit_dictionary(x[:5000], 32, kind=kind, settings=settings)  # twice as many as there are

    def overlaps(atoms: torch.Tensor) -> torch.Tensor:
        found = torch.stack([torch.linalg.qr(block.T)[0].T for block in atoms.unflatten(0, (-1, 2))])
        cosines = torch.einsum("pkd,bld->pbkl", planes, found)
        return matched(cosines.square().sum((-1, -2)) / 2)

    random = torch.randn(32, 24, generator=g)
    assert overlaps(sae.atoms).mean() > least and overlaps(random).mean() < 0.3
    held_out = sae.encode(x[5000:]).unflatten(-1, (-1, 2))
    active = (held_out != 0).any(-1).sum(-1)
    assert (active == 2).all() if kind != "group-lasso" else 1.5 < active.float().mean() < 6
    assert bool((held_out < 0).any())  # a place in a plane has signs
    blocks = sae.atoms.unflatten(0, (-1, 2))
    if kind == "grassmannian":
        assert torch.allclose(blocks @ blocks.mT, torch.eye(2).expand(16, 2, 2), atol=1e-5)
    else:
        assert float(blocks.norm(dim=(-2, -1)).max()) <= 1 + 1e-5


def test_scale_and_centre_are_folded_so_that_raw_activations_go_in_and_come_out():
    g = generator(4)
    x = torch.randn(2000, 6, generator=g)
    settings = Fitting(k=2, steps=12, batch=128, revive=0.0)
    moved = 40 * x + torch.arange(6.0)
    plain, other = (fit_dictionary(data, 8, settings=settings) for data in (x, moved))
    assert torch.allclose(plain.atoms, other.atoms, atol=1e-4)
    codes, others = plain.encode(x), other.encode(moved)
    assert torch.allclose(others, 40 * codes, atol=1e-2)
    assert torch.allclose(other.decode(others), 40 * plain.decode(codes) + torch.arange(6.0), atol=1e-2)
    raw = fit_dictionary(moved, 8, settings=Fitting(k=2, steps=12, batch=128, centre=False, scale=False))
    assert not torch.allclose(raw.bias, other.bias, atol=1.0)  # without centring the bias starts at zero


def test_it_trains_under_no_grad_too():
    x = torch.randn(64, 4, generator=generator(0))
    settings = Fitting(k=2, steps=3, batch=16)
    with torch.no_grad():
        quiet = fit_dictionary(x, 8, settings=settings)
    assert torch.equal(quiet.decoder, fit_dictionary(x, 8, settings=settings).decoder)
    assert not quiet.decoder.requires_grad


def pairs(rho: float) -> torch.Tensor:
    """24 shared concepts, drawn in two modalities along directions of cosine rho, beside 6 private ones each.

    The first private atom of each is constant. ``[pair, 2, dim]``.
    """
    g = generator(0)
    basis = torch.linalg.qr(torch.randn(64, 64, generator=g))[0]
    image, text = basis[:24], rho * basis[:24] + (1 - rho**2) ** 0.5 * basis[24:48]
    codes = sparse(6000, 24, 4, g)
    sides = []
    for directions, private in ((image, basis[48:54]), (text, basis[54:60])):
        own = (torch.rand(6000, 6, generator=g) < 0.2) * torch.rand(6000, 6, generator=g)
        own[:, 0] = 1.5
        seen = codes * (1 + 0.1 * torch.randn(6000, 24, generator=g))
        sides.append(seen @ directions + own @ private)
    return torch.stack(sides, 1)


def bimodal_only(rho: float, align: float) -> tuple[float, float, float, float]:
    """Share of energy in bimodal atoms, recall of partners with them and with the others, remaining gap."""
    x = pairs(rho)
    settings = Fitting(k=6, steps=500, batch=128, lr=5e-3, align=align, centre=False)
    sae = fit_dictionary(x[:5000], 72, kind="aligned", settings=settings)
    codes = sae.encode(x[5000:])
    energy = codes.square().mean(0)
    share = energy[0] / energy.sum(0).clamp_min(1e-9)
    bimodal = (share >= 0.05) & (share <= 0.95)

    def recall(kept: torch.Tensor) -> float:
        one, two = unit((codes * kept) @ sae.atoms).unbind(1)
        hits = [
            (a @ b.T).argmax(1) == torch.arange(len(a))
            for a, b in zip(one.split(250), two.split(250), strict=True)
        ]
        return float(torch.cat(hits).float().mean())

    gap = ((codes * bimodal) @ sae.atoms).mean(0).diff(dim=0).norm()
    return float(energy[:, bimodal].sum() / energy.sum()), recall(bimodal), recall(~bimodal), float(gap)


def test_alignment_gathers_what_two_modalities_share_where_its_directions_coincide():
    before, after = bimodal_only(1.0, 0.0), bimodal_only(1.0, 0.3)
    assert after[0] > before[0] + 0.2  # energy moves into bimodal atoms
    assert after[1] > 0.95 > 0.7 > before[1]  # they alone find the partner
    assert after[2] < 0.05 and after[3] < 0.6  # the others do not, and most of the gap of 2.1 is gone


def test_split_directions_close_the_gap_and_lose_what_is_shared():
    energy, bimodal, unimodal, gap = bimodal_only(0.5, 0.0)
    assert energy < 0.05 and gap < 0.05
    assert bimodal < 0.05 and unimodal > 0.8


def test_the_strongest_code_of_either_side_is_left_out_of_the_alignment():
    pair = torch.tensor([[[9.0, 1.0, 2.0, 0.0], [0.0, 2.0, 4.0, 7.0]]])
    # entries 0 and 3 go on both sides; (1, 2) and (2, 4) are parallel
    assert float(alignment(pair)) == pytest.approx(1.0)
    crossed = torch.tensor([[[9.0, 1.0, 0.0, 0.0], [0.0, 0.0, 3.0, 7.0]]])
    assert float(alignment(crossed)) == pytest.approx(0.0)
    constant = torch.tensor([[[5.0, 0.0, 1.0], [0.0, 5.0, 1.0]]])  # two constant atoms do not count as apart
    assert float(alignment(constant)) == pytest.approx(1.0)


def test_dead_atoms_learn_what_is_left_and_come_back(planted, monkeypatch):
    _, x, held_out = planted
    usual = fit._first_weights

    def half_too_faint(*asked: object) -> dict[str, torch.Tensor]:
        first = usual(*asked)
        first["encoder"][:, 24:] *= 1e-3  # never among the three strongest
        return first

    monkeypatch.setattr(fit, "_first_weights", half_too_faint)
    fired, share = {}, {}
    for revive in (0.0, 1 / 32):
        sae = fit_dictionary(x, 48, settings=Fitting(k=3, revive=revive, dead_after=20, **FAST))
        codes = sae.encode(held_out)
        fired[revive] = int((codes != 0).any(0).sum())
        share[revive] = explained(held_out, sae.decode(codes))
    assert fired == {0.0: 24, 1 / 32: 48}
    assert share[1 / 32] > 0.95 > 0.8 > share[0.0]


def test_the_auxiliary_loss_is_the_share_that_dead_atoms_leave():
    weights = {"decoder": torch.eye(4)[:3], "bias": torch.zeros(4)}
    missed = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 5.0]])
    dead = torch.tensor([1])  # explains the 4 of the first row: 9 + 25 of 50 are left
    loss = _left_to(KINDS["aligned"], weights, missed, missed, dead)
    assert float(loss) == pytest.approx(34 / 50)
    encoder = {"encoder": 0.5 * torch.eye(4)[:, :3], "encoder_bias": torch.tensor([0.0, 1.0, 0.0])}
    loss = _left_to(KINDS["topk"], weights | encoder, missed, missed, dead)
    assert float(loss) == pytest.approx((9 + (4 - 3) ** 2 + 1**2 + 25) / 50)  # codes 3 and 1, from encoders


def test_a_step_is_one_of_torchs_adam():
    ours, theirs = ({"decoder": torch.arange(6.0).view(2, 3)} for _ in range(2))
    state = begun(ours)
    adam = torch.optim.Adam([theirs["decoder"].requires_grad_()], lr=0.1)
    for number in range(5):
        for weights in (state.weights, theirs):
            adam.zero_grad()
            (weights["decoder"] * (number + 1)).sin().sum().backward()
        adam.step()
        state.step(0.1)
        state.done += 1
        assert torch.allclose(state.weights["decoder"], theirs["decoder"], atol=1e-6)


def test_the_rate_rises_stays_and_falls():
    settings = Fitting(steps=100, lr=2.0)
    rates = [settings.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.4) and rates[4:51] == [2.0] * 47
    assert rates[75] == pytest.approx(1.0) and rates[-1] == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "topkk"}, r"kind='topkk'; did you mean 'topk'"),
        ({"settings": Fitting(k=17)}, r"k=17: a row cannot have more codes than the 16 atoms"),
        ({"kind": "block", "settings": Fitting(k=1, block=3)}, r"atoms=16: .* a multiple of 3"),
        ({"settings": Fitting(k=2, align=0.1)}, r"align=0.1 is for aligned"),
    ],
)
def test_what_does_not_fit_together_is_refused(options, message):
    with pytest.raises(SteerlabError, match=message):
        fit_dictionary(torch.randn(64, 4, generator=generator(0)), 16, **options)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"steps": 1.5}, {"lr": -1.0}, {"batch": True}, {"align": None}])
def test_a_setting_that_is_no_setting_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(SteerlabError, match=f"Fitting: {name}="):
        Fitting(**wrong)


def test_every_kind_says_where_it_comes_from():
    assert all("arXiv" in kind.source or "our own" in kind.source for kind in KINDS.values())
