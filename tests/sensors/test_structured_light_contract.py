"""The Kinect v1 keeps what every sensor promises."""

from __future__ import annotations

import pytest

from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import parse_sensor
from depthforge.sensors.structured_light import StructuredLight
from depthforge.testing.sensors import SensorTests


class TestPresetContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return parse_sensor("kinect_v1")


class TestPublishedContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return StructuredLight(published=True)


class TestPatchesOnSurfacesContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return StructuredLight(patch_share=0.1, patch_size_m=0.3, patch_persistence=0.9, patch_incidence=1.0)
