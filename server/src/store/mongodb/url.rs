//! What is wrong with a database's URL, told without any part of a password.
//!
//! A library's words about a URL quote the URL, and a misspelt password may look like a
//! port, a host or an option. So the URL is made harmless first: the login is replaced,
//! and what does not look like hosts, a database and options is not read at all. Only
//! what the library says about the harmless URL is told.

/// The login in a harmless URL.
const LOGIN: &str = "user:password@";
/// The value of an option that may be a secret, in a harmless URL.
const VALUE: &str = "x";

/// What is wrong with `url`, which a library has refused. `try_url` gives the library's
/// words about another URL; `expected` is told where those words cannot be.
pub(super) fn explain(
    url: &str,
    schemes: &[&str],
    expected: &str,
    try_url: impl Fn(&str) -> Result<(), String>,
) -> String {
    let Some(harmless) = make_harmless(url, schemes) else {
        return expected.to_owned();
    };
    match try_url(&harmless) {
        Err(reason) => reason,
        Ok(()) => "the name or the password before the @ has a character that must be \
                   percent-encoded, such as %40 for @, %2F for / and %3A for :"
            .to_owned(),
    }
}

/// The URL without its login and without values that may be secret; `None` if a part of
/// the URL is not what its place asks for.
fn make_harmless(url: &str, schemes: &[&str]) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if !schemes.contains(&scheme) {
        return None;
    }

    // The last @: whatever is before it, it may belong to a password.
    let (login, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => (LOGIN, rest),
        None => ("", rest),
    };
    let (place, options) = match rest.split_once('?') {
        Some((place, options)) => (place, Some(options)),
        None => (rest, None),
    };
    let (hosts, database) = match place.split_once('/') {
        Some((hosts, database)) => (hosts, Some(database)),
        None => (place, None),
    };

    let is_word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_harmless = hosts.split(',').all(is_host)
        && database.is_none_or(|database| database.chars().all(is_word));
    if !is_harmless {
        return None;
    }

    let mut harmless = format!("{scheme}://{login}{hosts}");
    if let Some(database) = database {
        harmless.push('/');
        harmless.push_str(database);
    }
    if let Some(options) = options {
        let options: Option<Vec<String>> = options.split('&').map(option).collect();
        harmless.push('?');
        harmless.push_str(&options?.join("&"));
    }
    Some(harmless)
}

/// Whether this is a host, with a port or without.
fn is_host(text: &str) -> bool {
    let (name, behind) = match text.strip_prefix('[') {
        Some(text) => match text.split_once(']') {
            Some((address, behind)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                ("v6", behind)
            }
            _ => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };

    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    !name.is_empty()
        && name.chars().all(is_name)
        && (behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port))
}

/// An option such as `tls=true`, without a value that may be a secret.
fn option(text: &str) -> Option<String> {
    let (name, value) = text.split_once('=')?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }

    let lower = name.to_ascii_lowercase();
    let secret = ["pass", "pw", "secret", "token", "propert", "cred", "user"];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+/,:%".contains(c);
    let may_be_secret =
        secret.iter().any(|word| lower.contains(word)) || !value.chars().all(is_plain);
    let value = if may_be_secret { VALUE } else { value };
    Some(format!("{name}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: [&str; 2] = ["mongodb", "mongodb+srv"];

    #[test]
    fn a_harmless_url_keeps_what_is_no_secret() {
        for (url, harmless) in [
            ("mongodb://a", Some("mongodb://a")),
            (
                "mongodb://ann:S3cret@a:1,b/db?replicaSet=rs0&tls=true",
                Some("mongodb://user:password@a:1,b/db?replicaSet=rs0&tls=true"),
            ),
            (
                "mongodb://a/?tlsCAFile=/etc/ca.pem&tlsCertificateKeyFilePassword=S3cret",
                Some(
                    "mongodb://a/?tlsCAFile=/etc/ca.pem&tlsCertificateKeyFilePassword=x",
                ),
            ),
            ("mongodb://[::1]:1", Some("mongodb://[::1]:1")),
            (
                "mongodb+srv://b:S3:c/r@t@c.d",
                Some("mongodb+srv://user:password@c.d"),
            ),
            ("a:27017", None),
            ("http://a", None),
            ("mongodb://ann:S3cret", None),
            ("mongodb://ann:S3cret/db", None),
            ("mongodb://a/ann:S3cret", None),
            ("mongodb://a?S3cret", None),
            ("mongodb://[S3cret]", None),
            ("mongodb://", None),
        ] {
            let made = make_harmless(url, &SCHEMES);
            assert_eq!(made.as_deref(), harmless, "{url}");
        }
    }
}
