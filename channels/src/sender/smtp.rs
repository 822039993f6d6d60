//! The dialogue with a mail server (RFC 5321), within a deadline for all of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::error::{ErrorClass, SendError};
use crate::sender::http::classify_io;
use crate::sender::resolver::{Lookup, look_up};

/// Longest wait for a connection to one of the server's addresses.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest reply, all its lines together.
const MAX_REPLY: usize = 16 * 1024;

/// What TLS needs to know.
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// A connection to a mail server.
pub(super) struct Connection {
    stream: Stream,
    /// How we name ourselves: by the address, which every server takes.
    hello: String,
    /// What the server can do, a line for each ability.
    abilities: Vec<String>,
    /// What has come and was not read yet.
    buffer: Vec<u8>,
}

/// A stream, encrypted or not.
enum Stream {
    Plain(Punctual),
    Tls(Box<StreamOwned<ClientConnection, Punctual>>),
    /// Between the two, and after a failed handshake.
    Closed,
}

/// A socket whose reads and writes end at the deadline, however many there are.
struct Punctual {
    socket: TcpStream,
    ends_at: Instant,
}

impl Punctual {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.ends_at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl Read for Punctual {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer)
    }
}

impl Write for Punctual {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

impl Connection {
    /// # Errors
    /// The name has no address, or nobody listens there.
    pub(super) fn open(
        lookup: &Arc<dyn Lookup>,
        host: &str,
        port: u16,
        ends_at: Instant,
    ) -> Result<Connection, SendError> {
        let limit = ends_at.saturating_duration_since(Instant::now());
        let addresses = look_up(lookup, host, limit).map_err(SendError::passing)?;

        let mut failure = SendError::passing(ErrorClass::Connect);
        for ip in addresses {
            let left = ends_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SendError::passing(ErrorClass::Timeout));
            }
            let address = SocketAddr::new(ip, port);
            match TcpStream::connect_timeout(&address, left.min(CONNECT)) {
                Ok(socket) => return Ok(Connection::new(socket, ends_at)),
                Err(error) => failure = passing(&error),
            }
        }
        Err(failure)
    }

    fn new(socket: TcpStream, ends_at: Instant) -> Connection {
        let hello = match socket.local_addr() {
            Ok(SocketAddr::V6(address)) => format!("[IPv6:{}]", address.ip()),
            Ok(SocketAddr::V4(address)) => format!("[{}]", address.ip()),
            Err(_) => "localhost".to_owned(),
        };
        Connection {
            stream: Stream::Plain(Punctual { socket, ends_at }),
            hello,
            abilities: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Waits for the server's greeting, and asks what it can do.
    pub(super) fn greet(&mut self) -> Result<(), SendError> {
        self.reply()?;
        self.ask()
    }

    fn ask(&mut self) -> Result<(), SendError> {
        self.say(format!("EHLO {}\r\n", self.hello).as_bytes())?;
        self.abilities = self.reply()?;
        Ok(())
    }

    /// Encrypts by STARTTLS.
    pub(super) fn start_tls(&mut self, tls: &Tls) -> Result<(), SendError> {
        if !self.can("STARTTLS") {
            return Err(SendError::passing(ErrorClass::Tls));
        }
        self.command("STARTTLS")?;
        // What has come already was not encrypted: somebody on the way wants it to be
        // taken for the server's.
        if !self.buffer.is_empty() {
            return Err(SendError::passing(ErrorClass::Tls));
        }
        self.encrypt(tls)?;
        self.ask()
    }

    /// Encrypts at once.
    pub(super) fn encrypt(&mut self, tls: &Tls) -> Result<(), SendError> {
        let Stream::Plain(mut socket) =
            std::mem::replace(&mut self.stream, Stream::Closed)
        else {
            return Err(SendError::passing(ErrorClass::Protocol));
        };
        let connection = ClientConnection::new(Arc::clone(&tls.config), tls.name.clone());
        let mut connection =
            connection.map_err(|_| SendError::passing(ErrorClass::Tls))?;
        while connection.is_handshaking() {
            connection
                .complete_io(&mut socket)
                .map_err(|error| passing(&error))?;
        }
        self.stream = Stream::Tls(Box::new(StreamOwned::new(connection, socket)));
        Ok(())
    }

    /// Shows name and password.
    pub(super) fn log_in(&mut self, user: &str, password: &str) -> Result<(), SendError> {
        let mechanisms = self.abilities.iter().filter_map(|line| {
            let (name, mechanisms) = line.split_once([' ', '='])?;
            name.eq_ignore_ascii_case("AUTH").then_some(mechanisms)
        });
        let mechanisms: Vec<_> = mechanisms.flat_map(|line| line.split(' ')).collect();
        let has = |name: &str| mechanisms.iter().any(|of| of.eq_ignore_ascii_case(name));

        if has("PLAIN") {
            let login = STANDARD.encode(format!("\0{user}\0{password}"));
            self.command(&format!("AUTH PLAIN {login}"))
        } else if has("LOGIN") {
            self.command("AUTH LOGIN")?;
            self.command(&STANDARD.encode(user))?;
            self.command(&STANDARD.encode(password))
        } else {
            Err(SendError::passing(ErrorClass::Settings))
        }
    }

    /// Hands the mail itself over.
    pub(super) fn data(&mut self, mail: &[u8]) -> Result<(), SendError> {
        self.command("DATA")?;
        self.say(&stuff(mail))?;
        self.reply().map(|_| ())
    }

    /// Says goodbye. The mail is taken already: the answer does not matter.
    pub(super) fn quit(mut self) {
        let _ = self.say(b"QUIT\r\n");
    }

    /// Says a line, and waits until the server agrees.
    pub(super) fn command(&mut self, line: &str) -> Result<(), SendError> {
        self.say(format!("{line}\r\n").as_bytes())?;
        self.reply().map(|_| ())
    }

    fn can(&self, ability: &str) -> bool {
        let mut abilities = self.abilities.iter();
        abilities.any(|line| line.eq_ignore_ascii_case(ability))
    }

    fn say(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let said = match &mut self.stream {
            Stream::Plain(stream) => {
                stream.write_all(bytes).and_then(|()| stream.flush())
            }
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Closed => Err(io::ErrorKind::NotConnected.into()),
        };
        said.map_err(|error| passing(&error))
    }

    /// The lines of a reply that agrees, without their codes.
    fn reply(&mut self) -> Result<Vec<String>, SendError> {
        let protocol = || SendError::passing(ErrorClass::Protocol);
        let mut lines = Vec::new();
        let mut length = 0;
        loop {
            let line = self.read_line()?;
            length += line.len();
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let code = code.filter(|code| (200..600).contains(code));
            let code = code.ok_or_else(protocol)?;
            if length > MAX_REPLY {
                return Err(protocol());
            }

            let is_last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            match code {
                _ if !is_last => {}
                200..=399 => return Ok(lines),
                _ => {
                    let refused = SendError::passing(ErrorClass::Refused);
                    return Err(SendError {
                        is_permanent: code >= 500,
                        ..refused.with_status(code)
                    });
                }
            }
        }
    }

    fn read_line(&mut self) -> Result<String, SendError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                return Ok(line.trim_end().to_owned());
            }
            if self.buffer.len() > MAX_REPLY {
                return Err(SendError::passing(ErrorClass::Protocol));
            }
            let mut bytes = [0; 1024];
            let count = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut bytes),
                Stream::Tls(stream) => stream.read(&mut bytes),
                Stream::Closed => Ok(0),
            };
            match count.map_err(|error| passing(&error))? {
                0 => return Err(SendError::passing(ErrorClass::Protocol)),
                count => self.buffer.extend_from_slice(&bytes[..count]),
            }
        }
    }
}

fn passing(error: &io::Error) -> SendError {
    SendError::passing(classify_io(error))
}

/// The mail as it stands between DATA and the next command: each line ends as SMTP wants
/// it, and no line but the last is a single dot.
fn stuff(mail: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(mail.len() + 64);
    let text = mail.strip_suffix(b"\n").unwrap_or(mail);
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first() == Some(&b'.') {
            stuffed.push(b'.');
        }
        // A carriage return alone is the end of a line to some servers.
        stuffed.extend(line.iter().filter(|byte| **byte != b'\r'));
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

#[cfg(test)]
mod tests {
    use super::stuff;

    #[test]
    fn no_line_of_a_mail_ends_it() {
        assert_eq!(stuff(b"a\r\n.\r\n..b\n"), b"a\r\n..\r\n...b\r\n.\r\n");
        assert_eq!(stuff(b"a\n.\nMAIL"), b"a\r\n..\r\nMAIL\r\n.\r\n");
        assert_eq!(stuff(b"a\r.\rb"), b"a.b\r\n.\r\n");
    }
}
