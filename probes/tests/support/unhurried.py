"""How Hypothesis runs here: without a stopwatch, which a loaded machine would lose to."""

from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
