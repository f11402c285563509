"""The rules of the auth context, free of any framework.

- `names`: how user names and addresses are written and compared
- `passwords`: which passwords are acceptable
- `sessions`: what a refresh token may still do
- `administration`: who may administer whom
- `throttling`: how failures slow an account or an address down
- `invites`: when an invitation to a record still stands
- `keys`: which key signs
"""
