"""The doctor command."""

from __future__ import annotations

import json
from dataclasses import asdict

from console.doctor import diagnose


def print_findings(as_json: bool) -> int:
    """Print what this machine lacks; 0 when nothing that the main job needs is missing."""
    findings = diagnose()
    if as_json:
        print(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok     ' if finding.ok else 'MISSING'} {finding.name}: {finding.what}")
            if not finding.ok and finding.command:
                print(f"        mend it with: {finding.command}")
    return 0
