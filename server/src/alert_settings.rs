//! `[alerts]`, `[smtp]` and `[watchdog]` in server.toml: who is told what is wrong, and
//! by which way. Rules and channels are in the store: the API makes them.

use std::fmt;
use std::time::Duration;

use fleetbeat_settings::{Secret, Table};
use ipnet::IpNet;

use crate::network::parse_network;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How alerts are judged and told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlertSettings {
    /// Whether rules are judged at all.
    pub(crate) is_enabled: bool,
    /// Where people reach the dashboard, for links in messages; without a slash at the
    /// end.
    pub(crate) external_url: Option<String>,
    /// Internal networks in which channels may be.
    pub(crate) allow_private: Vec<IpNet>,
    /// How long alerts and deliveries are kept after their end.
    pub(crate) keep: Duration,
    /// The server that takes mails; `None`: no mail is sent.
    pub(crate) smtp: Option<SmtpSettings>,
    /// Who is told that all is well; `None`: nobody.
    pub(crate) watchdog: Option<WatchdogSettings>,
}

/// The server that takes mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SmtpSettings {
    /// Its name.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// How the connection is encrypted.
    pub(crate) encryption: SmtpEncryption,
    /// Who logs in; `None`: nobody.
    pub(crate) user: Option<String>,
    /// The password, which the environment has.
    pub(crate) password: Option<Secret>,
    /// The sender.
    pub(crate) from: String,
}

/// How the connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SmtpEncryption {
    /// From the first byte.
    Implicit,
    /// After STARTTLS, and never without.
    StartTls,
    /// Not at all, which the loopback allows.
    None,
}

/// Who is told that all is well, and how often.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct WatchdogSettings {
    /// The URL, which is a secret: whoever knows it can keep the watchdog quiet.
    pub(crate) url: String,
    /// The time between two pings.
    pub(crate) interval: Duration,
}

impl fmt::Debug for WatchdogSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchdogSettings")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

impl AlertSettings {
    /// Reads the three tables.
    pub(crate) fn read(root: &mut Table<'_>) -> AlertSettings {
        let smtp = root.table("smtp", read_smtp).flatten();
        let watchdog = root.table("watchdog", read_watchdog).flatten();
        root.section("alerts", |alerts| AlertSettings {
            is_enabled: alerts.boolean("enabled").unwrap_or(true),
            external_url: alerts.parsed("external_url", parse_web_url),
            allow_private: alerts
                .parsed_list("allow_private", parse_network)
                .unwrap_or_default(),
            keep: alerts
                .duration("keep", DAY..=3650 * DAY)
                .unwrap_or(90 * DAY),
            smtp,
            watchdog,
        })
    }
}

/// The mail server; `None` if something is missing, which is told.
fn read_smtp(smtp: &mut Table<'_>) -> Option<SmtpSettings> {
    let host = smtp.parsed("host", parse_host);
    let encryption = smtp.parsed("tls", parse_encryption);
    let encryption = encryption.unwrap_or(SmtpEncryption::Implicit);
    let port = smtp.integer("port", 1..=u16::MAX);
    let user = smtp.string("user");
    let from = smtp.parsed("from", parse_mail_address);

    // The packaged file has the table with nothing in it.
    if ["host", "port", "tls", "user", "from"]
        .into_iter()
        .any(|key| smtp.has(key))
    {
        smtp.require("host");
        smtp.require("from");
    }
    let is_here = |host: &str| ["localhost", "127.0.0.1", "::1"].contains(&host);
    if encryption == SmtpEncryption::None && !host.as_deref().is_none_or(is_here) {
        smtp.problem("tls", "may be \"none\" on the loopback alone");
    }
    Some(SmtpSettings {
        host: host?,
        port: port.unwrap_or(match encryption {
            SmtpEncryption::Implicit => 465,
            SmtpEncryption::StartTls => 587,
            SmtpEncryption::None => 25,
        }),
        encryption,
        user,
        password: None,
        from: from?,
    })
}

/// Who is told that all is well; `None` if no URL is given.
fn read_watchdog(watchdog: &mut Table<'_>) -> Option<WatchdogSettings> {
    let url = watchdog.parsed("url", parse_web_url);
    let interval = watchdog.duration("interval", 10 * SECOND..=HOUR);
    if watchdog.has("interval") {
        watchdog.require("url");
    }
    Some(WatchdogSettings {
        url: url?,
        interval: interval.unwrap_or(60 * SECOND),
    })
}

fn parse_encryption(text: &str) -> Result<SmtpEncryption, String> {
    match text {
        "implicit" => Ok(SmtpEncryption::Implicit),
        "starttls" => Ok(SmtpEncryption::StartTls),
        "none" => Ok(SmtpEncryption::None),
        _ => Err("must be \"implicit\", \"starttls\" or \"none\"".to_owned()),
    }
}

/// A URL of the web, without a slash at the end.
fn parse_web_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://");
    let rest = rest.or_else(|| text.strip_prefix("http://"));
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    match rest {
        Some(rest) if !rest.is_empty() && rest.chars().all(is_plain) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("must be a URL such as \"https://fleet.example\"".to_owned()),
    }
}

/// The name or the address of a machine.
fn parse_host(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
    if text.is_empty() || text.len() > 253 || !text.chars().all(is_allowed) {
        return Err("must be a name or an address, such as \"mail.example\"".to_owned());
    }
    Ok(text.to_owned())
}

/// A mail address; the channel's library reads it once more.
fn parse_mail_address(text: &str) -> Result<String, String> {
    let is_address = text.split_once('@').is_some_and(|(user, domain)| {
        !user.is_empty() && !domain.is_empty() && !text.chars().any(char::is_whitespace)
    });
    if !is_address || text.len() > 253 {
        return Err("must be an address such as \"fleetbeat@example.org\"".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use fleetbeat_settings::{Document, Problems};

    use super::*;

    fn read(text: &str) -> (AlertSettings, Vec<String>) {
        let mut problems = Problems::default();
        let document = Document::parse("t", text, &mut problems);
        let settings = document.read(&mut problems, AlertSettings::read);
        let told = problems.into_result().err().map(|told| told.to_string());
        let told = told.unwrap_or_default();
        (settings, told.lines().map(str::to_owned).collect())
    }

    #[test]
    fn without_settings_rules_are_judged_and_no_mail_is_sent() {
        let (settings, told) = read("[alerts]\n[smtp]\n[watchdog]\n");
        assert!(told.is_empty(), "{told:?}");
        assert!(settings.is_enabled && settings.smtp.is_none());
        assert!(settings.watchdog.is_none() && settings.allow_private.is_empty());
        assert_eq!(settings.keep, 90 * DAY);
    }

    #[test]
    fn the_port_follows_from_the_encryption() {
        for (tls, port) in [("implicit", 465), ("starttls", 587), ("none", 25)] {
            let (settings, told) = read(&format!(
                "[smtp]\nhost = \"localhost\"\nfrom = \"a@b\"\ntls = \"{tls}\""
            ));
            assert!(told.is_empty(), "{told:?}");
            assert_eq!(settings.smtp.unwrap().port, port, "{tls}");
        }
    }

    #[test]
    fn a_link_begins_with_the_url_as_it_is_without_its_slash() {
        let (settings, told) =
            read("[alerts]\nexternal_url = \"https://fleet.example/monitor/\"");
        assert!(told.is_empty(), "{told:?}");
        let url = settings.external_url.unwrap();
        assert_eq!(url, "https://fleet.example/monitor");
    }

    #[test]
    fn no_log_shows_the_watchdogs_url() {
        let (settings, _) = read("[watchdog]\nurl = \"https://hc-ping.com/secret\"");
        assert!(settings.watchdog.is_some());
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn every_mistake_is_named() {
        for (text, named) in [
            ("[alerts]\nkeep = \"1h\"", &["alerts.keep"][..]),
            ("[alerts]\nexternal_url = \"fleet\"", &["external_url"]),
            (
                "[alerts]\nallow_private = [\"home\"]",
                &["allow_private[0]"],
            ),
            ("[smtp]\nport = 25", &["smtp.host", "smtp.from"]),
            (
                "[smtp]\nhost = \"mail.example\"\nfrom = \"a@b\"\ntls = \"none\"",
                &["smtp.tls"],
            ),
            (
                "[smtp]\nhost = \"a b\"\nfrom = \"a\"",
                &["smtp.host", "smtp.from"],
            ),
            ("[watchdog]\ninterval = \"30s\"", &["watchdog.url"]),
            ("[watchdog]\nurl = \"ftp://x\"", &["watchdog.url"]),
        ] {
            let (_, told) = read(text);
            assert_eq!(told.len(), named.len(), "{text}: {told:?}");
            for (line, name) in told.iter().zip(named) {
                assert!(line.contains(name), "{text}: {told:?}");
            }
        }
    }
}
