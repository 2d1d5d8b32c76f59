"""Validates a submission with kcidb-io, as `kcidb-validate` and the service do.

kcidb.py FILE: prints as JSON what is wrong with it, or how many objects it has.
"""
import json
import sys

import jsonschema
from kcidb_io.schema import V5_3

with open(sys.argv[1], encoding="utf-8") as file:
    data = json.load(file)
try:
    V5_3.validate_exactly(data)
except jsonschema.exceptions.ValidationError as error:
    print(json.dumps({"problem": error.message}))
else:
    print(json.dumps({"problem": None, "objects": V5_3.count(data)}))
