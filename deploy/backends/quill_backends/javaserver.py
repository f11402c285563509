"""HAPI FHIR and EHRbase. Everything that differs between two machines reaches them by their environment, so
that no password is in a command line."""

import base64
import http.client
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

from . import java
from .applications import EHRBASE, HAPI
from .artefacts import Application
from .errors import BackendsError
from .ports import HOST
from .postgres import EHRBASE_DATABASE, EHRBASE_OWNER, EHRBASE_ROLE, HAPI_DATABASE, Postgres
from .processes import spawn
from .server import Server, clean_environment

OPTIONS_VARIABLE: Final = "QUILL_BACKENDS_JAVA_OPTIONS"
EHRBASE_USERNAME: Final = "quill"
EHRBASE_ADMINISTRATOR: Final = "quill-admin"
# The name of this openEHR system is part of every version uid.
EHRBASE_NODE: Final = "quill.local"
_BUILD_JAVA: Final = 17
# The serial collector and the quick compiler alone: a quarter less memory and a third less time to the start.
_COMMON: Final = ("-Xms256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8")
_FIRST_ANSWER: Final = 60.0


class JavaServer(Server):
    """A Java application with an HTTP interface."""

    application: ClassVar[Application]
    java_version: ClassVar[int]
    """The oldest Java that it runs on."""
    heap: ClassVar[str]
    health: ClassVar[str]
    """The path that answers 200 once it works."""

    def packages(self) -> tuple[str, ...]:
        downloads, environ = self.setting.places.downloads, self.setting.environ
        missing = []
        if not self.application.is_fetched(downloads) and not java.maven():
            missing.append("maven")
        if not self.application.is_built(downloads) and java.compiler(_BUILD_JAVA, environ) is None:
            missing.append("default-jdk-headless")
        return tuple(missing)

    def version(self) -> str:
        return self.application.version

    def fetch(self) -> None:
        downloads = self.setting.places.downloads
        if not self.application.is_fetched(downloads):
            self.application.fetch(downloads, self.setting.say)
        if not self.application.is_built(downloads):
            compiler = java.compiler(_BUILD_JAVA, self.setting.environ)
            if compiler is None:
                raise BackendsError(
                    f"Building {self.title}'s launcher needs a JDK, Java {_BUILD_JAVA} or newer with javac: "
                    "install one and set JAVA_HOME."
                )
            self.application.build(downloads, compiler)
        self._java()

    def start(self) -> None:
        downloads = self.setting.places.downloads
        extra = tuple(self.setting.environ.get(OPTIONS_VARIABLE, "").split())
        options = (*_COMMON, f"-Xmx{self.heap}", f"-Djava.io.tmpdir={self._temporary()}", *extra)
        command = self.application.command(self._java().executable, downloads, options)
        environment = {**clean_environment(self.setting.environ), **self.configuration()}
        self.started(spawn(command, environment=environment, log=self.log))

    def answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_FIRST_ANSWER)
        try:
            connection.request(
                "GET", self.health, headers={"Accept": "application/json", **self.authorisation()}
            )
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> bool:
        process = self.setting.state.processes.get(self.name)
        return process is None or process.end((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))

    def kill(self) -> None:
        process = self.setting.state.processes.get(self.name)
        if process is not None:
            process.end((signal.SIGKILL, 5.0))

    def configuration(self) -> Mapping[str, str]:
        """Its settings, as environment variables."""
        return {}

    def authorisation(self) -> Mapping[str, str]:
        """Headers with which it lets the question for its health pass."""
        return {}

    def _java(self) -> java.Java:
        setting = self.setting
        return java.runtime(
            self.java_version, setting.environ, downloads=setting.places.downloads, say=setting.say
        )

    def _temporary(self) -> Path:
        # The common one is shared with other users, in whose way a file of the same name would be.
        temporary = self.directory / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(mode=0o700)
        return temporary

    def _database(self, name: str) -> str:
        return f"jdbc:postgresql://{HOST}:{self.setting.state.ports['postgres']}/{name}"


class Hapi(JavaServer):
    """HAPI FHIR: R4 on PostgreSQL, or on H2 in memory for tests."""

    name: ClassVar[str] = "hapi"
    title: ClassVar[str] = "HAPI FHIR"
    patience: ClassVar[float] = 300.0
    application: ClassVar[Application] = HAPI
    java_version: ClassVar[int] = 17
    heap: ClassVar[str] = "1536m"
    health: ClassVar[str] = "/fhir/metadata"

    def needs(self) -> tuple[str, ...]:
        return ("postgres",) if self.setting.state.hapi_database == "postgresql" else ()

    def configuration(self) -> Mapping[str, str]:
        port = {"SERVER_PORT": str(self.port)}
        if self.setting.state.hapi_database == "h2":
            return port
        Postgres(self.setting).prepare_hapi()
        return {
            **port,
            "SPRING_DATASOURCE_URL": self._database(HAPI_DATABASE),
            "SPRING_DATASOURCE_USERNAME": HAPI_DATABASE,
            "SPRING_DATASOURCE_PASSWORD": self.setting.state.credentials["hapi_database"],
        }


class Ehrbase(JavaServer):
    """EHRbase with basic authentication, as in the containers."""

    name: ClassVar[str] = "ehrbase"
    title: ClassVar[str] = "EHRbase"
    patience: ClassVar[float] = 180.0
    application: ClassVar[Application] = EHRBASE
    java_version: ClassVar[int] = 21
    heap: ClassVar[str] = "1g"
    health: ClassVar[str] = "/ehrbase/rest/status"

    def needs(self) -> tuple[str, ...]:
        return ("postgres",)

    def configuration(self) -> Mapping[str, str]:
        Postgres(self.setting).prepare_ehrbase()
        credentials = self.setting.state.credentials
        return {
            "SERVER_PORT": str(self.port),
            "SERVER_ADDRESS": HOST,
            "SERVER_NODENAME": EHRBASE_NODE,
            "SERVER_TOMCAT_THREADS_MINSPARE": "10",
            "SPRING_PROFILES_ACTIVE": "native",
            "SPRING_DATASOURCE_URL": self._database(EHRBASE_DATABASE),
            "SPRING_DATASOURCE_USERNAME": EHRBASE_ROLE,
            "SPRING_DATASOURCE_PASSWORD": credentials["ehrbase_database"],
            "SPRING_DATASOURCE_HIKARI_MAXIMUMPOOLSIZE": "16",
            "SPRING_FLYWAY_SCHEMAS": "ehr",
            "SPRING_FLYWAY_USER": EHRBASE_OWNER,
            "SPRING_FLYWAY_PASSWORD": credentials["ehrbase_database_owner"],
            "SECURITY_AUTHTYPE": "BASIC",
            "SECURITY_AUTHUSER": EHRBASE_USERNAME,
            "SECURITY_AUTHPASSWORD": credentials["ehrbase"],
            "SECURITY_AUTHADMINUSER": EHRBASE_ADMINISTRATOR,
            "SECURITY_AUTHADMINPASSWORD": credentials["ehrbase_admin"],
            "ADMINAPI_ACTIVE": "false",
            "PLUGINMANAGER_ENABLE": "false",
            "LOGGING_CONFIG": "classpath:quill-logback.xml",
            "LOGGING_LEVEL_ROOT": "WARN",
            "LOGGING_LEVEL_ORG_SPRINGFRAMEWORK": "WARN",
        }

    def authorisation(self) -> Mapping[str, str]:
        pair = f"{EHRBASE_USERNAME}:{self.setting.state.credentials['ehrbase']}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
