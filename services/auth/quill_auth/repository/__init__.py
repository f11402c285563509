"""Every query of the auth context, by noun."""
