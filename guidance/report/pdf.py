"""The report as PDF, where the machine can make one."""

from __future__ import annotations

import logging
from pathlib import Path

from kinematics.durable import write_bytes
from kinematics.errors import StorageError

COMMAND = "apt-get install -y libpango-1.0-0 libpangoft2-1.0-0"


def write_pdf(html_path: Path, pdf_path: Path) -> str | None:
    """Print `html_path` to `pdf_path`, whole or not at all.

    The PDF is a copy for filing: no fault in making it may end a run, so each is said and the run goes on.

    Returns:
        None when it was written, else one sentence that says why not, with the command that mends it.
    """
    # The PDF libraries report every unused style through logging: not for the operator.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    try:
        from weasyprint import HTML

        content = HTML(filename=str(html_path)).write_pdf()
    except (ImportError, OSError) as error:
        cause = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        return f"report.pdf was not written ({cause}); report.html is complete. To have it: {COMMAND}"
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError) as error:
        return f"report.pdf was not written ({type(error).__name__}: {error}); report.html is complete"
    if not isinstance(content, bytes):
        return "report.pdf was not written (the PDF came out empty); report.html is complete"
    try:
        write_bytes(pdf_path, content)
    except StorageError as error:
        return str(error)
    return None
