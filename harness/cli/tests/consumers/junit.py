"""Reads JUnit XML as build servers do: by the schema of Jenkins' xunit plugin and with junitparser.

junit.py SCHEMA FILE: prints what was found as JSON.
"""
import json
import sys

from junitparser import Error, Failure, Skipped
from junitparser.xunit2 import JUnitXml
from lxml import etree

schema = etree.XMLSchema(etree.parse(sys.argv[1]))
try:
    schema.validate(etree.parse(sys.argv[2]))
    problems = [str(problem) for problem in schema.error_log]
except etree.XMLSyntaxError as error:
    print(json.dumps({"problems": [str(error)], "cases": []}))
    sys.exit()

cases = []
for suite in JUnitXml.fromfile(sys.argv[2]):
    for case in suite:
        kinds = [
            name
            for name, kind in [("failure", Failure), ("error", Error), ("skipped", Skipped)]
            if any(isinstance(result, kind) for result in case.result)
        ]
        cases.append({
            "name": case.name,
            "results": kinds,
            "message": [result.message for result in case.result],
            "flaky": case.is_flaky,
            "reruns": len(case.rerun_failures()),
            "seconds": case.time,
            "output": case.system_out,
        })
print(json.dumps({"problems": problems, "cases": cases}))
