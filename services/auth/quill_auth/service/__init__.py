"""The use cases of the auth context, by noun; each public method is one transaction.

- `credentials`: who somebody is, by password
- `sessions`: sign in, refresh, sign out, me, what is revoked
- `registration`: people who register themselves
- `users`: administration of accounts
- `access`: invitations and grants to people outside
- `accounts`, `throttling`: what those have in common
- `startup`: the first key and the first superadmin
"""
