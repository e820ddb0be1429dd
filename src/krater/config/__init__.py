"""Settings: read once, checked, and handed out as plain typed values."""

from krater.config.loading import load, sample
from krater.config.sections import (
    AgentSettings,
    ApiSettings,
    ControllerSettings,
    CoreSettings,
    DatabaseSettings,
    GatewaySettings,
    IdentitySettings,
    LimitSettings,
    NetworkSettings,
    QuotaSettings,
    RegistrySettings,
    SchedulerSettings,
    Settings,
    VolumeSettings,
)

__all__ = [
    "AgentSettings",
    "ApiSettings",
    "ControllerSettings",
    "CoreSettings",
    "DatabaseSettings",
    "GatewaySettings",
    "IdentitySettings",
    "LimitSettings",
    "NetworkSettings",
    "QuotaSettings",
    "RegistrySettings",
    "SchedulerSettings",
    "Settings",
    "VolumeSettings",
    "load",
    "sample",
]
