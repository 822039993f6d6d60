//! What the user commands have changed, in the system's log: a command runs beside the
//! server, so the server's log cannot tell.

use std::os::unix::net::UnixDatagram;

use fleetbeat_daemon::clock;

use crate::store::Act;

/// Where syslog listens, and under systemd the journal.
const SYSLOG: &str = "/dev/log";
/// The facility `authpriv`, which is for what administrators alone may read, and the
/// priority `info`.
const PRIORITY: u8 = (10 << 3) | 6;
/// Whom `sudo` says that it works for.
const SUDO_USER: &str = "SUDO_USER";
/// The longest name of a caller in an event, in characters.
const MAX_CALLER: usize = 64;

/// Tells the person at the terminal and the system's log what was changed. A machine
/// without a log, such as a container, is not an error.
pub(super) fn tell(change: &str) {
    println!("{change}");

    let line = format!(
        "<{PRIORITY}>fleetbeat-server[{}]: {change}, by {} on the command line",
        std::process::id(),
        caller(),
    );
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(line.as_bytes(), SYSLOG)
    });
    drop(sent);
}

/// What the command does, for its event.
pub(super) fn act() -> Act {
    let is_shown = |c: &char| !c.is_control();
    let caller: String = caller().chars().filter(is_shown).take(MAX_CALLER).collect();
    Act::program(format!("command line, {caller}"), clock::now())
}

/// Who has called, as far as the environment tells.
fn caller() -> String {
    let user = [SUDO_USER, "LOGNAME", "USER"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    match user {
        Some(user) => format!("user {user:?}"),
        None => "an unknown user".to_owned(),
    }
}
