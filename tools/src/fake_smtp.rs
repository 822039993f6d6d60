//! A mail server that answers as a test has written down, and keeps the mail it was sent.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::stand_in::{Certificate, StandIn};

/// Time between two bytes of a server that drips.
const DRIP: Duration = Duration::from_millis(200);
/// Pause between two looks at what has come.
const POLL: Duration = Duration::from_millis(10);
/// Longest line and longest mail.
const MAX_BYTES: usize = 4_000_000;

/// How the mail server behaves.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// Speaks TLS from the first byte.
    pub implicit: Option<Certificate>,
    /// Offers STARTTLS.
    pub starttls: Option<Certificate>,
    /// Offers a login by name and password, and takes whatever comes.
    pub has_login: bool,
    /// Replies in place of the usual ones, each for the next line that begins so.
    pub replies: VecDeque<(&'static str, &'static str)>,
    /// Never gets to the end of its greeting.
    pub drips: bool,
}

/// A mail that the server has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedMail {
    /// The sender, as in `MAIL FROM`.
    pub from: String,
    /// The recipients, as in `RCPT TO`.
    pub to: Vec<String>,
    /// Head and body.
    pub data: String,
    /// Whether the connection was encrypted.
    pub is_encrypted: bool,
    /// What came with `AUTH PLAIN`, in base64.
    pub login: Option<String>,
}

/// The mail server; dropping the value ends its thread.
pub struct FakeSmtp {
    stand_in: StandIn,
    mails: Arc<Mutex<Vec<ReceivedMail>>>,
}

/// A connection, encrypted or not.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

impl FakeSmtp {
    /// Serves one connection after the other.
    pub fn start(behaviour: Behaviour) -> FakeSmtp {
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        let behaviour = Mutex::new(behaviour);
        let stand_in = StandIn::start(move |stream| {
            let mut behaviour = behaviour.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = serve(stream, &mut behaviour, &kept);
        });
        FakeSmtp { stand_in, mails }
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.stand_in.address()
    }

    /// All mail so far.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        let mails = self.mails.lock();
        mails.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The mail, as soon as there are `count`.
    ///
    /// # Panics
    /// If there are fewer at the end of `limit`.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<ReceivedMail> {
        let ends_at = Instant::now() + limit;
        loop {
            let mails = self.mails();
            if mails.len() >= count {
                return mails;
            }
            assert!(Instant::now() < ends_at, "only {mails:#?}");
            thread::sleep(POLL);
        }
    }
}

fn serve(
    stream: TcpStream,
    behaviour: &mut Behaviour,
    mails: &Mutex<Vec<ReceivedMail>>,
) -> std::io::Result<()> {
    let plain = stream.try_clone()?;
    let (mut stream, mut is_encrypted): (Box<dyn Stream>, bool) =
        match &behaviour.implicit {
            Some(certificate) => match certificate.accept(stream) {
                Some(stream) => (Box::new(stream), true),
                None => return Ok(()),
            },
            None => (Box::new(stream), false),
        };
    if behaviour.drips {
        return drip(&mut stream);
    }
    say(&mut stream, "220 mail.example ESMTP")?;

    let mut session = Session::default();
    while let Some(line) = read_line(&mut stream) {
        let verb = line.to_ascii_uppercase();
        if let Some(reply) = scripted(behaviour, &verb) {
            say(&mut stream, reply)?;
        } else if verb.starts_with("STARTTLS")
            && let Some(certificate) = &behaviour.starttls
        {
            say(&mut stream, "220 go ahead")?;
            let Some(encrypted) = certificate.accept(plain.try_clone()?) else {
                return Ok(());
            };
            (stream, is_encrypted) = (Box::new(encrypted), true);
        } else if verb.starts_with("EHLO") {
            say(&mut stream, &greeting(behaviour, is_encrypted))?;
        } else if verb == "DATA" {
            say(&mut stream, "354 go ahead")?;
            let data = read_data(&mut stream);
            let reply = scripted(behaviour, ".");
            if reply.is_none_or(|reply| reply.starts_with('2')) {
                let mail = session.finish(data, is_encrypted);
                let mut mails = mails.lock().unwrap_or_else(PoisonError::into_inner);
                mails.push(mail);
            }
            say(&mut stream, reply.unwrap_or("250 taken"))?;
        } else {
            say(&mut stream, session.take(&line))?;
            if verb == "QUIT" {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What the client has said so far.
#[derive(Default)]
struct Session {
    from: String,
    to: Vec<String>,
    login: Option<String>,
}

impl Session {
    /// The usual reply to a line.
    fn take(&mut self, line: &str) -> &'static str {
        let address = || {
            let address = line.split_once('<').map_or("", |(_, rest)| rest);
            address.split('>').next().unwrap_or_default().to_owned()
        };
        let verb = line.to_ascii_uppercase();
        match verb.split([' ', ':']).next().unwrap_or_default() {
            "MAIL" => self.from = address(),
            "RCPT" => self.to.push(address()),
            "RSET" => *self = Session::default(),
            "AUTH" => {
                self.login = line.split(' ').nth(2).map(str::to_owned);
                return "235 welcome";
            }
            "QUIT" => return "221 bye",
            _ => {}
        }
        "250 ok"
    }

    fn finish(&mut self, data: String, is_encrypted: bool) -> ReceivedMail {
        let session = std::mem::take(self);
        ReceivedMail {
            from: session.from,
            to: session.to,
            data,
            is_encrypted,
            login: session.login,
        }
    }
}

fn greeting(behaviour: &Behaviour, is_encrypted: bool) -> String {
    let mut lines = vec!["mail.example", "8BITMIME"];
    if behaviour.starttls.is_some() && !is_encrypted {
        lines.push("STARTTLS");
    }
    if behaviour.has_login {
        lines.push("AUTH PLAIN LOGIN");
    }
    let last = lines.len() - 1;
    let lines = lines.iter().enumerate();
    let lines = lines.map(|(index, line)| {
        let separator = if index == last { ' ' } else { '-' };
        format!("250{separator}{line}")
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

/// The reply that the test has written down for such a line, if it is next.
fn scripted(behaviour: &mut Behaviour, verb: &str) -> Option<&'static str> {
    let next = behaviour.replies.front()?;
    if !verb.starts_with(next.0) {
        return None;
    }
    behaviour.replies.pop_front().map(|(_, reply)| reply)
}

fn say(stream: &mut impl Write, line: &str) -> std::io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    stream.flush()
}

fn drip(stream: &mut impl Write) -> std::io::Result<()> {
    stream.write_all(b"220 ")?;
    loop {
        stream.write_all(b"x")?;
        stream.flush()?;
        thread::sleep(DRIP);
    }
}

/// A line without its end; `None` if the client hangs up. Read byte by byte, because what
/// follows may belong to TLS.
fn read_line(stream: &mut impl Read) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < MAX_BYTES {
        stream.read_exact(&mut byte).ok()?;
        line.push(byte[0]);
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            return Some(String::from_utf8_lossy(&line).into_owned());
        }
    }
    None
}

fn read_data(stream: &mut impl Read) -> String {
    let mut data = String::new();
    while let Some(line) = read_line(stream) {
        if line == "." {
            break;
        }
        data.push_str(line.strip_prefix('.').unwrap_or(&line));
        data.push('\n');
    }
    data
}
