//! The disposition table, row by row.

use askalf_proto::{BridgeError, Reason};

use super::*;
use crate::machine::CertificateProblem;

fn error(code: ErrorCode, reason: Option<Reason>, retry_after_ms: Option<u64>) -> Fault {
    Fault::Refused(BridgeError {
        code,
        message: String::new(),
        reason,
        retry_after_ms,
    })
}

fn close(code: u16, text: &str) -> Fault {
    Fault::Closed {
        code: Some(code),
        text: text.to_owned(),
    }
}

fn http(status: u16) -> Fault {
    Fault::HttpStatus {
        status,
        server: Some("gateway".to_owned()),
        retry_after: Some(Duration::from_secs(7)),
    }
}

fn outcome(fault: &Fault) -> (Disposition, String) {
    let verdict = fault.verdict();
    (verdict.disposition, verdict.reason.id.into_owned())
}

#[test]
fn faults_of_the_network_and_of_the_bridge_are_backed_off() {
    let detail = "x".to_owned();
    for (fault, id) in [
        (
            Fault::Unreachable {
                detail: detail.clone(),
            },
            "unreachable",
        ),
        (
            Fault::NameLookup {
                detail: detail.clone(),
            },
            "name-lookup",
        ),
        (
            Fault::TlsHandshake {
                detail: detail.clone(),
            },
            "tls-handshake",
        ),
        (Fault::Lost { detail }, "connection-lost"),
        (
            Fault::Closed {
                code: None,
                text: String::new(),
            },
            "connection-lost",
        ),
        (close(1000, ""), "closed-by-bridge"),
        (close(1001, "Server shutting down"), "bridge-shutdown"),
        (close(1006, ""), "connection-lost"),
        (close(1011, ""), "bridge-fault"),
        (close(1012, ""), "bridge-shutdown"),
        (close(1013, ""), "bridge-fault"),
        (close(4002, "Heartbeat timeout"), "heartbeat-timeout"),
        (close(4999, ""), "closed-by-bridge"),
        (
            Fault::Silent {
                silent: Duration::from_secs(60),
            },
            "heartbeat-lost",
        ),
        (Fault::NotRegistered { tries: 3 }, "not-registered"),
        (Fault::BadFrame(BadFrame::NotUtf8), "frame-not-utf8"),
        (
            Fault::BadFrame(BadFrame::TooLarge { bytes: 1 }),
            "frame-too-large",
        ),
        (error(ErrorCode::AuthRequired, None, None), "key-stripped"),
        (close(4001, "Missing token"), "key-stripped"),
    ] {
        assert_eq!(
            outcome(&fault),
            (Disposition::Backoff { retry_after: None }, id.to_owned()),
            "{fault:?}"
        );
    }
}

#[test]
fn the_servers_wish_is_kept() {
    let wish = Disposition::Backoff {
        retry_after: Some(Duration::from_millis(1500)),
    };
    for (code, reason) in [
        (ErrorCode::ServerShutdown, None),
        (ErrorCode::InternalError, None),
        (ErrorCode::InternalError, Some(Reason::Unavailable)),
        (ErrorCode::InternalError, Some(Reason::Overloaded)),
        // A fault of the bridge can never look like a bad key, whatever code it hides under.
        (ErrorCode::InternalError, Some(Reason::Unknown)),
        (ErrorCode::AuthFailed, Some(Reason::Unavailable)),
        (ErrorCode::AuthFailed, Some(Reason::Overloaded)),
        (ErrorCode::UserNotFound, Some(Reason::Unavailable)),
    ] {
        let fault = error(code, reason, Some(1500));
        assert_eq!(fault.verdict().disposition, wish, "{fault:?}");
    }
    let waits = Disposition::Backoff {
        retry_after: Some(Duration::from_secs(7)),
    };
    for (status, id) in [
        (401, "access-gateway"),
        (403, "access-gateway"),
        (407, "proxy-authentication"),
        (429, "too-many-requests"),
        (500, "bridge-fault"),
        (503, "bridge-fault"),
        (418, "http-status"),
    ] {
        assert_eq!(outcome(&http(status)), (waits, id.to_owned()));
    }
}

#[test]
fn only_a_definite_answer_leads_to_repair() {
    let repair = Disposition::RepairRequired {
        recheck: Recheck::Soon,
    };
    for (reason, id) in [
        (Reason::Unknown, "unknown"),
        (Reason::Revoked, "revoked"),
        (Reason::Expired, "expired"),
        (Reason::ScopeMissing, "scope_missing"),
        (Reason::UserInactive, "user_inactive"),
    ] {
        let fault = error(ErrorCode::AuthFailed, Some(reason), None);
        assert_eq!(outcome(&fault), (repair, id.to_owned()));
    }
    for fault in [
        error(ErrorCode::UserNotFound, None, None),
        error(ErrorCode::UserNotFound, Some(Reason::UserInactive), None),
        close(4001, "User not found"),
    ] {
        assert_eq!(outcome(&fault), (repair, "user_inactive".to_owned()));
        assert!(fault.verdict().reason.hint.contains("ask the operator"));
    }
}

#[test]
fn without_a_reason_there_is_a_second_try() {
    for fault in [
        error(ErrorCode::AuthFailed, None, None),
        close(4001, "Invalid token"),
    ] {
        assert_eq!(outcome(&fault), (Disposition::SecondTry, "no_reason".to_owned()));
    }
}

#[test]
fn wrong_addresses_and_certificates_are_tried_slowly() {
    for (fault, id) in [
        (http(404), "wrong-url"),
        (http(301), "redirected"),
        (http(308), "redirected"),
        (http(200), "not-a-bridge"),
        (
            Fault::NotWebSocket {
                detail: "no".to_owned(),
            },
            "not-a-bridge",
        ),
        (Fault::NoRoots, "no-root-certificates"),
        (certificate(CertificateProblem::Expired), "certificate-expired"),
        (
            certificate(CertificateProblem::NotValidYet),
            "certificate-not-valid-yet",
        ),
        (
            certificate(CertificateProblem::UnknownIssuer),
            "certificate-unknown-issuer",
        ),
        (
            certificate(CertificateProblem::WrongName),
            "certificate-wrong-name",
        ),
        (
            certificate(CertificateProblem::NotPinned),
            "certificate-not-pinned",
        ),
        (certificate(CertificateProblem::Other), "certificate"),
    ] {
        assert_eq!(outcome(&fault), (Disposition::SlowRetry, id.to_owned()));
    }
    let pinned = certificate(CertificateProblem::NotPinned).verdict().reason;
    assert!(pinned.text.ends_with(": a, not b") && pinned.hint.contains("captive portal"));
    assert!(
        http(403)
            .verdict()
            .reason
            .text
            .contains("it calls itself gateway")
    );
}

fn certificate(problem: CertificateProblem) -> Fault {
    let detail = "a, not b".to_owned();
    Fault::Certificate { problem, detail }
}

#[test]
fn the_rest_of_the_table() {
    for code in [ErrorCode::DeviceNotFound, ErrorCode::MissingDeviceId] {
        let verdict = error(code, None, None).verdict();
        assert_eq!(verdict.disposition, Disposition::ForgetDevice);
    }
    let replaced = close(4003, "Replaced by new connection");
    assert_eq!(replaced.verdict().disposition, Disposition::Replaced);
    for code in [1002, 1007, 1009] {
        assert_eq!(close(code, "").verdict().disposition, Disposition::Quarantine);
    }
    for code in [
        ErrorCode::UnknownType,
        ErrorCode::InvalidJson,
        ErrorCode::AlreadyRegistered,
        ErrorCode::NotRegistered,
        ErrorCode::ExecutionNotFound,
        ErrorCode::Other("NEWS".to_owned()),
    ] {
        assert_eq!(error(code, None, None).verdict().disposition, Disposition::Ignore);
    }
}
