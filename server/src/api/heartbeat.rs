//! `POST /heartbeat` and `POST /heartbeats`: what agents send.

use std::net::IpAddr;
use std::sync::LazyLock;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{
    BatchAnswer, FieldError, FlagsPatch, Heartbeat, HeartbeatAnswer, IDENTITY_CONFLICT,
    MAX_BATCH, MAX_BATCH_BYTES, MAX_HEARTBEAT_BYTES, RejectedHeartbeat, Status,
    Timestamp, is_everybodys, is_nobodys,
};
use jiff::SignedDuration;
use log::Level;
use serde_json::value::RawValue;

use super::body;
use super::state::ApiState;
use crate::auth::{Agent, Auth, Refusal, Standing};
use crate::http::{Failure, Reply, Request, Response};
use crate::ingest::Receipt;
use crate::recurring::log_if_due;
use crate::store::{Beat, Denial, Speaker, Supersedes};

/// Errors told for each rejected element, so that the response stays small whatever was
/// sent.
const MAX_REJECTED_ERRORS: usize = 8;

/// How far a host's clock may be ahead: a clock that shows local time as UTC is.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// The age of the oldest heartbeat: ten years.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24 * 3653);

/// The response to a heartbeat that is stored.
static STORED: LazyLock<Response> = LazyLock::new(|| stored(false));
/// The same response to a host that is asked for a new key.
static STORED_AND_ASKED: LazyLock<Response> = LazyLock::new(|| stored(true));

fn stored(rotate: bool) -> Response {
    let status = "ok".to_owned();
    Response::json(200, &HeartbeatAnswer { status, rotate })
}

/// `POST /heartbeat`: one heartbeat, which counts from now.
pub(super) fn one(
    api: &ApiState,
    agent: &Agent,
    request: &mut Request,
) -> Result<Reply, Failure> {
    take_one(api, agent, request).inspect_err(|failure| note(api, failure))
}

/// `POST /heartbeats`: what an agent kept while the server was away. Each heartbeat counts
/// from when it was collected.
pub(super) fn many(
    api: &ApiState,
    agent: &Agent,
    request: &mut Request,
) -> Result<Reply, Failure> {
    take_many(api, agent, request).inspect_err(|failure| note(api, failure))
}

/// Counts a request that is refused as a whole.
fn note(api: &ApiState, failure: &Failure) {
    api.metrics.heartbeats.refused(failure.status());
}

fn take_one(
    api: &ApiState,
    agent: &Agent,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_HEARTBEAT_BYTES)?;
    let mut heartbeat =
        Heartbeat::from_json(&body::parse(&body)?).map_err(Failure::invalid)?;
    let now = clock::now();
    let invalid = |error| Failure::invalid(vec![error]);
    let speaker = find_speaker(api, agent, &mut heartbeat).map_err(invalid)?;
    let address = find_address(heartbeat.ip, request.peer().ip()).map_err(invalid)?;
    let Address { ip, observed } = address;
    trust_own_clock(&mut heartbeat, ip, now);
    log::debug!("heartbeat of {ip} with {agent}");

    let beat = Beat {
        ip,
        heartbeat,
        at: now,
        status: Status::Active,
        supersedes: Supersedes::Always,
        observed_ip: observed,
        silent_before: silent_before(api, now),
        speaker,
        rules: api.host_rules,
        new_flags: new_flags(api, agent),
    };
    let is_asked = agent.own_key().is_some_and(|key| key.rotate);
    let auth = api.auth.clone();
    let receipt = Box::new(move |denied: &[(usize, Denial)]| {
        log_denied(&auth, denied, observed);
        match denied.first() {
            Some((_, denial)) => Err(Failure::from(*denial)),
            None if is_asked => Ok(STORED_AND_ASKED.clone()),
            None => Ok(STORED.clone()),
        }
    });
    Ok(store(api, vec![beat], body.len(), receipt))
}

fn take_many(
    api: &ApiState,
    agent: &Agent,
    request: &mut Request,
) -> Result<Reply, Failure> {
    let body = body::read(request, MAX_BATCH_BYTES)?;
    let elements = parse_elements(&body)?;
    if elements.len() > MAX_BATCH {
        return Err(Failure::too_many_elements(MAX_BATCH));
    }

    let now = clock::now();
    let mut beats = Vec::with_capacity(elements.len());
    let mut places = Vec::with_capacity(elements.len());
    let mut rejected = Vec::new();
    for (index, element) in elements.into_iter().enumerate() {
        match parse_spooled(api, agent, request, element.get(), now) {
            Ok(beat) => {
                beats.push(beat);
                places.push(index);
            }
            Err(mut errors) => {
                errors.truncate(MAX_REJECTED_ERRORS);
                rejected.push(RejectedHeartbeat { index, errors });
            }
        }
    }
    api.metrics.heartbeats.invalid(rejected.len());
    log::debug!("{} spooled heartbeats with {agent}", beats.len());

    if beats.is_empty() {
        return Ok(Reply::Now(answer_batch(&places, rejected, &[])));
    }
    let (auth, source) = (api.auth.clone(), request.peer().ip());
    let receipt = Box::new(move |denied: &[(usize, Denial)]| {
        log_denied(&auth, denied, source);
        Ok(answer_batch(&places, rejected, denied))
    });
    Ok(store(api, beats, body.len(), receipt))
}

/// Says in the log that hosts are refused which have no record: what is refused about a
/// record is told with the record.
fn log_denied(auth: &Auth, denied: &[(usize, Denial)], source: Option<IpAddr>) {
    for (_, denial) in denied {
        let refusal = match denial {
            Denial::UnknownHost => Refusal::UnknownHost,
            Denial::Removed => Refusal::RemovedHost,
            _ => continue,
        };
        auth.refusals().note(refusal, source, "");
    }
}

/// The response to a batch. `places` are those of its heartbeats that were to be stored,
/// and `denied` tells which of them were not.
fn answer_batch(
    places: &[usize],
    mut rejected: Vec<RejectedHeartbeat>,
    denied: &[(usize, Denial)],
) -> Response {
    for (nth, denial) in denied {
        let Some(index) = places.get(*nth).copied() else {
            continue;
        };
        let errors = vec![denial_as_error(*denial)];
        rejected.push(RejectedHeartbeat { index, errors });
    }
    rejected.sort_by_key(|rejected| rejected.index);
    let answer = BatchAnswer {
        status: "ok".to_owned(),
        accepted: places.len() - denied.len().min(places.len()),
        rejected,
    };
    Response::json(200, &answer)
}

/// Answers with the `receipt` when the heartbeats, which came as `bytes` of JSON, are
/// stored.
fn store(api: &ApiState, beats: Vec<Beat>, bytes: usize, receipt: Receipt) -> Reply {
    let ingest = api.ingest.clone();
    Reply::Later(Box::new(move |exchange| {
        ingest.push(beats, bytes, exchange, receipt);
    }))
}

/// With which key the heartbeat has come. A heartbeat with a host's own key is that
/// host's, and has its `agent_id` from here on.
fn find_speaker(
    api: &ApiState,
    agent: &Agent,
    heartbeat: &mut Heartbeat,
) -> Result<Speaker, FieldError> {
    let Some(key) = agent.own_key() else {
        let id = heartbeat.agent_id;
        let standing = id.map(|id| api.auth.agents().standing(id));
        return Ok(match standing.unwrap_or(Standing::Free) {
            Standing::Free => Speaker::Shared { has_key: false },
            Standing::HasKey => Speaker::Shared { has_key: true },
            Standing::Removed => Speaker::Removed,
        });
    };
    let id = *heartbeat.agent_id.get_or_insert(key.agent_id);
    if id != key.agent_id {
        let message = format!(
            "is another host's: the key in X-API-Key is that of {}…, and speaks for no \
             other",
            key.agent_id
        );
        return Err(FieldError::new("agent_id", message));
    }
    Ok(Speaker::Own {
        reinstall: key.reinstall,
    })
}

/// What the flags of a new record of the agent's host begin with.
fn new_flags(api: &ApiState, agent: &Agent) -> FlagsPatch {
    let of_code = agent.own_key().map(|key| key.flags);
    api.new_flags.then(of_code.unwrap_or_default())
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Failure {
        match denial {
            Denial::UnknownHost => Failure::forbidden(denial.to_string()),
            Denial::Removed => {
                Failure::forbidden(denial.to_string()).with_code(denial.as_str())
            }
            _ => Failure::conflict(denial.to_string()).with_code(IDENTITY_CONFLICT),
        }
    }
}

/// Why an element of a batch is refused.
fn denial_as_error(denial: Denial) -> FieldError {
    let field = match denial {
        Denial::HostHasKey | Denial::UnknownHost | Denial::Removed => "agent_id",
        Denial::AddressHasKey | Denial::OtherHost | Denial::Move => "ip",
    };
    let message = match denial {
        Denial::UnknownHost => denial.to_string(),
        Denial::Removed => format!("{}: {denial}", denial.as_str()),
        _ => format!("{IDENTITY_CONFLICT}: {denial}"),
    };
    FieldError::new(field, message)
}

/// The array's elements, each still to be parsed: an element that breaks a rule must not
/// hold up the rest.
fn parse_elements(body: &[u8]) -> Result<Vec<&RawValue>, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Failure::invalid(vec![FieldError::new("", "must be an array of heartbeats")])
        } else {
            body::not_json(&error)
        }
    })
}

/// A spooled heartbeat, with what `now` makes of it.
fn parse_spooled(
    api: &ApiState,
    agent: &Agent,
    request: &Request,
    element: &str,
    now: Timestamp,
) -> Result<Beat, Vec<FieldError>> {
    let json = body::parse(element.as_bytes()).map_err(Failure::into_errors)?;
    let mut heartbeat = Heartbeat::from_json(&json)?;
    let speaker =
        find_speaker(api, agent, &mut heartbeat).map_err(|error| vec![error])?;
    let address =
        find_address(heartbeat.ip, request.peer().ip()).map_err(|error| vec![error])?;
    let collected_at = heartbeat
        .collected_at
        .ok_or_else(|| vec![FieldError::new("collected_at", "is missing")])?;
    check_time(Some(collected_at), now).map_err(|error| vec![error])?;

    // A host whose clock is ahead must not be alive in the future.
    let (at, supersedes) = if collected_at > now {
        (now, Supersedes::IfUnknown)
    } else {
        (collected_at, Supersedes::IfNewer)
    };
    let silent_for = now.duration_since(at).unsigned_abs();
    let status = if silent_for > api.down_after {
        Status::Down
    } else {
        Status::Active
    };

    Ok(Beat {
        ip: address.ip,
        heartbeat,
        at,
        status,
        supersedes,
        observed_ip: address.observed,
        silent_before: silent_before(api, now),
        speaker,
        rules: api.host_rules,
        new_flags: new_flags(api, agent),
    })
}

/// A host whose last heartbeat was before this is silent: it may have lost its address.
fn silent_before(api: &ApiState, now: Timestamp) -> Timestamp {
    now.checked_sub(api.down_after).unwrap_or(Timestamp::MIN)
}

/// Where the heartbeat and its connection place the host.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    /// The address by which the host is known.
    ip: IpAddr,
    /// The address that the connection came from, if the connection tells one.
    observed: Option<IpAddr>,
}

/// Which address the heartbeat is about: the one that it names, or the one that it comes
/// from.
///
/// A loopback address names a host only to an agent on the server's own machine, so it is
/// refused from a connection that comes from elsewhere. Of a connection it tells nothing:
/// a proxy may stand there.
fn find_address(
    named: Option<IpAddr>,
    observed: Option<IpAddr>,
) -> Result<Address, FieldError> {
    let is_local = |ip: &IpAddr| ip.is_loopback();
    let refuse = |message: String| Err(FieldError::new("ip", message));
    match (named, observed) {
        (Some(ip), Some(seen)) if is_local(&ip) && !is_local(&seen) => refuse(format!(
            "is {ip}, which is a loopback address, and the agent is on another \
                 machine than the server"
        )),
        (Some(ip), observed) => Ok(Address { ip, observed }),
        (None, Some(seen)) if is_everybodys(seen) || is_nobodys(seen) => refuse(format!(
            "is missing, and the connection comes from {seen}, which is not the \
                 address of one host: a proxy has to send X-Forwarded-For and to be in \
                 trusted_proxies, or the agent needs [host] ip"
        )),
        (None, Some(ip)) => Ok(Address { ip, observed }),
        (None, None) => refuse(
            "is missing, and the connection does not tell the host's address".into(),
        ),
    }
}

/// Puts the server's time in the place of a time of collection that no clock shows by
/// mistake: a live heartbeat is of now, and a host must not be silent because its clock is
/// wrong.
fn trust_own_clock(heartbeat: &mut Heartbeat, ip: IpAddr, now: Timestamp) {
    if let Err(error) = check_time(heartbeat.collected_at, now) {
        heartbeat.collected_at = Some(now);
        log_if_due(Level::Warn, "clocks of hosts", "are wrong", || {
            let message = &error.message;
            format!("a heartbeat of {ip} counts from now: collected_at {message}")
        });
    }
}

/// Refuses a time of collection that no clock shows by mistake, such as 2099. A clock that
/// is a little ahead costs no heartbeat.
fn check_time(collected_at: Option<Timestamp>, now: Timestamp) -> Result<(), FieldError> {
    let Some(collected_at) = collected_at else {
        return Ok(());
    };
    let age = now.duration_since(collected_at);
    if (-MAX_AHEAD..=MAX_AGE).contains(&age) {
        return Ok(());
    }
    let message = format!(
        "is {collected_at}, which is not within ten years before the server's time \
         {now:.0}: look at the host's clock"
    );
    Err(FieldError::new("collected_at", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        (!text.is_empty()).then(|| text.parse().unwrap())
    }

    #[test]
    fn a_host_is_where_it_says_or_where_it_is_seen_but_not_at_a_proxy() {
        for (named, observed, expected) in [
            ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
            ("192.0.2.1", "127.0.0.1", "192.0.2.1"),
            ("192.0.2.1", "", "192.0.2.1"),
            ("", "198.51.100.1", "198.51.100.1"),
            ("", "2001:db8::1", "2001:db8::1"),
            // An agent on the server's own machine.
            ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "::1", "127.0.0.1"),
            ("::1", "127.0.0.1", "::1"),
            // An agent elsewhere.
            ("127.0.0.1", "198.51.100.1", ""),
            ("::1", "2001:db8::1", ""),
            // Nobody can tell; it may be an agent beside the proxy.
            ("127.0.0.1", "", "127.0.0.1"),
            // Nothing tells the host's address.
            ("", "127.0.0.1", ""),
            ("", "::1", ""),
            ("", "0.0.0.0", ""),
            ("", "224.0.0.1", ""),
            ("", "fe80::1", ""),
            ("", "169.254.7.7", ""),
            ("", "", ""),
        ] {
            let found = find_address(ip(named), ip(observed));
            match found {
                Ok(address) => {
                    assert_eq!(Some(address.ip), ip(expected), "{named} {observed}");
                    assert_eq!(address.observed, ip(observed));
                }
                Err(error) => {
                    assert_eq!(expected, "", "{named} {observed}: {error:?}");
                    assert_eq!(error.field, "ip");
                }
            }
        }
    }

    #[test]
    fn absurd_times_are_refused_and_ordinary_clock_skew_is_not() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (collected_at, is_good) in [
            ("2026-01-31T12:00:00Z", true),
            ("2026-01-31T12:05:00Z", true),
            // A clock that shows local time as UTC.
            ("2026-02-01T02:00:00Z", true),
            ("2026-02-01T12:00:01Z", false),
            ("2016-02-01T00:00:00Z", true),
            ("2016-01-01T00:00:00Z", false),
            ("1970-01-01T00:00:00Z", false),
            ("0000-01-01T00:00:00Z", false),
            ("2099-01-01T00:00:00Z", false),
            ("9999-12-30T00:00:00Z", false),
        ] {
            let checked = check_time(Some(collected_at.parse().unwrap()), now);
            assert_eq!(checked.is_ok(), is_good, "{collected_at}");
            if let Err(error) = checked {
                assert_eq!(error.field, "collected_at");
                assert!(error.message.contains(&collected_at[..10]), "{error:?}");
            }
        }
        assert!(check_time(None, now).is_ok());
    }
}
