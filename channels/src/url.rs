//! URLs of peers, in the one form that leaves no room for tricks.

use std::net::IpAddr;

use ureq::http::Uri;

/// Longest URL.
const MAX_BYTES: usize = 2000;

/// A URL of a peer: `https://host:port/path?query`, or with `http`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) is_https: bool,
    /// The name or the address, an IPv6 address without brackets.
    pub(crate) host: String,
    /// The whole.
    pub(crate) text: String,
}

impl Url {
    /// # Errors
    /// A sentence without its subject.
    pub(crate) fn parse(text: &str) -> Result<Url, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("is longer than 2000 bytes");
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        if !text.bytes().all(is_plain) {
            return Err("must have only ASCII characters, without spaces or \\");
        }
        if text.contains('#') {
            return Err("must have no #fragment");
        }

        let is_https = text.starts_with("https://");
        if !is_https && !text.starts_with("http://") {
            return Err("must begin with https://");
        }
        let uri: Uri = text.parse().map_err(|_| "is not a URL")?;
        let authority = uri.authority().ok_or("must name a host")?;
        if authority.as_str().contains('@') {
            return Err("must not contain a user or a password");
        }
        let is_host =
            |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let port = &authority.as_str()[authority.host().len()..];
        let is_port =
            port.is_empty() || authority.port_u16().is_some_and(|port| port > 0);
        if !authority.as_str().bytes().all(is_host) || !is_port {
            return Err("has a host or a port that is not one");
        }

        let host = authority.host();
        let host = host.strip_prefix('[').unwrap_or(host);
        let host = host.strip_suffix(']').unwrap_or(host);
        if host.is_empty() {
            return Err("must name a host");
        }
        Ok(Url {
            is_https,
            host: host.to_owned(),
            text: text.to_owned(),
        })
    }

    /// The host, if it is an address in its usual form.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// The URL with `path` behind it, which begins with a slash.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.text.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn a_url_names_a_host_and_nobody() {
        let url = Url::parse("https://[2001:db8::1]:8443/a?b=c").unwrap();
        assert_eq!((url.is_https, url.host.as_str()), (true, "2001:db8::1"));
        assert_eq!(
            Url::parse("http://a.example/").unwrap().join("/b").len(),
            18
        );
    }

    #[test]
    fn tricks_are_refused() {
        let refused = [
            "",
            "ftp://a.example",
            "HTTPS://a.example",
            "//a.example",
            "https://",
            "https:///path",
            "https://a.example@127.0.0.1/",
            "https://user:secret@a.example/",
            "https://a.example\\@127.0.0.1/",
            "https://a.example:0/",
            "https://a.example:99999/",
            "https://a.example/#x",
            "https://a.example/ x",
            "https://a.example/\r\nX: y",
            "https://ⓛocalhost/",
            "https://127.0.0.1%2f@a.example/",
            "https://[::1%25lo]/",
        ];
        for text in refused {
            assert!(Url::parse(text).is_err(), "{text}");
        }
        assert!(Url::parse(&format!("https://a/{}", "x".repeat(2000))).is_err());
    }
}
