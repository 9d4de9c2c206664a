"""Secrets by reference: ``env:NAME``, ``file:/path``, ``aws-secret:name`` or ``aws-secret:name#field``; never in plain."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path

from lakekit.errors import ConfigError

_FORMS = "env:NAME, file:/path or aws-secret:name#field"


def secret(reference: str, role: str) -> str:
    """What a reference stands for, looked up now. *role* is the argument that holds it, for messages; no message holds a value.

    Raises ``ConfigError`` when it is no reference (so a password in plain is refused) or leads nowhere.

    >>> os.environ["LAKEKIT_DOCTEST"] = "x"
    >>> secret("env:LAKEKIT_DOCTEST", "password")
    'x'
    """
    kind, _, name = reference.partition(":")
    if not is_reference(reference):
        raise ConfigError(f"{role} must be a reference, {_FORMS}: a secret in plain is refused.")
    return _LOOK_UP[kind](name, role)


def is_reference(text: str) -> bool:
    """Whether a text is written as a reference.

    >>> is_reference("file:/run/secrets/db"), is_reference("hunter2")
    (True, False)
    """
    kind, _, name = text.partition(":")
    return kind in _LOOK_UP and bool(name)


def _from_environment(name: str, role: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ConfigError(f"{role}: the environment variable {name} is not set. Set it before the run.")
    return value


def _from_file(name: str, role: str) -> str:
    try:
        return Path(name).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{role}: the file {name} cannot be read. Write the secret there, alone in the file.") from error
    except UnicodeDecodeError:
        # From None: the original error holds the bytes.
        raise ConfigError(f"{role}: the file {name} is no text in UTF-8. Write the secret there, alone in the file.") from None


def _from_aws(name: str, role: str) -> str:
    secret_id, _, field = name.partition("#")
    try:
        boto3 = import_module("boto3")
    except ImportError as error:
        raise ConfigError(f"{role}: aws-secret: needs boto3. Install lakekit[aws].") from error
    exceptions = import_module("botocore.exceptions")
    try:
        text = str(boto3.client("secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"])
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        raise ConfigError(f"{role}: AWS Secrets Manager does not give {secret_id}. Check its name, the region and the rights.") from error
    return _field(text, field, secret_id, role) if field else text


def _field(text: str, field: str, secret_id: str, role: str) -> str:
    try:
        return str(json.loads(text)[field])
    except (ValueError, KeyError, TypeError):
        # From None: the original error may quote the secret's text.
        raise ConfigError(f"{role}: the secret {secret_id} is no JSON object with the field {field}.") from None


_LOOK_UP = {"env": _from_environment, "file": _from_file, "aws-secret": _from_aws}
