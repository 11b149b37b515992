"""Settings: published presets, error messages and texts from the command line."""

import pytest

from napari_blind_deconv import Settings
from napari_blind_deconv.settings import PRESET_HELP, ImageStart, Precision, SparsityScale


def test_the_default_is_the_fast_preset():
    assert Settings() == Settings.preset("fast")
    assert next(iter(Settings.presets())) == "fast"


@pytest.mark.parametrize(
    ("name", "rates"), [("paper-synthetic", (1e-2, 1e-4)), ("paper-real", (1e-3, 1e-5))]
)
def test_published_presets_have_the_published_values(name, rates):
    published = Settings.preset(name)
    assert (published.image_learning_rate, published.kernel_learning_rate) == rates
    assert published.learning_rate_milestones == (2000, 3000, 5000, 8000)
    assert published.max_iterations == 10_000
    assert (published.window, published.patience) == (100, 500)
    assert (published.sparsity, published.sparsity_scale) == (1e-5, SparsityScale.PUBLISHED)
    assert published.huber_delta == 0.05
    assert published.kernel_size is None
    assert published.kernel_size_limit is None
    assert published.channels == (128,) * 5
    assert published.precision is Precision.FLOAT32
    assert published.image_start is ImageStart.RANDOM
    assert not any(getattr(published, name) for name in ("headroom", "averaging", "stop_at_noise"))


def test_every_preset_has_help():
    assert list(PRESET_HELP) == list(Settings.presets())


def test_every_setting_has_title_and_help():
    for field in Settings.model_fields.values():
        assert field.title
        assert field.description


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"max_iterations": 0}, r"'max_iterations' got 0; .*greater than or equal to 1"),
        ({"sparsity": float("nan")}, r"'sparsity' got nan; .*finite"),
        ({"kernel_size": "wide"}, r"'kernel_size' got 'wide'"),
        ({"channels": ()}, r"'channels' got \(\); .*at least 1"),
        ({"precision": "float8"}, r"'precision' got 'float8'; .*'float32' or 'auto'"),
        ({"sharpness": 3}, r"no setting 'sharpness'; settings are kernel_size,"),
    ],
)
def test_a_bad_value_is_reported_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Settings(**change)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="no preset 'best'; presets are 'fast'"):
        Settings.preset("best")


@pytest.mark.parametrize(("given", "taken"), [(21, 21), (20, 21), ((20, 31), (21, 31))])
def test_kernel_sides_are_odd(given, taken):
    assert Settings(kernel_size=given).kernel_size == taken


def test_texts_change_settings():
    settings = Settings().with_texts(
        ["sparsity=0.5", "channels=[8, 16]", "kernel_start=flat", "kernel_size_limit=None"]
    )
    assert settings.sparsity == 0.5
    assert settings.channels == (8, 16)
    assert settings.kernel_start == "flat"
    assert settings.kernel_size_limit is None
    with pytest.raises(ValueError, match=r"written as name=value, got 'fast'"):
        Settings().with_texts(["fast"])


def test_settings_are_restored_from_json_and_are_frozen():
    settings = Settings.preset("paper-real")
    assert Settings(**settings.model_dump(mode="json")) == settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValueError, match="frozen"):
        settings.sparsity = 1


def test_a_kernel_network_must_be_registered():
    with pytest.raises(ValueError, match=r"'kernel_network' got 'gan'; expected siren"):
        Settings(kernel_network="gan")
