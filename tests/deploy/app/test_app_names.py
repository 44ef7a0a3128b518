from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from deploy.app.names import check_package, class_name


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("demo-pcqat.tflite", "DemoPcqat"),
        ("fashion_mnist-w0-prune0.75_qat.tflite", "FashionMnistW0Prune075Qat"),
        ("2024-ptq.tflite", "Model2024Ptq"),
    ],
)
def test_class_names(file: str, expected: str) -> None:
    assert class_name(file) == expected


@given(st.text("aZ0._-", max_size=12), st.sampled_from("aZ09"))
def test_every_release_name_gives_a_java_identifier(rest: str, first: str) -> None:
    assert class_name(f"{first}{rest}-qat.tflite").isidentifier()


@pytest.mark.parametrize("package", ["com.example.litesmith", "org.a1.b_c.d"])
def test_packages(package: str) -> None:
    check_package("config.release.android_package", package)


@pytest.mark.parametrize(
    "package", ["", "app", "com.Example", "com.new.app", "com..app", "com.1a", "com.a-b", "../x.y"]
)
def test_bad_packages(package: str) -> None:
    with pytest.raises(UsageError, match=r"config\.release\.android_package: .* expected a Java package"):
        check_package("config.release.android_package", package)
