//! The access log: a line in the log for each request, where `[log] access` asks for it.
//!
//! Nothing in a line is a peer's own text: a path is a route of ours, a method is a usual
//! one, and the name of a user is the one in the store, with everything escaped that
//! could end a line. So nobody can write a line of their own, and a key or a token that
//! was put into a path or a query by mistake stays out.

use std::fmt;

use fleetbeat_protocol::parse_ip;

use crate::http::{Answered, Asked, Identity, RouteName};

/// In the place of what is not known.
const UNKNOWN: &str = "-";

/// Writes the line of an answer.
pub(crate) fn write(answered: &Answered<'_>) {
    log::info!("{}", Line(answered));
}

/// The line of an answer.
struct Line<'a>(&'a Answered<'a>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answered {
            asked,
            status,
            body_bytes,
            took,
        } = self.0;
        f.write_str("access peer=")?;
        match asked.ip() {
            Some(ip) => write!(f, "{ip}")?,
            None => f.write_str(UNKNOWN)?,
        }
        match &asked.identity {
            Some(Identity::User(name)) => write!(f, " user={name:?}")?,
            Some(Identity::ApiToken { username, id }) => {
                write!(f, " user={username:?} token={id}")?;
            }
            Some(Identity::Key(name)) => write!(f, " key={name:?}")?,
            None => write!(f, " user={UNKNOWN}")?,
        }
        write!(f, " method={} path=", asked.method.unwrap_or(UNKNOWN))?;
        match asked.route {
            Some(route) => write_path(f, route, asked)?,
            None => f.write_str(UNKNOWN)?,
        }
        let millis = took.as_secs_f64() * 1000.0;
        let id = &asked.id;
        write!(
            f,
            " status={status} bytes={body_bytes} ms={millis:.3} request={id}"
        )
    }
}

/// The route's path. A `{name}` is shown as the address that the request has in its place,
/// if it is one, and as `{name}` otherwise.
fn write_path(
    f: &mut fmt::Formatter<'_>,
    route: RouteName,
    asked: &Asked,
) -> fmt::Result {
    let segments = route.path.split('/').skip(1);
    for (number, segment) in segments.enumerate() {
        let sent = asked.path.get(number).and_then(|sent| parse_ip(sent));
        match sent.filter(|_| segment.starts_with('{')) {
            Some(ip) => write!(f, "/{ip}")?,
            None => write!(f, "/{segment}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(asked: Asked) -> String {
        let asked = Asked {
            id: "00f3".to_owned(),
            ..asked
        };
        let answered = Answered {
            asked: &asked,
            status: 200,
            body_bytes: 99,
            took: Duration::from_micros(1234),
        };
        Line(&answered).to_string()
    }

    fn route(method: &'static str, path: &'static str) -> Option<RouteName> {
        Some(RouteName {
            number: 0,
            method,
            path,
        })
    }

    #[test]
    fn a_line_tells_who_asked_what_and_what_became_of_it() {
        let show = route("GET", "/server/{ip}");
        let asked = Asked {
            identity: Some(Identity::User("ann".to_owned())),
            method: Some("HEAD"),
            ..Asked::example(&["server", "2001:DB8::1"], show)
        };
        assert_eq!(
            line(asked),
            "access peer=192.0.2.1 user=\"ann\" method=HEAD path=/server/2001:db8::1 \
             status=200 bytes=99 ms=1.234 request=00f3"
        );
        assert_eq!(
            line(Asked::example(&[], None)),
            "access peer=192.0.2.1 user=- method=- path=- status=200 bytes=99 ms=1.234 \
             request=00f3"
        );
    }

    #[test]
    fn no_text_of_a_peer_is_in_a_line() {
        let hostile = "x\naccess peer=192.0.2.9 user=\"admin\"";
        let config = route("PATCH", "/server/{ip}/config");
        let asked = Asked {
            identity: Some(Identity::User(hostile.to_owned())),
            ..Asked::example(&["server", hostile, hostile], config)
        };
        let line = line(asked);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains(r#"user="x\naccess peer=192.0.2.9 user=\"admin\"""#));
        assert!(line.contains(" path=/server/{ip}/config status="), "{line}");
    }
}
