"""From the text of a document to `Settings`: strict, so that a misspelt field never means a silent default."""

from __future__ import annotations

import dataclasses
from typing import Any, Final, NoReturn

from wirecrypt.errors import APPLY_AGAIN, ConfigError
from wirecrypt.model.objects import ConfigDocument
from wirecrypt.settings.fields import DOCUMENT, Settings
from wirecrypt.settings.loading import load, refusal, shown

_LONGEST: Final = 120  # characters of a path in a message
_ABBREVIATIONS: Final = ("cidrs",)


def from_document(document: ConfigDocument | None) -> Settings:
    """Return the settings of the ConfigMap's document; raises `ConfigError`, also when there is none.

    Agents, controllers, `doctor` and `enable` judge by this alone. Defaults are no configuration: they guard no range.
    """
    if document is None:
        answer = "it is not there, or is no ConfigMap with data"
        raise ConfigError("read the configuration", what="ConfigMap wirecrypt-config", answer=answer, hint=APPLY_AGAIN)
    if set(document.data) != {DOCUMENT}:
        raise ConfigError(
            "read the ConfigMap wirecrypt-config",
            what=", ".join(sorted(document.data)) or "no key",
            answer=f"it must have exactly the key {DOCUMENT}",
            hint="compare it with overlays/example/config.yaml",
        )
    return parse(document.data[DOCUMENT])


def parse(text: str) -> Settings:
    """Return the settings that *text* describes; raises `ConfigError` with path, value and what is allowed."""
    raw = load(text)
    settings: Settings = _group(Settings, {} if raw is None else raw, "")
    _together(settings)
    return settings


def api_name(name: str) -> str:
    """Return the name that a field has in documents: camelCase, abbreviations of Kubernetes in capitals."""
    first, *rest = name.split("_")
    return first + "".join("CIDRs" if part in _ABBREVIATIONS else part.capitalize() for part in rest)


def _group(cls: type, raw: object, path: str) -> Any:  # noqa: ANN401 - the class that was given
    if not isinstance(raw, dict):
        _refuse(path.rstrip(".") or "document", raw, "a mapping of fields", "not a mapping")
    known = {api_name(f.name): f for f in dataclasses.fields(cls)}
    for name in raw:
        if name not in known:
            _refuse(
                f"{path}{name if isinstance(name, str) else shown(name)}",
                raw[name],
                "one of " + ", ".join(sorted(known)),
                "no such field",
                named=False,
            )
    return cls(**{known[name].name: _value(known[name], value, f"{path}{name}") for name, value in raw.items()})


def _value(field: dataclasses.Field[Any], raw: object, path: str) -> Any:  # noqa: ANN401 - the field's own type
    if "section" in field.metadata:
        return _group(field.metadata["section"], {} if raw is None else raw, f"{path}.")
    kind = field.metadata["kind"]
    try:
        return kind.read(raw)
    except ValueError as error:
        _refuse(path, raw, kind.allowed, str(error), cause=error)


def _together(settings: Settings) -> None:
    """Refuse values that are each allowed and not together."""
    for unit in ("bytes", "packets"):
        soft, hard = getattr(settings.limits, f"soft_{unit}"), getattr(settings.limits, f"hard_{unit}")
        if soft >= hard:
            name = unit.capitalize()
            _refuse(f"limits.hard{name}", hard, f"more than limits.soft{name}, {soft}", "not above the soft limit")


def _refuse(  # noqa: PLR0913 - the parts of one message
    path: str, raw: object, allowed: str, why: str, *, named: bool = True, cause: Exception | None = None
) -> NoReturn:
    value = f" = {shown(raw)}" if named else ""
    raise refusal(f"{path[:_LONGEST]}{value}", f"{why}; allowed: {allowed}") from cause
