"""slixmpp's own integration tests: run as they are, told about test by test.

itests.py FOLDER

FOLDER holds the `itests` of slixmpp's source; the environment says what they take from it (CI_…).
Prints a JSON object a line for each test: {"test": NAME, "outcome": OUTCOME, "why": TEXT}, where NAME
is as in `test_muc.test_kick`, and OUTCOME is `passed`, `failed` or `skipped`.
"""
import importlib
import json
import logging
import pathlib
import sys
import unittest
import warnings


class Telling(unittest.TestResult):
    def tell(self, test, outcome, why=""):
        module, _class, name = test.id().rsplit(".", 2)
        name = f"{module.removeprefix('itests.')}.{name}"
        print(json.dumps({"test": name, "outcome": outcome, "why": why}), flush=True)

    def addSuccess(self, test):
        self.tell(test, "passed")

    def addFailure(self, test, error):
        self.tell(test, "failed", self._exc_info_to_string(error, test))

    addError = addFailure

    def addSkip(self, test, reason):
        self.tell(test, "skipped", reason)


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    folder = pathlib.Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    result = Telling()
    for file in sorted(folder.glob("itests/test_*.py")):
        importlib.import_module(f"itests.{file.stem}").suite.run(result)


main()
