"""Refusals that only the HTTP side gives; each code is stable and documented."""

from __future__ import annotations

from libs.shared.errors import ServiceError


class BadRequest(ServiceError):
    """A request that is well formed and can't be meant; ``data["param"]`` names the field."""

    code = "bad_request"
    status = 400


class UnsupportedParameter(ServiceError):
    """A parameter of OpenAI's API that this installation does not honour, and will not pretend to."""

    code = "unsupported_parameter"
    status = 400


class TokenLimit(ServiceError):
    """More output tokens asked for than one request may have."""

    code = "token_limit"
    status = 400


class NotAuthenticated(ServiceError):
    """No credential, or one of a kind that isn't known."""

    code = "not_authenticated"
    status = 401


class InvalidApiKey(ServiceError):
    """A key that doesn't exist, was revoked or has expired."""

    code = "invalid_api_key"
    status = 401


class InvalidToken(ServiceError):
    """An access token that is forged, expired or revoked, or whose account may not be used."""

    code = "invalid_token"
    status = 401


class InvalidCredentials(ServiceError):
    """The name and the password don't go together; which of them is wrong is not told."""

    code = "invalid_credentials"
    status = 401


class NotAllowed(ServiceError):
    """The caller's role or key may not do this."""

    code = "not_allowed"
    status = 403


class SessionRequired(ServiceError):
    """An API key can't do this: log in."""

    code = "session_required"
    status = 403


class PasswordChangeRequired(ServiceError):
    """A one-time password only serves to choose another."""

    code = "password_change_required"
    status = 403


class LockedOut(ServiceError):
    """Too many wrong passwords; ``data["retry_after_s"]`` says when to try again."""

    code = "locked_out"
    status = 429


class RateLimited(ServiceError):
    """Over the caller's limit; ``data["retry_after_s"]`` says when to try again."""

    code = "rate_limited"
    status = 429


class RequestTimeout(ServiceError):
    """The body took too long to arrive."""

    code = "request_timeout"
    status = 408


class NotFound(ServiceError):
    """No such path."""

    code = "not_found"
    status = 404


class MethodNotAllowed(ServiceError):
    """The path doesn't know this method."""

    code = "method_not_allowed"
    status = 405
