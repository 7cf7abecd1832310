"""Several processes that train one model get what one process gets on the whole batch; and none outlives its caller."""

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import on_ranks
import pytest
import torch

import slaf
from slaf.train import Recipe, launch, synchronize

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lightning_fabric") is None or not torch.distributed.is_available(), reason="needs lightning-fabric"
)

# float64 and other orders of summation: a few ulps a step. 1e-10 leaves room for what a few steps multiply, and none for a share that is
# weighted wrongly or a statistic that is a rank's own (1e-2 and more, see below)
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


together = pytest.mark.xdist_group("ranks")
"""On one of pytest's workers, so that the fixture is made once."""


@pytest.fixture(scope="module")
def ranks():
    """Everything in one start of two processes, which takes longer than the rest."""
    return launch(on_ranks.everything, devices=2, accelerator="cpu")


@pytest.mark.parametrize("name", on_ranks.ACTIVATIONS)
@together
def test_uneven_ranks_get_what_one_process_gets_on_the_whole_batch(ranks, name):
    alone, together = on_ranks.steps(None, on_ranks.ACTIVATIONS[name]), ranks["steps"][name]
    assert torch.equal(*together["state"])  # running statistics and num_batches_tracked are in it
    assert torch.allclose(together["state"][0], alone["state"][0], **TOLERANCE)
    assert torch.allclose(together["seen"], alone["seen"], **TOLERANCE)
    assert alone["seen"].abs().max() < 1e3  # no step that blows up could be compared


@together
def test_second_derivatives(ranks):
    assert torch.allclose(ranks["second"], on_ranks.second(None), **TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@together
def test_parameters_sharded_by_fsdp(ranks, dtype):
    alone, tolerance = on_ranks.sharded(None, dtype), TOLERANCE if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    for key, value in alone.items():
        assert torch.allclose(ranks["sharded"][dtype][key], value, **tolerance)


@together
def test_a_group_of_ones_own(ranks):
    assert ranks["groups"] == [[2, None], [2, "this process is not a member of group, so it cannot sum over it"]]


@together
def test_far_from_zero_too(ranks):
    alone = on_ranks.steps(None, on_ranks.ACTIVATIONS["normalize=batch, power"], offset=100.0)
    assert torch.allclose(ranks["far"]["state"][1], alone["state"][0], **TOLERANCE)
    assert torch.allclose(ranks["far"]["seen"], alone["seen"], **TOLERANCE)


@pytest.mark.parametrize("name", on_ranks.ACTIVATIONS)
@together
def test_without_synchronize_they_get_something_else(ranks, name):
    alone = on_ranks.steps(None, on_ranks.ACTIVATIONS[name])
    assert (ranks["apart"][name]["state"][0] - alone["state"][0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", on_ranks.ROUTINES)
@together
def test_train_gives_the_result_of_one_process(ranks, name):
    (alone,) = on_ranks.trained(None, on_ranks.ROUTINES[name])
    tolerance = {"rtol": 0, "atol": 1e-7} if name == "adam" else TOLERANCE  # Adam divides rounding noise by its own size
    for member in ranks["trained"][name]:
        assert (member["finite"], member["steps"]) == (alone["finite"], alone["steps"])
        assert torch.allclose(member["state"], alone["state"], **tolerance)
        assert list(member["history"]) == list(alone["history"])
        for key, values in alone["history"].items():
            assert member["history"][key] == pytest.approx(values, rel=1e-6)  # sums of losses are float32
    assert ranks["trained"][name][0]["history"] == ranks["trained"][name][1]["history"]


@together
def test_train_in_float32(ranks):
    (alone,) = on_ranks.trained(None, on_ranks.ROUTINES["clip, penalty, cosine"], dtype=torch.float32)
    for member in ranks["float32"]:
        assert torch.allclose(member["state"], alone["state"], rtol=1e-5, atol=1e-5)


@together
def test_the_loss_on_held_out_data_is_that_of_all_of_it(ranks):
    (alone,) = on_ranks.trained(None, {}, valid=on_ranks.points(33))
    for member in ranks["held out"]:
        assert member["history"]["valid_loss"] == pytest.approx(alone["history"]["valid_loss"], rel=1e-7)


@together
def test_an_infinite_loss_on_one_rank_ends_training_on_all(ranks):
    assert ranks["exploding"] == on_ranks.exploding(None, 1) * 2
    assert ranks["exploding"][0]["epochs"] == 2


@together
def test_the_group_is_no_state(ranks):
    assert ranks["kept"] == {"deepcopy": True, "pickle": None, "state_dict": None, "after train": None}


@together
def test_every_rank_has_noise_of_its_own(ranks):
    assert not torch.equal(*ranks["noise"])


@together
def test_fewer_rows_than_ranks_are_refused(ranks):
    assert ranks["refusals"] == [
        "rows of data must be at least 2, the number of ranks; got 1",
        "batch_size must be at least 2, the number of ranks; got 1",
    ]


@together
def test_the_ranks_share_the_callers_threads(ranks):
    assert ranks["threads"] == max(1, torch.get_num_threads() // 2)


@pytest.mark.parametrize(
    ("n", "size", "team", "expected"),
    [(67, 16, 4, [16, 16, 16, 19]), (67, 16, 3, [16, 16, 16, 16, 3]), (33, 16, 1, [16, 17]), (34, 16, 1, [16, 16, 2])],
)
def test_a_last_batch_that_leaves_a_rank_without_a_sample_is_merged(n, size, team, expected):
    from slaf.train.loop import _batches

    batches = _batches(torch.arange(n), size, False, team)
    assert [len(b) for b in batches] == expected
    assert torch.equal(torch.cat(batches), torch.arange(n))


# -- starting and ending ------------------------------------------------------------------------------------------------------------


def test_what_a_rank_raises_is_raised_here_and_nothing_is_printed(capfd):
    with pytest.raises(slaf.SlafError, match=r"^rank 1 has had enough$") as caught:
        launch(on_ranks.failing, devices=2, accelerator="cpu")
    assert "in failing" in str(caught.value.__cause__)
    assert capfd.readouterr() == ("", "")


def test_a_rank_that_dies_is_named():
    with pytest.raises(slaf.SlafError, match=r"^rank 1 of 2 ended with exit code 7 before its function returned$"):
        launch(on_ranks.dying, devices=2, accelerator="cpu", strategy="ddp_spawn")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_and_kill_leave_no_process_behind(tmp_path):
    """Two callers at once: Ctrl-C to one's whole group, as a terminal sends it; the other is killed alone."""
    command = "import signal, sys, slaf.train; sys.path.insert(0, sys.argv[1]); import on_ranks; "
    command += "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a background job of a shell starts with it ignored
    command += "slaf.train.launch(on_ranks.endless, sys.argv[2], accelerator='cpu')"
    environment, callers = os.environ | {"TMPDIR": str(tmp_path)}, []
    for name in ("interrupted", "killed"):
        (tmp_path / name).mkdir()
        arguments = [sys.executable, "-c", command, str(Path(__file__).parent), str(tmp_path / name)]
        callers.append(subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.PIPE, text=True, env=environment))
    files = [tmp_path / name / f"{rank}.pid" for name in ("interrupted", "killed") for rank in (0, 1)]
    try:
        assert _soon(lambda: all(f.exists() for f in files))
        pids = [int(f.read_text()) for f in files]
        assert all(_alive(pid) for pid in pids)
        os.killpg(callers[0].pid, signal.SIGINT)
        callers[1].kill()
        said = callers[0].communicate(timeout=60)[1]
        callers[1].communicate(timeout=60)
        assert said.count("KeyboardInterrupt") == 1  # the caller's
        assert said.count("Traceback") == 1
        assert _soon(lambda: not any(_alive(pid) for pid in pids))
        assert not list(tmp_path.glob("slaf-*"))
    finally:
        for caller in callers:
            if caller.poll() is None:
                os.killpg(caller.pid, signal.SIGKILL)
                caller.communicate()


def _soon(holds, seconds=120):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # an orphan that nobody reaps is dead, too
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 0}, "devices must be an integer of at least 1; got 0"),
        ({"devices": 2.0}, "devices must be an integer"),
        ({"strategy": "dpp"}, "strategy must be one of auto, ddp, .* got 'dpp'; did you mean 'ddp'"),
        ({"accelerator": "cup"}, "accelerator must be one of .* did you mean 'cpu'"),
        ({"accelerator": "cuda", "devices": 3}, "devices=3 is more than the 1 GPUs here; use accelerator=cpu or fewer devices"),
        ({"accelerator": "auto", "devices": 2}, "devices=2 is more than the 1 GPUs here"),
        ({"strategy": "fsdp", "accelerator": "cpu"}, "strategy=fsdp works on GPUs only"),
    ],
)
def test_bad_arguments_are_one_sentence(monkeypatch, options, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(slaf.SlafError, match=message):
        launch(on_ranks.failing, **options)


def test_a_function_without_a_name_is_refused():
    with pytest.raises(slaf.SlafError, match="must be importable by name and picklable"):
        launch(lambda fabric: fabric, accelerator="cpu")


def test_without_fabric_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # noqa: ARG005
    with pytest.raises(slaf.SlafError, match=r'pip install "slaf\[train\]"'):
        launch(on_ranks.failing, accelerator="cpu")


def test_synchronize_needs_a_process_group():
    with pytest.raises(slaf.SlafError, match="there is no process group to sum over"):
        synchronize(on_ranks.net("slaf"))


def test_a_fabric_of_one_device_changes_nothing():
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
    options = on_ranks.ROUTINES["clip, penalty, cosine"]
    data, results = on_ranks.points(50), []
    for chosen in (None, fabric):
        model = on_ranks.net("slaf(normalize=batch)", noise=0.3)
        trace = slaf.train.train(model, data, torch.nn.functional.mse_loss, Recipe(2, 16, **options), valid=data, fabric=chosen)
        results.append((trace, pickle.dumps([t.tolist() for t in model.state_dict().values()])))
    assert results[0] == results[1]


def test_a_fabric_that_would_convert_the_model_is_refused():
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1, precision="bf16-true")
    with pytest.raises(slaf.SlafError, match=r"fabric's precision must be one of 32-true, .* got 'bf16-true'"):
        slaf.train.train(on_ranks.net("relu"), on_ranks.points(8), torch.nn.functional.mse_loss, Recipe(1, 4), fabric=fabric)
