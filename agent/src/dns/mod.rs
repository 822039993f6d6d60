//! The addresses of a name: from /etc/hosts, or from the name servers of resolv.conf.
//!
//! The C library of the static agent gives a name up when one of the two families is
//! answered by an error, and believes whichever name server is first to answer. Here the
//! name servers are asked in their order, and an address that was answered is taken,
//! whatever becomes of the question for the other family.

mod files;
mod message;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::route;
use files::{Files, NameServers};
use message::{Answer, Family};

/// Longest wait for the name servers.
pub(crate) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer the second family is waited for when the first has an address, or an
/// answer that has to come by TCP.
const PATIENCE: Duration = Duration::from_millis(500);
/// Longest answer in a datagram, with room for servers that say more than they should.
const MAX_DATAGRAM_BYTES: usize = 4096;
/// Most addresses of a name.
const MAX_ADDRESSES: usize = 16;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("{0} is not a name that a name server can know")]
    NotAName(String),
    #[error("there is no such name as {0}, says the name server {1}")]
    NoSuchName(String, IpAddr),
    #[error("{0} has no address, says the name server {1}")]
    NoAddress(String, IpAddr),
    #[error("the name server {server} does not tell the address of {name}: {trouble}")]
    NotTold {
        name: String,
        server: IpAddr,
        trouble: Trouble,
    },
}

/// Why a name server has not answered a question as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The response code of the answer.
    Refused(u8),
    /// There was no answer in time.
    Silent,
    /// The question could not be sent.
    Unreachable(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Refused(1) => f.write_str("it answers FORMERR"),
            Trouble::Refused(2) => f.write_str("it answers SERVFAIL"),
            Trouble::Refused(4) => f.write_str("it answers NOTIMP"),
            Trouble::Refused(5) => f.write_str("it answers REFUSED"),
            Trouble::Refused(code) => write!(f, "it answers with the code {code}"),
            Trouble::Silent => f.write_str("it does not answer"),
            Trouble::Unreachable(error) => f.write_str(error),
        }
    }
}

/// The addresses of `name`, the best first. The lookup ends by `deadline`.
///
/// # Errors
/// The name has no address, or no name server tells.
pub(crate) fn look_up(name: &str, deadline: Instant) -> Result<Vec<IpAddr>, LookupError> {
    Resolver::default().look_up(name, deadline)
}

/// Whether a name server can be asked for `name`.
pub(crate) fn is_name(name: &str) -> bool {
    message::question(0, name, Family::V4).is_some()
}

/// Looks names up in a host's files.
#[derive(Default)]
struct Resolver {
    files: Files,
}

impl Resolver {
    fn look_up(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>, LookupError> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let mut found = self.files.find_host(name);
        if found.is_empty() && is_localhost(name) {
            found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        if found.is_empty() {
            found = ask_for_each(&self.files.name_servers(), name, deadline)?;
        }

        found.sort_by_key(|address| rank(*address));
        found.truncate(MAX_ADDRESSES);
        Ok(found)
    }
}

/// Names that are this host's by definition (RFC 6761).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// The place of an address among others, by the main rules of RFC 6724: IPv6 first, where
/// there is a way there from an address of the same kind.
fn rank(to: IpAddr) -> u8 {
    match (to, route::source_to(to)) {
        (_, None) => 3,
        (IpAddr::V6(to), Some(IpAddr::V6(from))) => {
            if to.is_unique_local() == from.is_unique_local() {
                0
            } else {
                2
            }
        }
        _ => 1,
    }
}

/// Asks for the name in each of its search domains, until there is an address.
fn ask_for_each(
    servers: &NameServers,
    name: &str,
    deadline: Instant,
) -> Result<Vec<IpAddr>, LookupError> {
    let mut first_error = None;
    let candidates = servers.candidates(name);
    let count = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
    // A domain whose server is silent leaves time for the name itself, which is as likely
    // as all domains together.
    let weight = |candidate: &str| if candidate == name { count } else { 1 };
    let mut weights_left: u32 = candidates.iter().map(|name| weight(name)).sum();

    for candidate in candidates {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() && first_error.is_some() {
            break;
        }
        let weight = weight(&candidate);
        let share = left * weight / weights_left.max(1);
        weights_left -= weight;
        match ask_in_order(servers, &candidate, Instant::now() + share) {
            Ok(found) => return Ok(found),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| LookupError::NotAName(name.to_owned())))
}

/// Asks one name server after the other, until one knows the name or knows that there is
/// no such name.
fn ask_in_order(
    servers: &NameServers,
    name: &str,
    deadline: Instant,
) -> Result<Vec<IpAddr>, LookupError> {
    let questions =
        Questions::new(name).ok_or_else(|| LookupError::NotAName(name.to_owned()))?;
    let count = u32::try_from(servers.addresses.len()).unwrap_or(1);
    let mut tries_left = servers.rounds * count;
    let mut last_error = None;

    for round in 0..servers.rounds {
        for server in &servers.addresses {
            // The last server has its share of the time, however silent the others are.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && last_error.is_some() {
                break;
            }
            let wait = servers.timeout.min(left / tries_left.max(1));
            tries_left = tries_left.saturating_sub(1);

            // Some firewalls let only the first of two questions at a time through.
            let until = Instant::now() + wait;
            let told = match round {
                0 => questions.ask_together(*server, until),
                _ => questions.ask_in_turns(*server, until),
            };
            match told.judge(name, server.ip()) {
                Err(error @ LookupError::NotTold { .. }) => last_error = Some(error),
                told => return told,
            }
        }
    }
    Err(last_error.unwrap_or_else(|| LookupError::NotAName(name.to_owned())))
}

/// The questions for both families' addresses of one name.
struct Questions {
    families: [(Family, Vec<u8>); 2],
}

impl Questions {
    fn new(name: &str) -> Option<Questions> {
        let question = |family| {
            // A number that nobody can guess, so that nobody else can answer.
            let mut id = [0; 2];
            getrandom::fill(&mut id).ok()?;
            message::question(u16::from_be_bytes(id), name, family)
                .map(|question| (family, question))
        };
        Some(Questions {
            families: [question(Family::V6)?, question(Family::V4)?],
        })
    }

    /// What `server` answers until `deadline` to both questions at once.
    fn ask_together(&self, server: SocketAddr, deadline: Instant) -> Told {
        let mut told = Told::default();
        self.ask(&[0, 1], server, deadline, &mut told);
        told
    }

    /// What `server` answers until `deadline` to one question after the other.
    fn ask_in_turns(&self, server: SocketAddr, deadline: Instant) -> Told {
        let mut told = Told::default();
        let half = deadline.saturating_duration_since(Instant::now()) / 2;
        self.ask(&[0], server, Instant::now() + half, &mut told);
        let until = told.patience(deadline);
        self.ask(&[1], server, until, &mut told);
        told
    }

    /// Asks the questions with these numbers.
    fn ask(&self, asked: &[usize], server: SocketAddr, until: Instant, told: &mut Told) {
        if let Err(error) = self.exchange(asked, server, until, told) {
            told.trouble = Some(Trouble::Unreachable(error.to_string()));
        }
    }

    fn exchange(
        &self,
        asked: &[usize],
        server: SocketAddr,
        deadline: Instant,
        told: &mut Told,
    ) -> io::Result<()> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        for index in asked {
            socket.send(&self.families[*index].1)?;
        }

        let mut bytes = [0; MAX_DATAGRAM_BYTES];
        let mut until = deadline;
        while asked.iter().any(|index| told.answers[*index].is_none()) {
            let Ok(left) = time_left(until) else { break };
            socket.set_read_timeout(Some(left))?;
            let length = match socket.recv(&mut bytes) {
                Ok(length) => length,
                Err(error) if is_timeout(&error) => continue,
                Err(error) => return Err(error),
            };

            self.take(&bytes[..length], told);
            let is_cut =
                |index: &usize| matches!(told.answers[*index], Some(Answer::Truncated));
            if asked.iter().any(is_cut) {
                until = until.min(Instant::now() + PATIENCE);
            }
            until = told.patience(until);
        }

        // TCP may be closed: what comes by datagrams comes first.
        let until = told.patience(deadline);
        for index in asked {
            let (family, question) = &self.families[*index];
            let place = &mut told.answers[*index];
            if let Some(Answer::Truncated) = place {
                let answer = ask_by_tcp(server, question, *family, until);
                *place = answer.ok().flatten().or(place.take());
            }
        }
        Ok(())
    }

    /// Takes the answer in `bytes`. What answers neither question is passed over.
    fn take(&self, bytes: &[u8], told: &mut Told) {
        for ((family, question), place) in self.families.iter().zip(&mut told.answers) {
            if place.is_none() {
                *place = message::parse(bytes, question, *family);
            }
        }
    }
}

/// The answer to a question whose answer is too long for a datagram.
fn ask_by_tcp(
    server: SocketAddr,
    question: &[u8],
    family: Family,
    deadline: Instant,
) -> io::Result<Option<Answer>> {
    let mut stream = TcpStream::connect_timeout(&server, time_left(deadline)?)?;
    stream.set_write_timeout(Some(time_left(deadline)?))?;

    let length = u16::try_from(question.len()).unwrap_or_default();
    let request = [&length.to_be_bytes()[..], question].concat();
    stream.write_all(&request)?;
    let mut length = [0; 2];
    read_until(&mut stream, &mut length, deadline)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    read_until(&mut stream, &mut bytes, deadline)?;
    Ok(message::parse(&bytes, question, family))
}

/// Fills `bytes`. A server that sends a byte now and then must not take longer than one
/// that sends nothing, so each read waits for what is left of the time.
fn read_until(
    stream: &mut TcpStream,
    mut bytes: &mut [u8],
    deadline: Instant,
) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        match stream.read(bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => bytes = &mut bytes[length..],
        }
    }
    Ok(())
}

/// The time until `deadline`.
///
/// # Errors
/// There is none left.
fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// What one name server has said to both questions.
#[derive(Default)]
struct Told {
    /// In the order of the questions; `None` without an answer.
    answers: [Option<Answer>; 2],
    trouble: Option<Trouble>,
}

impl Told {
    fn has_address(&self) -> bool {
        self.answers.iter().any(|answer| {
            matches!(answer, Some(Answer::Addresses(found)) if !found.is_empty())
        })
    }

    /// Until when more is waited for: not until `deadline` where there is an address.
    fn patience(&self, deadline: Instant) -> Instant {
        if self.has_address() {
            deadline.min(Instant::now() + PATIENCE)
        } else {
            deadline
        }
    }

    /// The addresses; or whether there are none, or the server has not told.
    fn judge(self, name: &str, server: IpAddr) -> Result<Vec<IpAddr>, LookupError> {
        let (mut found, mut is_known) = (Vec::new(), false);
        let mut trouble = self.trouble;
        for answer in self.answers {
            match answer {
                Some(Answer::Addresses(addresses)) => {
                    is_known = true;
                    found.extend(addresses);
                }
                Some(Answer::NoSuchName) => {}
                Some(Answer::Refused(code)) => trouble = Some(Trouble::Refused(code)),
                Some(Answer::Truncated) | None => {
                    trouble = trouble.or(Some(Trouble::Silent));
                }
            }
        }

        let name = name.to_owned();
        match trouble {
            _ if !found.is_empty() => Ok(found),
            Some(trouble) => Err(LookupError::NotTold {
                name,
                server,
                trouble,
            }),
            None if is_known => Err(LookupError::NoAddress(name, server)),
            None => Err(LookupError::NoSuchName(name, server)),
        }
    }
}

#[cfg(test)]
mod tests;
