//! `POST /enroll`: a host has its key taken.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{Enrollment, EnrollmentAnswer};

use super::body;
use super::state::ApiState;
use crate::auth::codes::parse_code;
use crate::auth::{OwnKeys, Refusal, show_source};
use crate::chronicle::Refused;
use crate::http::{Failure, Reply, Request, Response};
use crate::store::{EnrollRefusal, EnrollRequest, Enrolled, EventKind};

/// The longest body.
const MAX_BYTES: usize = 4096;

/// Takes the key of a host that has a code, or whose present key the request bears.
pub(super) fn enroll(api: &ApiState, request: &mut Request) -> Result<Reply, Failure> {
    let presented = request.header("X-API-Key").and_then(OwnKeys::hash_of);
    let body = body::read(request, MAX_BYTES)?;
    let enrollment =
        Enrollment::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let id = enrollment.agent_id;
    let source = request.peer().ip();
    let now = clock::now();

    let refuse = |refusal: EnrollRefusal| {
        api.auth
            .refusals()
            .note(Refusal::Enrollment, source, &refusal.to_string());
        let refused = Refused {
            kind: EventKind::CodeRefused,
            user: None,
            token: None,
            reason: refusal.word(),
            address: source,
        };
        api.chronicle.refused(refused, now);
        Err(Failure::from(refusal))
    };
    let code = match enrollment.code.as_deref().map(parse_code) {
        Some(None) => return refuse(EnrollRefusal::UnknownCode),
        code => code.flatten(),
    };
    let wish = EnrollRequest {
        agent_id: id,
        hash: enrollment.key_sha256,
        hostname: enrollment.hostname,
        code,
        presented,
        source,
        at: now,
    };
    let enrolled = match api.keys.enroll(&wish)? {
        Ok(enrolled) => enrolled,
        Err(refusal) => return refuse(refusal),
    };
    api.auth.agents().own_keys().reread(id)?;

    let status = match enrolled {
        Enrolled::Now => {
            let source = show_source(source);
            log::info!("a key of the host {id}… was enrolled from {source}");
            201
        }
        Enrolled::Before => 200,
    };
    let answer = EnrollmentAnswer {
        status: "ok".to_owned(),
    };
    Ok(Reply::Now(Response::json(status, &answer)))
}

/// Whoever has no good code and not the host's key learns nothing about the host.
impl From<EnrollRefusal> for Failure {
    fn from(refusal: EnrollRefusal) -> Failure {
        match refusal {
            EnrollRefusal::NoProof => Failure::unknown_agent(),
            EnrollRefusal::UnknownCode
            | EnrollRefusal::ExpiredCode
            | EnrollRefusal::UsedUpCode
            | EnrollRefusal::ForeignNetwork => Failure::forbidden(refusal.to_string()),
            EnrollRefusal::HasKey | EnrollRefusal::Revoked => {
                Failure::conflict(refusal.to_string())
            }
        }
    }
}
