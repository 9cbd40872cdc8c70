from __future__ import annotations

import pytest

from depthforge.storage import Storage, open_storage
from depthforge.testing.storage import StorageTests


class TestObjectStorage(StorageTests):
    @pytest.fixture
    def storage(self, bucket: str) -> Storage:
        return open_storage(bucket)
