"""Labels that follow from the data alone are made once per machine: kept by content, read again, made by all cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.relabel import Relabeller
from datasets.feed import Feed
from datasets.pool import Pool
from datasets.types import IGNORE, Labelled
from methods.base import Method, Relabelled

from .scribble_toys import method

SAMPLES = 5


def feed(image: torch.Tensor | None = None) -> Feed:
    """Five noisy images of 16 x 16 with a scribbled row of each class."""
    label = torch.full((SAMPLES, 16, 16), IGNORE, dtype=torch.uint8)
    label[:, 1], label[:, 7], label[:, 13] = 0, 1, 2
    image = images() if image is None else image
    names = tuple(f"s{i}" for i in range(SAMPLES))
    pool = Pool(names, names, names, (16, 16), "linear", "scribble", 0, np.arange(SAMPLES), image, label)
    sizes = {"labelled_batch": 2, "unlabelled_batch": 0}
    return Feed(pool, None, patch=(16, 16), augment="none", stream=lambda *names: 1, **sizes)


def images() -> torch.Tensor:
    return torch.rand(SAMPLES, 1, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the samples that are walked on, in order; two cores."""
    found: list[str] = []
    walker = type(method("pce_random_walker"))
    relabel = walker.relabel
    monkeypatch.setattr(
        walker, "relabel", lambda self, samples, memory: (found.extend(samples.keys), relabel(self, samples, memory))[1]
    )
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    return found


def labels(cache: Path | None, m: Method | None = None, made_of: Feed | None = None, **settings) -> torch.Tensor:
    made_of = made_of or feed()
    Relabeller(cache, **settings)(m or method("pce_random_walker"), made_of, {}, nullcontext)
    assert isinstance(made_of.pseudo, torch.Tensor)
    return made_of.pseudo


def test_labels_are_made_once_and_read_by_the_next_run(tmp_path: Path, walked: list[str]) -> None:
    first = labels(tmp_path)
    assert sorted(walked) == ["s0", "s1", "s2", "s3", "s4"]
    assert torch.equal(labels(tmp_path), first)
    assert len(walked) == SAMPLES
    assert torch.equal(labels(None), first)  # without a folder they are made again, and are the same
    assert len(walked) == 2 * SAMPLES


def test_another_image_is_labelled_and_the_others_are_read(tmp_path: Path, walked: list[str]) -> None:
    labels(tmp_path)
    walked.clear()
    changed = images()
    changed[3, 0, 5, 5] += 0.5
    assert torch.equal(labels(tmp_path, made_of=feed(changed)), labels(None, made_of=feed(changed)))
    assert walked[0] == "s3"
    assert len(walked) == 1 + SAMPLES


def test_other_hyper_parameters_have_labels_of_their_own(tmp_path: Path, walked: list[str]) -> None:
    labels(tmp_path)
    labels(tmp_path, method("pce_random_walker", beta=1.0))
    assert len(walked) == 2 * SAMPLES


def test_labels_that_other_code_made_are_not_taken(
    tmp_path: Path, walked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a method imports may have changed, in a checkout whose method's own file did not."""
    monkeypatch.setattr("benchmark.relabel.of_methods", lambda: ["a tree"])
    labels(tmp_path)
    labels(tmp_path)
    assert len(walked) == SAMPLES
    monkeypatch.setattr("benchmark.relabel.of_methods", lambda: ["another tree"])
    labels(tmp_path)
    assert len(walked) == 2 * SAMPLES


def test_labels_of_another_number_of_classes_are_not_taken(tmp_path: Path, walked: list[str]) -> None:
    """The released rule asks for the scribbles of all of them."""
    labels(tmp_path)
    m = method("pce_random_walker")
    m.task = replace(m.task, classes=(*m.task.classes, "another"))
    labels(tmp_path, m)
    assert len(walked) == 2 * SAMPLES
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_label_is_made_again(tmp_path: Path, walked: list[str], damage: bytes | None) -> None:
    first = labels(tmp_path)
    path = sorted(tmp_path.glob("*/*.npz"))[0]
    path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    walked.clear()
    assert torch.equal(labels(tmp_path), first)
    assert len(walked) == 1


def test_what_was_labelled_before_an_interruption_is_kept(
    tmp_path: Path, walked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.relabel._SAMPLES_PER_CORE", 1)  # two at a time

    def stop(percent: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labels(tmp_path, heartbeat=stop)
    labels(tmp_path)
    assert sorted(walked) == ["s0", "s1", "s2", "s3", "s4"]


def test_the_share_done_is_told_and_the_number_of_threads_comes_back(
    tmp_path: Path, walked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.relabel._SAMPLES_PER_CORE", 1)
    told: list[int] = []
    before, threads = torch.get_num_threads(), []
    labels(tmp_path, heartbeat=lambda percent: (told.append(percent), threads.append(torch.get_num_threads()))[0])
    assert told == [40, 80, 100]
    assert threads == [2, 2, 2]
    assert torch.get_num_threads() == before


def test_a_folder_that_cannot_be_written_costs_time_only(
    tmp_path: Path, walked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert torch.equal(labels(tmp_path / "file"), labels(None))
    assert "not kept" in capsys.readouterr().out


def test_who_waits_for_the_labels_of_another_process_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.pulse.SECONDS", 0.01)
    told = threading.Event()

    @contextmanager
    def another_is_at_it(path: Path) -> Iterator[None]:
        assert told.wait(10)
        yield

    monkeypatch.setattr("benchmark.relabel.disk.exclusive", another_is_at_it)
    labels(tmp_path, heartbeat=lambda percent: told.set())


def test_labels_that_depend_on_the_weights_are_never_kept(tmp_path: Path) -> None:
    m = method("scribble2label")
    memory: dict[int, torch.Tensor] = {}
    Relabeller(tmp_path)(m.train(), feed(), memory, nullcontext)
    assert not m.training
    assert sorted(memory) == list(range(SAMPLES))
    assert list(tmp_path.iterdir()) == []


def test_what_a_method_remembers_is_handed_back_to_it_sample_by_sample() -> None:
    m, memory = method("scribble2label", momentum=0.5), {}
    seen: list[torch.Tensor | None] = []
    relabel = type(m).relabel

    def spy(samples, before):
        seen.append(before)
        return relabel(m, samples, before)

    object.__setattr__(m, "relabel", spy)
    Relabeller()(m, feed(), memory, nullcontext)
    first = {i: kept.clone() for i, kept in memory.items()}
    assert seen == [None, None, None]  # 2 + 2 + 1 samples
    Relabeller()(m, feed(), memory, nullcontext)
    assert torch.equal(seen[4], torch.stack([first[2], first[3]]))
    # the average of two equal predictions p, from 0, at a momentum of one half: p/2, then 3p/4
    torch.testing.assert_close(memory[0].float(), 1.5 * first[0].float(), rtol=2e-3, atol=1e-3)


def test_what_a_method_remembers_comes_back_on_the_device_of_the_samples() -> None:
    m, kept = method("scribble2label"), {i: torch.zeros(3, 16, 16) for i in range(2)}
    seen: list[str] = []

    class Elsewhere:
        """Two samples that are not on the CPU."""

        labelled_samples = 2

        def relabel_samples(self):
            image, label = torch.empty(2, 1, 16, 16, device="meta"), torch.empty(2, 16, 16, device="meta")
            yield torch.arange(2), Labelled(image, label, keys=("a", "b"))

        def set_pseudo(self, indices, label):
            assert label.device.type == "meta"

    def spy(samples, before):
        seen.append(before.device.type)
        return Relabelled(samples.label, None)

    object.__setattr__(m, "relabel", spy)
    Relabeller()(m, Elsewhere(), kept, nullcontext)
    assert seen == ["meta"]
