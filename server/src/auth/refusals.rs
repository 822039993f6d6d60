//! What was refused, in the log: a line for each source, with counts and never a flood.
//!
//! Operators find the host with the old key by these lines, and fail2ban finds whoever
//! tries passwords. `docs/operating.md` shows both, so the words before the colon stay.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;

use crate::recurring::{Recurring, Tally};

/// Sources remembered at once. The oldest is forgotten first.
const MAX_SOURCES: usize = 4096;
/// Lines in a [`PERIOD`]; refusals that would make more are counted together.
const MAX_LINES: u32 = 60;
/// The time over which lines are counted.
const PERIOD: Duration = Duration::from_secs(60);

/// What is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// A login of a user that there is, with a wrong password.
    WrongPassword,
    /// A login of a user that there is not. The log does not say the name, because people
    /// type their password there.
    UnknownUser,
    /// A login with the right password and a wrong code.
    WrongCode,
    /// A login with the right password and a code that was used before.
    UsedCode,
    /// A login by a proxy that is not believed.
    ProxyLogin,
    /// An API token that is valid and was of no use.
    ApiToken,
    /// A login after too many wrong passwords.
    TooManyLogins,
    /// A heartbeat with a wrong key.
    WrongKey,
    /// A heartbeat without a key.
    NoKey,
    /// A heartbeat with a key that hosts share, where hosts' own keys alone are taken.
    SharedKey,
    /// A heartbeat of a host that is not known, where unknown hosts need a code.
    UnknownHost,
    /// A heartbeat of a host that somebody has removed.
    RemovedHost,
    /// A host that wants to be enrolled, without a good code.
    Enrollment,
    /// An `X-Forwarded-For` of a peer that is not a trusted proxy. The request is served,
    /// as the peer's own.
    ForwardedFor,
}

/// What the log says.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::WrongPassword => "wrong password",
            Refusal::UnknownUser => "wrong password, and no such user",
            Refusal::WrongCode => "wrong code behind the right password",
            Refusal::UsedCode => "used code behind the right password",
            Refusal::ProxyLogin => "login by a proxy that is not in auth.proxy.trusted",
            Refusal::ApiToken => "API token",
            Refusal::TooManyLogins => "too many wrong passwords",
            Refusal::WrongKey => "wrong agent key",
            Refusal::NoKey => "no agent key",
            Refusal::SharedKey => "shared key, and agents.mode is strict",
            Refusal::UnknownHost => "unknown host without a code",
            Refusal::RemovedHost => "removed host",
            Refusal::Enrollment => "enrolment",
            Refusal::ForwardedFor => {
                "X-Forwarded-For of a peer that is not in trusted_proxies"
            }
        })
    }
}

/// Who was refused what, and what the log knows about it.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<Sources>);

/// The sources that were refused something.
#[derive(Default)]
struct Sources {
    recurring: HashMap<Source, Recurring>,
    /// The sources in the order in which they were first refused.
    by_age: VecDeque<Source>,
    /// When the lines of the present period began, and how many there were.
    period: Option<(Instant, u32)>,
    /// Refusals that are in no line.
    untold: u64,
}

/// A source, and what it was refused.
type Source = (Refusal, Option<IpAddr>);

impl Refusals {
    /// Notes a refusal, and says so in the log if a line is due. `detail` is what else the
    /// line tells, escaped.
    pub(crate) fn note(&self, refusal: Refusal, source: Option<IpAddr>, detail: &str) {
        let lines = lock(&self.0).note((refusal, source), detail, Instant::now());
        for line in lines {
            log::warn!("{line}");
        }
    }
}

impl Sources {
    /// The lines that are due.
    fn note(&mut self, source: Source, detail: &str, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        self.begin_period(now, &mut lines);

        let tally = self.find(source).again("", now);
        let Some(tally) = tally else {
            return lines;
        };
        let told = self.period.as_mut().map(|(_, told)| told);
        match told {
            Some(told) if *told < MAX_LINES => {
                *told += 1;
                lines.push(describe(source, tally, detail));
            }
            _ => self.untold += 1,
        }
        lines
    }

    /// Begins a period if the last is over, with a line about what was in none.
    fn begin_period(&mut self, now: Instant, lines: &mut Vec<String>) {
        let is_over = |(began, _): &(Instant, u32)| now.duration_since(*began) >= PERIOD;
        if !self.period.as_ref().is_none_or(is_over) {
            return;
        }
        let untold = std::mem::take(&mut self.untold);
        if untold > 0 {
            lines.push(format!(
                "refused {untold} further sources: too many for a line each"
            ));
        }
        self.period = Some((now, 0));
    }

    /// The source's own trouble.
    fn find(&mut self, source: Source) -> &mut Recurring {
        if !self.recurring.contains_key(&source) {
            self.by_age.push_back(source);
            if self.by_age.len() > MAX_SOURCES
                && let Some(oldest) = self.by_age.pop_front()
            {
                self.recurring.remove(&oldest);
            }
        }

        self.recurring.entry(source).or_default()
    }
}

/// Where a request comes from, for the log.
pub(crate) fn show_source(source: Option<IpAddr>) -> String {
    source.map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_string())
}

fn describe((refusal, source): Source, tally: Tally, detail: &str) -> String {
    let mut line = format!("refused {}: {refusal}", show_source(source));
    if !detail.is_empty() {
        line.push_str(", ");
        line.push_str(detail);
    }
    line.push_str(&tally.to_string());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> Option<IpAddr> {
        Some(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn a_source_has_a_line_at_once_and_then_lines_with_counts() {
        let (mut sources, start) = (Sources::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        let wrong = (Refusal::WrongPassword, source(0xC000_0207));
        let mut told = Vec::new();
        for secs in 0..40 {
            told.extend(sources.note(wrong, "user \"admin\"", at(secs)));
        }
        assert_eq!(
            told,
            [
                "refused 192.0.2.7: wrong password, user \"admin\"",
                "refused 192.0.2.7: wrong password, user \"admin\" (11 times in 10 s)",
                "refused 192.0.2.7: wrong password, user \"admin\" (31 times in 30 s)",
            ]
        );

        let key = (Refusal::WrongKey, source(0xC000_0207));
        assert_eq!(
            sources.note(key, "", at(40)),
            ["refused 192.0.2.7: wrong agent key"],
            "another matter"
        );
        let news = sources.note(wrong, "", at(4000));
        assert_eq!(news, ["refused 192.0.2.7: wrong password"], "an hour later");
    }

    #[test]
    fn a_flood_of_sources_is_bounded_in_lines_and_in_memory() {
        let (mut sources, start) = (Sources::default(), Instant::now());
        let many = u32::try_from(MAX_SOURCES).unwrap() * 2;
        let told = (0..many)
            .flat_map(|n| sources.note((Refusal::WrongKey, source(n)), "", start))
            .count();
        assert_eq!(told, MAX_LINES as usize);
        assert_eq!(sources.recurring.len(), MAX_SOURCES);
        assert_eq!(sources.by_age.len(), MAX_SOURCES);

        let later = sources.note((Refusal::NoKey, None), "", start + PERIOD);
        assert_eq!(
            later,
            [
                format!(
                    "refused {} further sources: too many for a line each",
                    many - 60
                ),
                "refused an unknown address: no agent key".to_owned(),
            ]
        );
    }
}
