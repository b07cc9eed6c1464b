#!/usr/bin/env python3
"""Checks recorded decisions with PyPI's `cedarpy`, a Cedar engine that is not ours.

Reads the JSON lines of `cargo run -p countersign-policy --example oracle -- 200` from standard
input. For every ask the engine must give the same decision, name the same determining policies
and report as many errors; and we permit exactly what it allows without any error.
"""

import json
import sys
from collections import Counter

import cedarpy


def check(number: int, line: dict, seen: Counter) -> None:
    # As a handle: JSON given as text yields NoDecision, and Cedar text loses the ids.
    policies = cedarpy.PolicySet.from_json_str(json.dumps(line["policies"]))
    entities = json.dumps(line["entities"])
    assert len(line["asks"]) == len(line["expected"]), f"line {number}: asks are missing"
    for ask, expected in zip(line["asks"], line["expected"]):
        request = {key: ask[key] for key in ("principal", "action", "resource", "context")}
        answer = cedarpy.is_authorized(request, policies, entities)
        found = {
            "decision": answer.decision.value,
            "reasons": sorted(answer.diagnostics.reasons),
            "errors": len(answer.diagnostics.errors),
        }
        wanted = {key: expected[key] for key in found}
        assert found == wanted, f"line {number}: {ask}\nfound  {found}\nwanted {wanted}"
        clean = found["decision"] == "Allow" and not found["errors"]
        assert clean == (expected["ours"] == "permit"), f"line {number}: {ask} {expected}"
        seen[expected["ours"], found["decision"], found["errors"] > 0] += 1


def main() -> None:
    seen: Counter = Counter()
    number = 0
    for number, line in enumerate(sys.stdin, start=1):
        check(number, json.loads(line), seen)
    assert number, "no input"
    for (ours, cedar, failed), count in sorted(seen.items()):
        print(f"{count:6} {ours} by us, {cedar}{' with errors' if failed else ''} by cedarpy")
    print(f"ok: {sum(seen.values())} asks in {number} questions agree")


if __name__ == "__main__":
    main()
