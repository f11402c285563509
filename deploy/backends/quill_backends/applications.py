"""The two Java servers as Maven projects."""

from typing import Final

from .artefacts import Application
from .places import DEPLOY

HAPI: Final = Application(
    name="hapi",
    project=DEPLOY / "hapi" / "launcher",
    main="quill.hapi.HapiServer",
    artefact="ca.uhn.hapi.fhir.hapi-fhir-jpaserver-base",
)
EHRBASE: Final = Application(
    name="ehrbase",
    project=DEPLOY / "backends" / "ehrbase",
    main="quill.ehrbase.EhrbaseServer",
    artefact="org.ehrbase.openehr.configuration",
)
