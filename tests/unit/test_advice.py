"""Commands that a person can type again."""

import pytest

from e2e_matrix.advice import words_of


@pytest.mark.parametrize(
    "publishing",
    [
        "--publish",
        "--publish github-check",
        "--publish=github-check --publish github-comment",
        "--repo octo/matrix --publish --pr 7",
        "--publish --sha=abc --key nightly --mode always --run-url https://x --api-url https://y",
    ],
)
def test_who_types_a_command_again_does_not_publish(publishing: str) -> None:
    command = ["python", "-m", "e2e-matrix", "run", "-q", *publishing.split(), "--only", "java-*"]
    assert words_of(command) == ["run", "-q", "--only", "java-*"]


def test_a_command_that_ends_in_publish_is_whole() -> None:
    assert words_of(["e2e-matrix", "run", "-q", "--publish"]) == ["run", "-q"]
