"""Settings of the orgs service."""

from quill_shared.platform.settings import BaseUrl, ServiceSettings


class OrgsSettings(ServiceSettings):
    """Beside the platform's: where the owners of accounts and of patients are asked."""

    port: int = 8105
    patients_url: BaseUrl = "http://127.0.0.1:8102"
