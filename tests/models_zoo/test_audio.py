from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pytest

from models_zoo import SPLITS, ratio
from models_zoo.calls import call
from models_zoo.entries.plcmos import feed
from models_zoo.noise import BURSTS, LOUDNESS, NOISES, SNRS, lossy, mix, noise, noisy, talk
from models_zoo.notes import HOP, INSTRUMENTS, RATE, piece, tone
from models_zoo.seeds import generator
from models_zoo.spectra import filters, hann, log_mel, power
from models_zoo.speech import VOICES, sentence, texts, utterances
from models_zoo.tally import in_order
from onnxslim.execution import Feed, Outputs
from tests.models_zoo.common import entry, session


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.square(wave, dtype=np.float64).mean()))


@pytest.mark.parametrize("kinds", [NOISES, BURSTS, INSTRUMENTS, VOICES, {split: texts(split) for split in SPLITS}])
def test_no_kind_is_in_two_splits(kinds: Mapping[str, list[object]]) -> None:
    assert set(kinds) == set(SPLITS)
    each = [kind for split in SPLITS for kind in kinds[split]]
    assert len(set(each)) == len(each)


def test_neither_language_nor_variant_of_a_voice_is_in_two_splits() -> None:
    parts = {split: {part for voice in VOICES[split] for part in voice.split("+")} for split in SPLITS}
    assert len(set().union(*parts.values())) == sum(map(len, parts.values()))


@pytest.mark.parametrize("split", SPLITS)
def test_speech_is_the_same_in_another_process(split: str) -> None:
    first = utterances(split)
    again = utterances.__wrapped__(split)
    assert len(first) == len(again) == len(texts(split))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(sound.size > 22_050 / 2 and rms(sound) > 500 for sound in first)


def test_a_sentence_is_as_loud_and_as_long_at_every_rate() -> None:
    at = {rate: sentence("report", 3, rate) for rate in (16_000, 22_050, 48_000)}
    assert all(rms(sound) == pytest.approx(LOUDNESS, rel=1e-4) for sound in at.values())
    assert len({len(sound) / rate for rate, sound in at.items()}) == 1
    # What 16 kHz can hold is the same.
    low, high = (np.abs(np.fft.rfft(at[rate]))[:5000] / len(at[rate]) for rate in (16_000, 48_000))
    assert np.corrcoef(low, high)[0, 1] > 0.999


@pytest.mark.parametrize("split", SPLITS)
def test_noise_is_as_loud_as_the_snr_says(split: str) -> None:
    for kind in NOISES[split]:
        added = noise(kind, split, generator("test", kind), 16_000, 32_001)
        assert added.shape == (32_001,)
        assert rms(added) == pytest.approx(1)
        silence = np.zeros(32_001, np.float32)
        assert rms(mix(silence, added, 20)) == pytest.approx(LOUDNESS / 10, rel=1e-3)


def test_the_first_recordings_have_every_level_and_kind() -> None:
    ids = [f"report-x-{number:03d}" for number in range(len(SNRS))]
    levels = [noisy("report", id, 16_000, 16_000)[1] for id in ids]
    assert sorted(levels) == sorted(SNRS)


def test_an_unknown_noise_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such noise: rain"):
        noise("rain", "report", generator("test"), 16_000, 100)


def test_talk_is_silent_in_its_pauses_and_only_there() -> None:
    said = talk("report", generator("talk"), 16_000, 160_000)
    assert not said.sound[~said.spoken].any()
    assert 0.5 < said.spoken.mean() < 1
    assert rms(said.sound[said.spoken]) == pytest.approx(LOUDNESS, rel=0.1)


@pytest.mark.parametrize("split", SPLITS)
def test_as_much_is_lost_as_the_label_says(split: str) -> None:
    for number in range(8):
        sound, percent = lossy(split, f"{split}-x-{number}", 16_000, 96_000)
        assert (sound == 0).mean() == pytest.approx(percent / 100, abs=0.01)


def test_the_echo_of_a_call_is_cancelled_as_far_as_the_label_says() -> None:
    for number in range(16):
        heard = call("report", f"report-x-{number}", 16_000, 96_000)
        assert heard.both == (number >= 8)
        if not heard.both and heard.gone <= 16:
            assert 20 * np.log10(rms(heard.near) / rms(heard.sent)) == pytest.approx(heard.gone, abs=1.5)
        assert not np.array_equal(heard.far, heard.near)


def test_a_tone_lights_its_own_mel_band() -> None:
    time = np.arange(16_000) / 16_000
    spectrum = log_mel((0.3 * np.sin(2 * np.pi * 2000 * time)).astype(np.float32), 16_000, 513, 256, 160)
    assert spectrum.shape == (63, 160)
    assert spectrum.max() == 1
    assert spectrum.min() == -1
    bands = filters(16_000, 513, 160)
    nearest = np.abs(np.fft.rfftfreq(513, 1 / 16_000) - 2000).argmin()
    assert bands[spectrum[30].argmax(), nearest] > 0
    # Triangles of one area, where they are wide enough to be drawn.
    np.testing.assert_allclose(bands[120:].sum(1) * 16_000 / 513, 1, atol=0.05)


def test_the_spectrum_of_silence_is_finite_in_every_form() -> None:
    silence = np.zeros(1600, np.float32)
    assert (power(silence, hann(320), 160) == 0).all()
    assert np.isfinite(log_mel(silence, 16_000, 321, 160, 120)).all()
    click = silence.copy()
    click[0] = 1
    assert np.isfinite(feed(click, "id")["degraded_audio"]).all()


def test_a_tone_has_its_pitch_and_a_piece_sounds_where_keys_are_held() -> None:
    for instrument in INSTRUMENTS["report"].values():
        spectrum = np.abs(np.fft.rfft(tone(instrument, 48, RATE)))
        assert spectrum.argmax() == pytest.approx(440, rel=0.02)
    played = piece("report", "report-piece-001")
    held = played.roll.sum(1) > 0
    level = np.array([rms(played.sound[at : at + HOP]) for at in np.arange(len(held) - 1) * HOP])
    assert np.median(level[held[:-1]]) > 20 * max(level[~held[:-1]].min(), 0.001)


def test_order_of_right_wrong_equal_and_guessed_scores() -> None:
    truths = np.arange(400) % 8
    assert ratio(in_order(truths * 2.0 - 9, truths)) == 1
    assert ratio(in_order(-truths, truths)) == 0
    assert ratio(in_order(np.zeros(400), truths)) == 0
    assert ratio(in_order(np.random.default_rng(0).random(400), truths)) == pytest.approx(0.5, abs=0.05)


def test_agreement_of_opinions_is_their_mean_absolute_error() -> None:
    task = entry("dnsmos_model_v8").scored()
    assert task.agreement is not None
    run = session("dnsmos_model_v8")
    samples = entry("dnsmos_model_v8").samples("report").first(4)
    assert ratio(task.agreement(run, run, samples)["MAE"]) == 0
    moved = task.agreement(lambda feed: {name: score + 0.25 for name, score in run(feed).items()}, run, samples)
    assert ratio(moved["MAE"]) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("name", "metric"), [("basic_pitch", "frame F1"), ("silero_vad_16k_sequence", "frame agreement")]
)
def test_agreement_on_frames_of_a_model_with_itself_is_full(name: str, metric: str) -> None:
    task = entry(name).scored()
    assert task.agreement is not None
    run = session(name)
    samples = entry(name).samples("report").first(6)
    assert ratio(task.agreement(run, run, samples)[metric]) == 1
    silent = task.agreement(lambda feed: {key: np.zeros_like(array) for key, array in run(feed).items()}, run, samples)
    assert ratio(silent[metric]) < 0.8


def test_a_frame_by_frame_build_carries_its_state() -> None:
    name = "silero_vad_openvino_16k"
    run = session(name)
    samples = entry(name).samples("report").first(10)
    whole = entry("silero_vad_16k_sequence").score(session("silero_vad_16k_sequence"), limit=10)
    assert entry(name).score(run, limit=10) == pytest.approx(whole, abs=0.005)

    def forgetful(feed: Feed) -> Outputs:
        return run(feed | {"state": np.zeros_like(feed["state"])})

    assert ratio(entry(name).scored().measure(forgetful, samples)["frame accuracy"]) < whole
    assert any(sample.feed["state"].any() for sample in samples)
    assert all(re.fullmatch(r"report-scene-\d{3}", sample.id) for sample in samples)
