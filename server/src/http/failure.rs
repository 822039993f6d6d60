//! Why a request fails: what the client is told, and what the log is told.
//!
//! A failure knows nothing of what can go wrong in the store or elsewhere. Who turns
//! another error into a failure chooses the status and hands the cause over as text.

use std::net::IpAddr;

use fleetbeat_protocol::{
    FieldError, FullProblem, MatchedHosts, OWN_KEY_NEEDED, Problem, Scope, TotpDemand,
};
use log::Level;

use super::guard::outgoing::Body;
use super::response::{Response, reason};
use crate::recurring::log_if_due;

/// Broken rules that a response tells, so that it stays small whatever was sent.
const MAX_ERRORS: usize = 32;

/// A request that fails. The client sees status, detail and the broken rules; the cause
/// goes to the log, once, when the failure becomes a response.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u16,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(&'static str, String)>,
    // In boxes, because a failure is the unhappy half of many results.
    members: Option<Box<Members>>,
    cause: Option<Box<str>>,
    totp: Option<TotpDemand>,
    awaited_body: Option<usize>,
}

/// What the response tells to programs besides the usual members of a problem.
#[derive(Debug, Default)]
struct Members {
    moved_to: Option<IpAddr>,
    code: Option<&'static str>,
    matched: Option<MatchedHosts>,
}

impl Failure {
    fn new(status: u16, detail: impl Into<String>) -> Failure {
        Failure {
            status,
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
            members: None,
            cause: None,
            totp: None,
            awaited_body: None,
        }
    }

    /// 400: this is not what the endpoint reads at all.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Failure {
        Failure::new(400, detail)
    }

    /// 401: the agent's key is missing or unknown.
    pub(crate) fn unknown_agent() -> Failure {
        Failure::new(401, "the X-API-Key header is missing or wrong")
            .with_header("WWW-Authenticate", "X-API-Key")
    }

    /// 401: the key is one that hosts share, and each host has to have its own.
    pub(crate) fn own_key_needed() -> Failure {
        let detail = "this server takes hosts' own keys alone: `fleetbeat-agent enroll` \
                      gets this host one";
        Failure::new(401, detail)
            .with_header("WWW-Authenticate", "X-API-Key")
            .with_code(OWN_KEY_NEEDED)
    }

    /// 401: the token is missing or not valid, or the password is wrong.
    pub(crate) fn no_valid_token(detail: &'static str) -> Failure {
        Failure::new(401, detail).with_header("WWW-Authenticate", "Bearer")
    }

    /// 401: the password is right, and a code is needed, too.
    pub(crate) fn code_needed() -> Failure {
        Failure {
            totp: Some(TotpDemand::Required),
            ..Failure::no_valid_token("a code of the second factor is needed, too")
        }
    }

    /// 403: a code is needed besides the password, though the user is logged in.
    pub(crate) fn code_needed_again() -> Failure {
        Failure {
            totp: Some(TotpDemand::Required),
            ..Failure::forbidden("a code of the second factor until now is needed, too")
        }
    }

    /// 403: the user's role needs a second factor, and the user has none.
    pub(crate) fn totp_to_be_set_up() -> Failure {
        let detail = "this role needs a second factor: set one up by POST /me/totp";
        Failure {
            totp: Some(TotpDemand::Setup),
            ..Failure::forbidden(detail)
        }
    }

    /// 403: the API token is not for this.
    pub(crate) fn beyond_scope(scope: Scope) -> Failure {
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        Failure::forbidden(format!("the API token lacks the scope {scope}"))
            .with_header("WWW-Authenticate", challenge)
    }

    /// 403: the user's role does not allow it.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Failure {
        Failure::new(403, detail)
    }

    /// 404: there is nothing of this name.
    pub(crate) fn not_found(detail: impl Into<String>) -> Failure {
        Failure::new(404, detail)
    }

    /// 404: the host that had this address has another one now.
    pub(crate) fn moved(to: IpAddr) -> Failure {
        let detail = format!("the host with this address is {to} now");
        let members = Members {
            moved_to: Some(to),
            ..Members::default()
        };
        Failure::not_found(detail).with_members(members)
    }

    /// 405, with what is allowed.
    pub(crate) fn method_not_allowed(allowed: &[&str]) -> Failure {
        let allowed = allowed.join(", ");
        Failure::new(405, format!("this path answers {allowed}"))
            .with_header("Allow", allowed)
    }

    /// 408: the peer was too slow.
    pub(super) fn too_slow(detail: &'static str) -> Failure {
        Failure::new(408, detail)
    }

    /// 417: this `Expect` is unknown.
    pub(super) fn unknown_expectation() -> Failure {
        Failure::new(417, "the only expectation known is 100-continue")
    }

    /// 431: the head is longer than that.
    pub(super) fn head_too_large(limit: usize) -> Failure {
        Failure::new(431, format!("the head is longer than {limit} bytes"))
    }

    /// 431: the head has more fields than that.
    pub(super) fn too_many_fields(limit: usize) -> Failure {
        Failure::new(431, format!("the head has more than {limit} fields"))
    }

    /// 505: this is not HTTP/1.0 or HTTP/1.1.
    pub(super) fn unknown_version() -> Failure {
        Failure::new(505, "this server speaks HTTP/1.1")
    }

    /// Not a failure of the request: the handler needs the body, of at most `limit`
    /// bytes, and the body has not come. The handler is called again once it has.
    pub(super) fn body_to_come(limit: usize) -> Failure {
        Failure {
            awaited_body: Some(limit),
            ..Failure::new(100, "the body has not come")
        }
    }

    /// The longest body that the handler waits for, if this is [`Failure::body_to_come`].
    pub(super) fn awaited_body(&self) -> Option<usize> {
        self.awaited_body
    }

    /// The status of the response, or 100 for [`Failure::body_to_come`].
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// 409: what is there already forbids the change.
    pub(crate) fn conflict(detail: impl Into<String>) -> Failure {
        Failure::new(409, detail)
    }

    /// 409: more or fewer hosts are meant than was expected.
    pub(crate) fn other_hosts(expected: usize, matched: MatchedHosts) -> Failure {
        let detail = format!(
            "the selector means {} hosts, not {expected}: nothing was changed",
            matched.hosts
        );
        let members = Members {
            matched: Some(matched),
            ..Members::default()
        };
        Failure::conflict(detail).with_members(members)
    }

    /// 412: the client means another version of what is there.
    pub(crate) fn precondition_failed(detail: &'static str) -> Failure {
        Failure::new(412, detail)
    }

    /// 413: the body is longer than that.
    pub(crate) fn too_large(limit: usize) -> Failure {
        Failure::new(413, format!("the body is longer than {limit} bytes"))
    }

    /// 413: the array has more elements than that.
    pub(crate) fn too_many_elements(limit: usize) -> Failure {
        Failure::new(413, format!("the array has more than {limit} elements"))
    }

    /// 415: the endpoint does not read bodies of this type.
    pub(crate) fn unsupported_media_type(detail: &'static str) -> Failure {
        Failure::new(415, detail)
    }

    /// 422: every rule that was broken, up to [`MAX_ERRORS`]. The detail tells the first,
    /// and how many there are.
    pub(crate) fn invalid(mut errors: Vec<FieldError>) -> Failure {
        let first = errors.first();
        let mut detail = first.map_or_else(String::new, |error| {
            let sentence = format!("{} {}", error.field, error.message);
            sentence.trim_start().to_owned()
        });
        if errors.len() > 1 {
            detail.push_str(&format!(" (and {} more)", errors.len() - 1));
        }
        errors.truncate(MAX_ERRORS);

        Failure {
            errors,
            ..Failure::new(422, detail)
        }
    }

    /// 429: there were too many such requests; the next one may come after so many
    /// seconds.
    pub(crate) fn too_many(detail: &'static str, retry_after_secs: u64) -> Failure {
        Failure::new(429, detail).with_header("Retry-After", retry_after_secs.to_string())
    }

    /// 503: the server has too much to do, or is about to stop.
    pub(crate) fn overloaded(detail: &'static str) -> Failure {
        Failure::unavailable(detail)
    }

    /// 503: what is asked for is not to be had at present.
    pub(crate) fn unavailable(detail: &'static str) -> Failure {
        Failure::new(503, detail).with_header("Retry-After", "5")
    }

    /// 500: the store has not done what was asked. Without a cause, because a caller that
    /// fails many requests at once has logged it already.
    pub(crate) fn storage_away() -> Failure {
        Failure::new(500, "the storage cannot be reached")
    }

    /// 500: a bug of ours.
    pub(crate) fn internal(cause: impl Into<String>) -> Failure {
        Failure::new(500, "the server failed").because(cause)
    }

    /// The same failure with a word for programs.
    pub(crate) fn with_code(self, code: &'static str) -> Failure {
        let members = Members {
            code: Some(code),
            ..Members::default()
        };
        self.with_members(members)
    }

    fn with_members(self, members: Members) -> Failure {
        Failure {
            members: Some(Box::new(members)),
            ..self
        }
    }

    /// The same failure with a cause for the log.
    pub(crate) fn because(self, cause: impl Into<String>) -> Failure {
        Failure {
            cause: Some(cause.into().into_boxed_str()),
            ..self
        }
    }

    /// The broken rules; without any, the detail as a rule about the whole body.
    pub(crate) fn into_errors(self) -> Vec<FieldError> {
        if self.errors.is_empty() {
            vec![FieldError::new("", self.detail)]
        } else {
            self.errors
        }
    }

    fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Failure {
        self.headers.push((name, value.into()));
        self
    }

    /// The failure as a response; a cause is logged under the same request id.
    pub(super) fn into_response(self, request_id: &str) -> Response {
        if let Some(cause) = &self.cause {
            let line = || format!("request {request_id}: {}: {cause}", self.status);
            log_if_due(Level::Error, "failed requests", cause, line);
        }

        let members = self.members.map(|members| *members).unwrap_or_default();
        let problem = Problem {
            status: self.status,
            title: reason(self.status).to_owned(),
            detail: self.detail,
            request_id: request_id.to_owned(),
            errors: self.errors,
            moved_to: members.moved_to,
            code: members.code.map(str::to_owned),
            totp: self.totp,
        };
        let matched = members.matched;
        let body = serde_json::to_vec(&FullProblem { problem, matched });
        let body = body.expect("a problem is plain JSON");

        let mut headers = vec![
            ("Content-Type", "application/problem+json".to_owned()),
            ("Cache-Control", "no-store".to_owned()),
        ];
        headers.extend(self.headers);

        Response {
            status: self.status,
            headers,
            body: Body::Owned(body),
        }
    }
}
