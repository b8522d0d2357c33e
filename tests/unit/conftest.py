"""What all unit tests share: hypothesis judges results, not the speed of a busy machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("wirecrypt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wirecrypt")
