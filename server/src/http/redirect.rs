//! The door that speaks HTTP only to say where HTTPS is spoken.

use super::failure::Failure;
use super::guard::head::Head;
use super::guard::outgoing::Body;
use super::response::Response;

/// The port that an HTTPS URL needs not name.
const HTTPS_PORT: u16 = 443;

/// Where the request belongs: the same host and target by HTTPS, on `port`. A request that
/// carries a key or a password is not sent on, because the secret has been on the network
/// already. `request_id` names the request.
pub(super) fn respond(head: &Head, port: u16, request_id: &str) -> Response {
    let is_reading = matches!(head.method.as_str(), "GET" | "HEAD");
    let host = is_reading.then(|| find_host(head)).flatten();
    let Some(host) = host.filter(|_| head.target.starts_with('/')) else {
        let failure = Failure::bad_request("speak HTTPS");
        return failure.into_response(request_id);
    };

    let port = match port {
        HTTPS_PORT => String::new(),
        port => format!(":{port}"),
    };
    Response {
        status: 308,
        headers: vec![
            ("Location", format!("https://{host}{port}{}", head.target)),
            ("Cache-Control", "no-store".to_owned()),
        ],
        body: Body::Static(b""),
    }
}

/// The host that the request names, without its port.
fn find_host(head: &Head) -> Option<&str> {
    let mut hosts = head.headers.iter();
    let host = hosts.find(|header| header.field.equiv("Host"))?;
    let host = host.value.as_str();
    let end = match host.find(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };

    let is_host = |c: char| c.is_ascii_alphanumeric() || "-.:[]_".contains(c);
    let host = &host[..end];
    (!host.is_empty() && host.chars().all(is_host)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::guard::head::HeadReader;

    /// Where a request is sent to, or the status of its refusal.
    fn redirect(request: &str, port: u16) -> Result<String, u16> {
        let head = HeadReader::default().take(request.as_bytes()).unwrap();
        let response = respond(&head.unwrap().0, port, "id");
        let mut headers = response.headers.into_iter();
        let location = headers.find(|(name, _)| *name == "Location");
        location.map(|(_, value)| value).ok_or(response.status)
    }

    #[test]
    fn readers_are_sent_to_https_and_secrets_are_not() {
        for (request, port, location) in [
            (
                "GET /a?b HTTP/1.1\r\nHost: x.y\r\n\r\n",
                443,
                "https://x.y/a?b",
            ),
            ("GET / HTTP/1.1\r\nHost: x:80\r\n\r\n", 443, "https://x/"),
            (
                "HEAD / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
                8443,
                "https://[::1]:8443/",
            ),
        ] {
            assert_eq!(redirect(request, port).as_deref(), Ok(location));
        }
        for request in [
            "POST /heartbeat HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x/../y\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            assert_eq!(redirect(request, 443), Err(400), "{request}");
        }
    }
}
