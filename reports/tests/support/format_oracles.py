"""What others say of our formats: each validator takes a file's text and gives its complaints.

A machine without a validator skips the tests that need it; ``.ci/format-oracles`` brings them.
"""

import csv
import importlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest

from probes.files import SUITE
from probes.tests.support.oracles import REQUIRE_VARIABLE

STORE = SUITE / ".oracles"
PATIENCE_SECONDS = 120

_MULTITOOL = STORE / "node_modules/@microsoft/sarif-multitool-linux"
_HEIMDALL = """
const {convertFile, convertFileContextual} = require(process.argv[1]);
const text = require("fs").readFileSync(0, "utf8");
const read = convertFile(text, true);
if (!read["1_0_ExecJson"]) {
  console.log(JSON.stringify({errors: Object.values(read.errors).map(String)}));
} else {
  const profile = convertFileContextual(text).contains[0];
  const statuses = profile.contains.map((one) => [one.data.id, one.hdf.status]);
  console.log(JSON.stringify({errors: [], statuses}));
}
"""


def _missing(what: str) -> NoReturn:
    sentence = f"needs {what}: sh .ci/format-oracles"
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def module(name: str) -> Any:  # noqa: ANN401 - which module it is, only the caller knows
    """A Python package that is a validator, or the end of the test where it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        _missing(f"the Python package of {name}")


def stored(path: Path) -> Path:
    """A file that ``.ci/format-oracles`` brings, or the end of the test where it is missing."""
    return path if path.exists() else _missing(path.name)


def junit(text: str) -> list[str]:
    """Jenkins' XSD, by libxml2, and junitparser."""
    etree = module("lxml.etree")
    schema = etree.XMLSchema(etree.parse(str(stored(STORE / "junit-10.xsd"))))
    try:
        document = etree.fromstring(text.encode())
    except etree.XMLSyntaxError as error:
        return [str(error)]
    if not schema.validate(document):
        return [str(error) for error in schema.error_log]
    read = module("junitparser").JUnitXml.fromstring(text.encode())
    suites = list(read)
    counted = {
        "tests": sum(len(list(suite)) for suite in suites),
        "failures": sum(suite.failures for suite in suites),
        "errors": sum(suite.errors for suite in suites),
    }
    return [
        f"{name}: {getattr(read, name)} said, {count} found"
        for name, count in counted.items()
        if getattr(read, name) != count
    ]


def sarif_schema(text: str) -> list[str]:
    """The schema of OASIS, as Microsoft ships it."""
    schema = json.loads(stored(_MULTITOOL / "sarif-2.1.0.json").read_text(encoding="utf-8-sig"))
    # It is of draft 7 although it says 4: it uses "if" nowhere, and formats of neither.
    validator = jsonschema.Draft7Validator(schema)
    return [error.message for error in validator.iter_errors(json.loads(text))]


def code_scanning(texts: Mapping[str, str], folder: Path) -> dict[str, list[str]]:
    """Microsoft's SARIF Multitool, with the rules of the standard and those of GitHub.

    Args:
        texts: the logs by a name; all in one start of it, which takes seconds.
        folder: for the files.

    Returns:
        The complaints by name, without names that have none.
    """
    for name, text in texts.items():
        (folder / f"{name}.sarif").write_text(text, encoding="utf-8")
    report = folder / "validation.json"
    files = [str(folder / f"{name}.sarif") for name in texts]
    words = ["validate", *files, "--rule-kind", "Sarif;Ghas", "--output", str(report)]
    ended = subprocess.run(
        [str(stored(_MULTITOOL / "Sarif.Multitool")), *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert f"{len(files)} files scanned" in ended.stdout, ended.stdout + ended.stderr
    found: dict[str, list[str]] = {}
    for run in json.loads(report.read_text(encoding="utf-8-sig"))["runs"]:
        for result in run.get("results", ()):
            # It wants the address of the tool's home, which this one does not have.
            if result["ruleId"] != "SARIF2005":
                (place,) = result["locations"]
                uri = place["physicalLocation"]["artifactLocation"]["uri"]
                name = uri.rpartition("/")[2].removesuffix(".sarif")
                found.setdefault(name, []).append(f"{result['ruleId']}: {result['message']}")
    return found


def intoto(text: str) -> list[str]:
    """The library of in-toto: its messages take no unknown field, its statement validates."""
    json_format = module("google.protobuf.json_format")
    statements = module("in_toto_attestation.v1.statement_pb2")
    results = module("in_toto_attestation.predicates.test_result.v0.test_result_pb2")
    document = json.loads(text)
    try:
        message = json_format.ParseDict(document, statements.Statement())
        module("in_toto_attestation.v1.statement").Statement.copy_from_pb(message).validate()
        predicate = json_format.ParseDict(document["predicate"], results.TestResult())
        descriptor = module("in_toto_attestation.v1.resource_descriptor").ResourceDescriptor
        for one in predicate.configuration:
            descriptor.copy_from_pb(one).validate()
    except (ValueError, json_format.ParseError) as error:
        return [str(error)]
    known = {"PASSED", "WARNED", "FAILED"}
    return [] if predicate.result in known else [f"result {predicate.result}"]


def oscal(text: str) -> list[str]:
    """The models of compliance-trestle."""
    models = module("trestle.oscal.assessment_results")
    document = json.loads(text)
    if set(document) != {"assessment-results"}:
        return ["is no assessment-results"]
    try:
        models.AssessmentResults(**document["assessment-results"])
    except ValueError as error:  # pydantic's ValidationError is one
        return [str(error)]
    references = re.findall(r'"(?:observation|subject)-uuid": "([^"]+)"', text)
    defined = set(re.findall(r'"uuid": "([^"]+)"', text))
    twice = len(defined) != len(re.findall(r'"uuid": "', text))
    return [f"{one} is not defined" for one in set(references) - defined] + ["uuid twice"] * twice


def hdf(text: str) -> list[str]:
    """The library by which Heimdall reads."""
    errors: list[str] = heimdall(text)["errors"]
    return errors


def heimdall(text: str) -> dict[str, Any]:
    """What Heimdall makes of a file: its errors, and the status of each control."""
    node = shutil.which("node") or _missing("node")
    library = stored(STORE / "node_modules/inspecjs")
    ended = subprocess.run(
        [node, "-e", _HEIMDALL, str(library)],
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


def table(text: str) -> list[str]:
    """Python's reader of CSV, strict, and RFC 4180's line ends."""
    if not text.endswith("\r\n"):
        return ["the last line has no end"]
    try:
        rows = list(csv.reader(text.split("\r\n")[:-1], strict=True))
    except csv.Error as error:
        return [str(error)]
    return [f"a row of {len(row)} fields" for row in rows if len(row) != len(rows[0])]


_TAGS = frozenset(["h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "strong"])


class _Tags(HTMLParser):
    """Notes every element that is not one of a summary's own."""

    def __init__(self) -> None:
        super().__init__()
        self.strange: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes the element."""
        if tag not in _TAGS or attrs:
            self.strange.append(f"<{tag} {attrs}>")


def markdown(text: str) -> list[str]:
    """GitHub's own renderer (cmark-gfm), which must find nothing but headings and tables."""
    renderer = module("cmarkgfm")
    page = renderer.github_flavored_markdown_to_html(
        text, module("cmarkgfm.cmark").Options.CMARK_OPT_UNSAFE
    )
    tags = _Tags()
    tags.feed(page)
    rows = sum(line.startswith("| ") for line in text.splitlines())
    tables = sum(line.startswith("| --- |") for line in text.splitlines())
    found = page.count("<tr>")
    return tags.strange + ([] if found == rows - tables else [f"{found} rows of {rows - tables}"])


_TOOLKIT = """
const core = require(process.argv[1]);
for (const one of JSON.parse(require("fs").readFileSync(0, "utf8"))) {
  core.error(one.message, one.properties);
}
"""
_COMMAND = re.compile(r"::error(?: ([^:]*(?::[^:]+)*))?::(.*)")
_PROPERTIES = {"title": "title", "file": "file", "line": "startLine", "endLine": "endLine"}


def annotations(text: str) -> list[str]:
    """GitHub's toolkit, which must write what was read here in the very same way."""
    lines = text.split("\n")[:-1]
    read = [_COMMAND.fullmatch(line) for line in lines]
    if not all(read) or len(lines) > 10:
        return [f"{len(lines)} lines, of which {read.count(None)} are no command"]
    plain = [
        {
            "message": _unescaped(one[2]),
            "properties": {
                _PROPERTIES.get(name, name): _unescaped(value)
                for name, _, value in (part.partition("=") for part in (one[1] or "").split(","))
                if name
            },
        }
        for one in read
        if one is not None
    ]
    node = shutil.which("node") or _missing("node")
    library = stored(STORE / "node_modules/@actions/core")
    ended = subprocess.run(
        [node, "-e", _TOOLKIT, str(library)],
        input=json.dumps(plain),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    return [] if ended.stdout == text else ["the toolkit writes them otherwise"]


def _unescaped(text: str) -> str:
    for code, character in (("0D", "\r"), ("0A", "\n"), ("3A", ":"), ("2C", ","), ("25", "%")):
        text = text.replace(f"%{code}", character)
    return text


_CODE_QUALITY = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "additionalProperties": False,
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "additionalProperties": False,
                "properties": {
                    "path": {"type": "string", "pattern": "^[^/]", "not": {"pattern": "^\\./"}},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "additionalProperties": False,
                        "properties": {
                            "begin": {"type": "integer", "minimum": 1},
                            "end": {"type": "integer", "minimum": 1},
                        },
                    },
                },
            },
        },
    },
}
"""What GitLab's documentation asks of a Code Quality report; it publishes no schema."""


def code_quality(text: str) -> list[str]:
    """What GitLab asks for, and that it can tell the issues apart."""
    document = json.loads(text)
    found = [
        error.message
        for error in jsonschema.Draft202012Validator(_CODE_QUALITY).iter_errors(document)
    ]
    prints = [one.get("fingerprint") for one in document]
    return found + (["a fingerprint is there twice"] if len(set(prints)) < len(prints) else [])


Validator = Callable[[str], list[str]]

VALIDATORS: dict[str, Validator] = {
    "markdown": markdown,
    "junit": junit,
    "sarif": sarif_schema,
    "codequality": code_quality,
    "github": annotations,
    "intoto": intoto,
    "oscal": oscal,
    "hdf": hdf,
    "csv": table,
}
"""By format; the page for auditors has tests of its own."""
