"""Errors of the openEHR stand-in, answered as EHRbase does: ``{"error", "message"}``.

::

    OpenEhrError
    ├── BadRequestError          400
    ├── UnauthorizedError        401
    ├── NotFoundError            404
    ├── NotAcceptableError       406
    ├── ConflictError            409
    ├── TooLargeError            413
    ├── UnsupportedMediaError    415
    └── UnavailableError         503

Messages name fields, never their values, as these may be about a patient.
"""

from http import HTTPStatus
from typing import ClassVar


class OpenEhrError(Exception):
    """A refusal with its message."""

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR


class BadRequestError(OpenEhrError):
    status = HTTPStatus.BAD_REQUEST


class UnauthorizedError(OpenEhrError):
    status = HTTPStatus.UNAUTHORIZED


class NotFoundError(OpenEhrError):
    status = HTTPStatus.NOT_FOUND


class NotAcceptableError(OpenEhrError):
    status = HTTPStatus.NOT_ACCEPTABLE


class ConflictError(OpenEhrError):
    status = HTTPStatus.CONFLICT


class TooLargeError(OpenEhrError):
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UnsupportedMediaError(OpenEhrError):
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class UnavailableError(OpenEhrError):
    status = HTTPStatus.SERVICE_UNAVAILABLE
