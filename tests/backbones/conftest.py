from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.backbones.exports import CASES, SLOW, Exported, export, make


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Exports a case, once."""
    folder, done = tmp_path_factory.mktemp("onnx"), {}

    def get(case: str) -> Exported:
        if case not in done:
            name, outputs, options, network = (CASES | SLOW)[case]
            path = folder / f"{case.replace(' ', '-')}.onnx"
            done[case] = export(make(name, outputs, **network), path, **options)
        return done[case]

    return get
