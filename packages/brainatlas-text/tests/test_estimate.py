"""The command `plan`: counted by groups what the plan lists pair by pair, and priced by measured figures."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainatlas_text import plan, voters
from brainatlas_text.cli import main
from brainatlas_text.cohort import Grid, counted, load_forms
from brainatlas_text.costs import load_costs, work_of
from brainatlas_text.errors import InputError
from brainatlas_text.estimate import estimate
from brainatlas_text.recipe import load_recipe

pytestmark = pytest.mark.unit
PAPER = "ibsr=18 oasis=77 ixi=64 kirby=42"
FORMS, COSTS = load_forms(None), load_costs()
RECIPES = {name: load_recipe(name) for name in ("default", "demo", "paper")}
NAMES = ("ibsr", "ixi", "kirby")


def of(words, recipe="default", labeled=None, forms=FORMS, overrides=()):
    members = counted(words.split(), labeled, forms)
    chosen = load_recipe(recipe, overrides) if overrides else RECIPES[recipe]
    return estimate(members, chosen, forms, COSTS)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_the_papers_counts_give_40401_volumes(recipe):
    found = of(PAPER, recipe)
    assert found.volumes["planned"] == 201 * 200 + 201 == 40_401
    assert found.is_the_papers and not of("ibsr=18 kirby=42").is_the_papers
    assert {(cell.atlas, cell.data_set): cell.planned for cell in found.atlases}["ixi", "oasis"] == 64 * 77


cohorts = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1
).map(lambda chosen: [f"{name}={max(pair)}/{min(pair)}" for name, pair in chosen.items()])


@given(cohorts, st.sampled_from(["default", "paper"]), st.integers(0, 99), st.data())
def test_what_is_counted_by_groups_is_what_the_plan_lists(words, scheme, seed, data):
    own = data.draw(st.sets(st.sampled_from([word.partition("=")[0] for word in words])))
    members = counted(words, sorted(own), FORMS)
    recipe = RECIPES["paper"].model_copy(
        update={"seed": seed, "plan": plan.PlanConfig(splits=scheme, block_pairs=3)}
    )
    found = estimate(members, recipe, FORMS, COSTS)
    splits = plan.draw_splits(members, seed, recipe.plan)
    listed = plan.make_plan(members, splits, seed, recipe.plan)
    assert found.volumes == plan.counts(listed)
    assert found.blocks == len(plan.blocks(listed))
    labeled = {member.key for member in members if member.labeled}
    planned, kept = plan.atlas_volumes(listed, labeled), plan.atlas_volumes(listed, labeled, kept=True)
    cells = {(c.atlas, c.generation, c.data_set): (c.planned, c.kept) for c in found.atlases}
    assert cells == {cell: (number, kept[cell]) for cell, number in planned.items()}
    grids = {member.key: member.grid.thinned(0.6) for member in members}
    cut = sum(sum(grids[pair.fixed].shape) for pair in listed if pair.split is not None)
    assert sum(found.slices_cut.values()) == cut
    assert found.own_grid_slices == len(members) * sum(sum(member.grid.shape) for member in members)


@given(cohorts, st.sampled_from(["default", "paper"]), st.sampled_from(["all", "split"]), st.data())
def test_the_work_counted_is_that_of_a_build(words, scheme, rule, data):
    own = data.draw(st.sets(st.sampled_from([word.partition("=")[0] for word in words])))
    members = counted(words, sorted(own), FORMS)
    members = [replace(m, labeled=m.labeled and data.draw(st.booleans())) for m in members]
    recipe = load_recipe("paper", [f"plan.splits={scheme}", f"label.voters={rule}"])
    splits = plan.draw_splits(members, recipe.seed, recipe.plan)
    work = work_of(members, splits, recipe, num_pairs=0, num_slices=0)
    ballots = {
        target.key: {
            voter.subject: voter.key
            for voter in members
            if voter.labeled
            and voter.subject != target.subject
            and voters.may_vote(voter.subject, target.subject, splits, rule)
        }
        for target in members
        if not target.labeled
    }
    assert work.votes == sum(map(len, ballots.values()))
    listed = plan.make_plan(members, splits, recipe.seed, recipe.plan)
    pairs = {frozenset((p.moving, p.fixed)) for p in listed if p.split is not None and p.moving != p.fixed}
    pairs |= {frozenset((key, voter)) for key, ballot in ballots.items() for voter in ballot.values()}
    assert work.registered_pairs == len(pairs)


def test_slices_are_the_sum_over_the_grids_given():
    forms = {"mine": (Grid(shape=(100, 110, 120), zooms_mm=(1.5, 1.5, 1.5)),)}
    found = of("mine=3", "paper", ["mine"], forms)
    assert found.slices_cut == {"axial": 9 * 120, "coronal": 9 * 110, "sagittal": 9 * 100}
    assert found.own_grid_slices == found.fewest_own_grid_slices == 9 * 330
    every = of("mine=3", "paper", ["mine"], forms, ["render.slice_step=8", 'render.planes=["axial"]'])
    assert every.slices_cut == {"axial": 9 * 15}
    isotropic = of("mine=3", "default", ["mine"], forms)
    assert sum(isotropic.slices_cut.values()) == isotropic.volumes["train"] * 3 * 256 + 2 * 3 * 256


def test_finer_grids_are_counted_as_they_are_prepared():
    found = of("kirby=42/21", "paper", ["kirby"])
    assert found.sources["kirby"].stored_slices == 327 + 576 + 576
    assert found.sources["kirby"].framed_slices == 163 + 288 + 288
    assert found.fewest_own_grid_slices == 42 * 42 * (170 + 256 + 256)


def test_fewer_slices_cost_less_and_direct_registration_more():
    hub, direct = of(PAPER), of(PAPER, overrides=["register.method=direct"])
    assert direct.cpu_hours["register"] > 10 * hub.cpu_hours["register"] > 0
    assert direct.cpu_hours["warp"] == 0 < hub.cpu_hours["warp"]
    sparse = of(PAPER, overrides=["render.slice_step=4"])
    assert sparse.cpu_hours["render"] < hub.cpu_hours["render"]
    assert sparse.num_bytes["data set"] == pytest.approx(hub.num_bytes["data set"] / 4, rel=0.05)


def test_settings_that_were_not_measured_are_named():
    assert not of("ibsr=4").notes
    assert "prepare.bias_correction, register.finest_mm" in " ".join(
        of("ibsr=4", overrides=["register.finest_mm=4", "prepare.bias_correction=false"]).notes
    )


def test_too_few_people_and_nobody_to_vote_are_said():
    assert "nobody is in validation" in " ".join(of("ibsr=2 ixi=1").notes)
    assert "nobody is in validation and test" in " ".join(of("ibsr=5/1").notes)
    assert "validation has nobody of ixi (2)" in " ".join(of("ibsr=3 ixi=2").notes)
    assert "--atlas" in " ".join(of("ixi=9").notes)
    assert "kirby=42/21" in " ".join(of("kirby=42", labeled=["kirby"]).notes)
    assert not of("kirby=42/21", labeled=["kirby"]).notes


def test_two_scans_of_a_person_stay_together():
    halved = of("kirby=42/21", labeled=["kirby"]).sources["kirby"]
    assert halved.scans == 42 and sum(halved.people.values()) == 21


@pytest.mark.parametrize(
    ("words", "say"),
    [
        (["--counts", "ibsr"], "SOURCE=SCANS"),
        (["--counts", "ibsr=0"], "1 to 100000 scans"),
        (["--counts", "ibsr=3/4"], "as many people or fewer"),
        (["--counts", "ibsr=-3"], "SOURCE=SCANS"),
        (["--counts", "ibsr=3", "ibsr=4"], "counted twice"),
        (["--counts", "ibsr=3", "--labeled", "ixi"], "--labeled ixi: not among"),
        (["--counts", "ibsr=3", "--sources", "ixi"], "one of the two"),
        (["--counts", "ibsr=3", "--all-people"], "among scans on disk"),
        (["--sources", "ibsr", "--grids", "x.toml"], "belong to --counts"),
        (["--sources", "ibsr", "--root", "/nowhere"], "/nowhere: no such folder"),
        (["--counts", "mine=3", "--recipe", "paper"], "mine: no grid of its scans is known"),
        (["--counts", "ibsr=3", "--recipe", "papr"], "did you mean paper"),
        ([], "one of the two"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(words, say, capsys):
    assert main(["plan", *words]) == 2
    printed = capsys.readouterr()
    assert say in printed.err and printed.err.count("\n") == 1 and not printed.out


@pytest.mark.parametrize(
    ("text", "say"),
    [
        ("[mine]\nshape = [256, 256]\nzooms_mm = [1, 1, 1]", "mine.shape"),
        ("[mine]\nshape = [256, 256, 0]\nzooms_mm = [1, 1, 1]", "mine.shape"),
        ("[mine]\nshape = [256, 256, 128]", "mine.zooms_mm"),
        ("[mine]\nshape = [256, 256, 128]\nzooms_mm = [1, 1, -1]", "mine.zooms_mm"),
        ("[mine]\nshape = [256, 256, 128]\nzooms_mm = [1, 1, 1]\ncolour = 1", "mine.colour"),
        ("mine = 3", "mine"),
        ("mine = []", "mine"),
        ("[mine", "not valid TOML"),
    ],
)
def test_a_wrong_file_of_grids_is_named_with_its_entry(text, say, tmp_path):
    path = tmp_path / "grids.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"grids\.toml: .*{say}"):
        load_forms(path)
    with pytest.raises(InputError, match="No such file"):
        load_forms(tmp_path / "gone.toml")


def test_own_grids_go_before_the_packages_and_the_others_stay(tmp_path):
    path = tmp_path / "grids.toml"
    path.write_text("[ixi]\nshape = [100, 100, 50]\nzooms_mm = [1.5, 1.5, 3]\n")
    forms = load_forms(path)
    assert forms["ixi"][0].shape == (100, 100, 50) and forms["ibsr"] == FORMS["ibsr"]


def test_the_printed_figures_are_those_of_the_json(capsys):
    assert main(["plan", "--counts", *PAPER.split(), "--recipe", "paper", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["plan", "--counts", *PAPER.split(), "--recipe", "paper"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for number in (found["volumes"]["planned"], *found["slices_cut"].values(), found["own_grid_slices"]):
        assert f"{number:,}" in shown
    assert "about 25.6 million slices" in shown and "40,401" in shown
    assert "25.6 million" not in of_text(capsys, "--counts", "ibsr=3")


def of_text(capsys, *words):
    assert main(["plan", *words]) == 0
    return capsys.readouterr().out


def test_scans_on_disk_are_counted_with_their_own_grids(tmp_path, capsys):
    """Two sequences of one person, stored in another order of axes, and one file that is no scan."""
    (tmp_path / "ixi").mkdir()
    stored_psr = np.array([[0, 0, 1.2, 0], [-1.0, 0, 0, 0], [0, 1.1, 0, 0], [0, 0, 0, 1]])
    for name, affine in (("IXI001-Guys-0828-T2", stored_psr), ("IXI001-Guys-0828-T1", np.eye(4))):
        image = nib.Nifti1Image(np.ones((60, 50, 40), np.int16), affine)
        nib.save(image, tmp_path / "ixi" / f"{name}.nii.gz")
    (tmp_path / "ixi" / "IXI002-Guys-0828-T2.nii.gz").write_bytes(b"no scan")
    words = ("--sources", "ixi", "--root", str(tmp_path), "--json")
    found = json.loads(of_text(capsys, *words))
    assert (found["sources"]["ixi"]["scans"], found["volumes"]["planned"]) == (2, 4)
    assert found["sources"]["ixi"]["stored_slices"] == 150 and found["own_grid_slices"] == 4 * 150
    assert "left out, as build would: ixi-002-t2w" in found["notes"]
    words += ("--recipe", "paper", "--set", "render.slice_step=2")
    found = json.loads(of_text(capsys, *words))
    assert found["volumes"] == {"planned": 4, "train": 4, "validation": 0, "test": 0, "dropped": 0}
    assert found["slices_cut"] == {"axial": 4 * 22.5, "coronal": 4 * 27.5, "sagittal": 4 * 25}
