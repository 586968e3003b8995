"""Formatting the findings of the doctor."""

from winterbourne.local.doctor.findings import WHY, format_finding, ok, unknown, wrong


def test_what_is_wrong_stands_out_and_says_how_to_fix_it() -> None:
    findings = (ok("clock", "0 s apart"), unknown("model", "no key"), wrong("table", "gone", "make deploy"))
    lines = "\n".join(map(format_finding, findings)).splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "?", "(an", "WRONG", "(conversations,", "→"]
    assert lines[-1].endswith("→ make deploy")
    assert WHY["table"] in lines[-2]
