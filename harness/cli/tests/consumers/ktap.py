"""Reads KTAP with the kernel's own parser.

ktap.py tools/testing/kunit FILE: prints the tree of tests as JSON.
"""
import contextlib
import io
import json
import sys

sys.path.insert(0, sys.argv[1])
# The parser is in a kernel's source, which stays as it is.
sys.dont_write_bytecode = True


def tree(test):
    return {
        "name": test.name,
        "status": test.status.name,
        "errors": test.counts.errors,
        "subtests": [tree(subtest) for subtest in test.subtests],
    }


# The parser takes standard output as it is when it is imported, and tells its story there.
with open(sys.argv[2], encoding="utf-8") as file, contextlib.redirect_stdout(io.StringIO()):
    import kunit_parser

    found = kunit_parser.parse_run_tests(file.readlines())
print(json.dumps(tree(found)))
