use super::*;

fn finding(code: &'static str, severity: Severity) -> Finding {
    Finding::new(code, severity, "server.bind").because("a reason").fix("a fix")
}

#[test]
fn only_errors_that_nobody_accepted_stop_the_start() {
    let warning = finding("A-001", Severity::Warning);
    let error = finding("B-001", Severity::Error);
    assert!(!Report::new([], &[]).has_errors());
    assert!(!Report::new([warning.clone()], &[]).has_errors());
    assert!(Report::new([warning.clone(), error.clone()], &["A-001"]).has_errors());
    let accepted = Report::new([warning.clone(), error.clone()], &["B-001"]);
    assert!(!accepted.has_errors());
    assert_eq!(accepted.findings(), [warning]);
    assert_eq!(accepted.accepted(), [error]);
}

#[test]
fn the_gravest_findings_come_first_and_keep_their_order() {
    let findings = [
        finding("A-001", Severity::Warning),
        finding("B-001", Severity::Error),
        finding("C-001", Severity::Warning),
        finding("D-001", Severity::Error),
    ];
    let report = Report::new(findings, &[]);
    let codes: Vec<_> = report.findings().iter().map(Finding::code).collect();
    assert_eq!(codes, ["B-001", "D-001", "A-001", "C-001"]);
}

// DEP-02
#[test]
fn a_finding_has_exactly_the_five_members_of_the_contract() {
    let json = serde_json::to_value(finding("A-001", Severity::Error)).unwrap();
    let expected = serde_json::json!({
        "code": "A-001", "severity": "error", "setting": "server.bind", "reason": "a reason", "fix": "a fix",
    });
    assert_eq!(json, expected);
}
