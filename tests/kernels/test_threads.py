"""The threads of the compiled kernels: those of torch's OpenMP, and a pool of their own; the same bits from both."""

import multiprocessing
import subprocess
import sys
import threading

import pytest
import torch

import slaf
from slaf.kernels import native

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled kernels are not there")
ELEMENTS = 5 * 2**16 + 3
ACTIVATIONS = ["slaf(degree=5, share=channel, normalize=none)", "rational", "spline(knots=16)", "prelu", "slaf(degree=3, normalize=batch)"]


@pytest.fixture(params=["torch's OpenMP", "own"])
def threads_of(request):
    borrowed = native.borrow_threads(request.param != "own")
    if borrowed != (request.param != "own"):
        pytest.skip("torch runs without an OpenMP that could be found")
    assert slaf.kernels.backend().threads_of == request.param
    yield request.param
    native.borrow_threads(True)


@pytest.fixture(autouse=True)
def _as_many_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def everything(spec: str, shape: tuple[int, ...], threads: int, seed: int = 0) -> list[torch.Tensor]:
    """Values and all gradients, of large input."""
    torch.set_num_threads(threads)
    rng = torch.Generator().manual_seed(seed)
    act = slaf.make(spec, num_channels=shape[1])
    x, g = (torch.randn(shape, generator=rng) for _ in range(2))
    with slaf.kernels.use("native"):
        y = act(x.requires_grad_())
        return [y.detach(), *torch.autograd.grad(y, [x, *act.parameters()], g)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(u, v) for u, v in zip(a, b, strict=True))


@pytest.mark.usefixtures("threads_of")
@pytest.mark.parametrize("shape", [(3, 6, 130, 141), (ELEMENTS // 6, 6)])
@pytest.mark.parametrize("spec", ACTIVATIONS)
def test_the_same_bits_on_any_number_of_any_threads(spec, shape):
    alone = everything(spec, shape, 1)
    for threads in (2, 3, 5, 2):
        assert same(everything(spec, shape, threads), alone), threads


@pytest.mark.usefixtures("threads_of")
def test_python_threads_at_once():
    """Each has its own team; none waits for another, none takes another's work."""
    shape, wrong = (3, 6, 130, 141), []
    alone = [everything("rational", shape, 1, seed) for seed in range(4)]

    def work(seed: int) -> None:
        for _ in range(5):
            if not same(everything("rational", shape, 2, seed), alone[seed]):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.usefixtures("threads_of")
def test_between_torchs_own_loops():
    """One OpenMP serves both, also where torch's number of threads changes between calls."""
    shape = (3, 6, 130, 141)
    alone = everything("rational", shape, 1)
    for threads in (2, 3, 1, 2):
        assert same(everything("rational", shape, threads), alone)
        assert torch.ones(ELEMENTS).exp_().sum() == pytest.approx(ELEMENTS * 2.718281828, rel=1e-5)


def in_child(x: torch.Tensor, queue) -> None:
    """None of torch's own loops here: they would wait."""
    threads_of = slaf.kernels.backend().threads_of
    total = torch.empty(1, 2, dtype=torch.float64)
    done = native.entries.moments(x, 0, 1, 1, ELEMENTS, 0, 2, None, None, total, 2)
    queue.put((done, threads_of, total.tolist()))


@pytest.mark.usefixtures("threads_of")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    """OpenMP's threads are not there, and it would wait for them."""
    everything("rational", (3, 6, 130, 141), 2)  # the parent's threads exist
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=in_child, args=(torch.linspace(-3, 3, ELEMENTS), queue))
    child.start()
    child.join(60)
    hangs = child.is_alive()
    child.kill()
    assert not hangs
    assert child.exitcode == 0
    done, whose, ((first, second),) = queue.get()
    assert (done, whose) == (True, "own")
    assert first == pytest.approx(0, abs=1e-2)
    assert second == pytest.approx(3 * ELEMENTS, rel=1e-4)


def test_a_process_that_has_used_threads_ends():
    """Also with a signal's handler of Python's, which runs in the main thread whatever thread the signal comes to."""
    program = f"""
import signal, torch, slaf
torch.set_num_threads(2)
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
act, x = slaf.make("rational"), torch.randn({ELEMENTS})
act(x)
signal.raise_signal(signal.SIGINT)
act(x)
assert seen == [1]
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["ended"]


def test_a_torch_without_openmp_leaves_the_pool(monkeypatch):
    monkeypatch.setattr(torch.backends.openmp, "is_available", lambda: False)
    assert not native.borrow_threads(True)
    assert slaf.kernels.backend().threads_of == "own"
    monkeypatch.undo()
    native.borrow_threads(True)


def test_a_runtime_without_the_entry_leaves_the_pool(monkeypatch):
    if not native.borrow_threads(True):
        pytest.skip("torch runs without an OpenMP that could be found")
    monkeypatch.setattr(native.ctypes, "CDLL", lambda *_, **__: object())
    assert not native.borrow_threads(True)
    monkeypatch.undo()
    assert native.borrow_threads(True)


@pytest.mark.parametrize("degree", [5, 9])
def test_the_same_bits_wherever_the_tensors_lie(degree):
    """How rows of whole pages are divided depends on where in a page they begin; the order of the sums does not."""
    n, c, page = 300, 1024, 1024
    act = slaf.make(f"slaf(basis=power, degree={degree}, share=channel, normalize=none, input=identity)", num_channels=c)
    rng = torch.Generator().manual_seed(0)
    values = [torch.randn(n, c, generator=rng) for _ in range(2)]

    def gradients(offsets):
        placed = []
        for value, offset in zip(values, offsets, strict=True):
            memory = torch.empty(n * c + 2 * page)
            start = -memory.data_ptr() // 4 % page + offset
            placed.append(memory[start : start + n * c].view(n, c).copy_(value))
        x, g = placed
        with slaf.kernels.use("native"):
            return torch.autograd.grad(act(x.requires_grad_()), [x, *act.parameters()], g)

    together = gradients((0, 0))
    for offsets in ((0, 512), (512, 0), (256, 768), (0, 40)):
        assert same(gradients(offsets), together), offsets
