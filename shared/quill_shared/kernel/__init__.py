"""What every context of Quill means by a caller, a permission, a competency and access to a patient.

- `principal`: who is calling
- `permissions`, `cbac`: what an account may do in the system, and what a professional may do to a patient
- `guards`: who may call a route, as annotated aliases; `public`: the routes that anybody may call
- `access`: who may see which patient, projected from events into every service that decides
"""
