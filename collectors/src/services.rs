//! `services`: whether systemd calls each unit active.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{MAX_NAME_CHARS, MAX_SERVICES, Service};
use fleetbeat_settings::Table;
use rustix::fs::{OFlags, fcntl_setfl};

use crate::{Collector, Error, Roots, Sample};

/// How long systemctl may take, from the beginning of the window: the first heartbeat has three seconds.
const DEADLINE: Duration = Duration::from_secs(2);
/// How often a systemctl that outlasts the window is looked at.
const POLL: Duration = Duration::from_millis(10);
/// How long a killed systemctl is waited for; one that hangs in the kernel can take for ever.
const REAP_TIMEOUT: Duration = Duration::from_millis(200);
/// Most that is read of what it prints, in bytes: a word for each unit fits easily.
const MAX_OUTPUT: u64 = 16 * 1024;
/// Longest name of a unit that systemd takes, in bytes.
const MAX_UNIT_BYTES: usize = 255;

pub(crate) fn build(options: &mut Table<'_>, roots: &Roots) -> Option<Box<dyn Collector>> {
    options.require("units");
    let units = options.tables("units", read_unit)?.into_iter().collect::<Option<Vec<Unit>>>()?;
    if units.is_empty() || units.len() > MAX_SERVICES {
        options.problem("units", format!("must have 1 to {MAX_SERVICES} elements, not {}", units.len()));
    }
    let mut names = BTreeSet::new();
    for unit in &units {
        if !names.insert(&unit.name) {
            options.problem("units", format!("has the name {:?} twice", unit.name));
        }
    }
    Some(Box::new(Services { systemctl: roots.systemctl.clone(), units, call: None }))
}

fn read_unit(table: &mut Table<'_>) -> Option<Unit> {
    table.require("name");
    table.require("unit");
    let name = table.parsed("name", |name| {
        let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.contains('\0');
        fits.then(|| name.to_owned()).ok_or_else(|| format!("must have 1 to {MAX_NAME_CHARS} characters"))
    });
    let unit = table.parsed("unit", |unit| {
        // systemd's own alphabet: no pattern, no path, and nothing that systemctl would take for an option.
        let is_unit = (1..=MAX_UNIT_BYTES).contains(&unit.len())
            && unit.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c))
            && !unit.starts_with('-');
        is_unit.then(|| unit.to_owned()).ok_or_else(|| "must be a unit such as \"wg-quick@wg0\"".to_owned())
    });
    Some(Unit { name: name?, unit: unit? })
}

struct Services {
    systemctl: PathBuf,
    units: Vec<Unit>,
    call: Option<Call>,
}

struct Unit {
    /// What the heartbeat calls it.
    name: String,
    /// What systemd calls it.
    unit: String,
}

impl Collector for Services {
    /// Asks; the answer is read at the end of the window.
    fn open(&mut self, now: Instant) -> Result<(), Error> {
        self.call = None;
        self.call = Some(Call::start(&self.systemctl, &self.units, now + DEADLINE)?);
        Ok(())
    }

    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let Some(call) = self.call.take() else { return Ok(None) };
        let states = parse_states(&call.answer()?, self.units.len());
        let states = states.ok_or_else(|| {
            Error::Unknown(format!("{} did not tell each unit's state", self.systemctl.display()))
        })?;
        Ok(Some(self.sample(|index| states[index])))
    }

    fn fallback(&self) -> Option<Sample> {
        Some(self.sample(|_| false))
    }
}

impl Services {
    fn sample(&self, is_active: impl Fn(usize) -> bool) -> Sample {
        let service =
            |(index, unit): (usize, &Unit)| Service { name: unit.name.clone(), active: is_active(index) };
        Sample::Services(self.units.iter().enumerate().map(service).collect())
    }
}

/// What `systemctl is-active` printed for each of `count` units.
fn parse_states(text: &str, count: usize) -> Option<Vec<bool>> {
    let is_active = |line| matches!(line, "active" | "reloading" | "refreshing");
    let states: Vec<bool> = text.lines().map(is_active).collect();
    (states.len() == count).then_some(states)
}

/// A running systemctl; dropped, it is killed, and reaped if that does not take long.
struct Call {
    program: PathBuf,
    child: Child,
    output: ChildStdout,
    deadline: Instant,
}

impl Call {
    fn start(program: &PathBuf, units: &[Unit], deadline: Instant) -> Result<Call, Error> {
        let failed = |source| Error::Start { program: program.clone(), source };
        let mut command = Command::new(program);
        command.args(["is-active", "--"]).args(units.iter().map(|unit| &unit.unit));
        // It has no business with the agent's environment, where the key is.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let output = child.stdout.take().ok_or_else(|| failed(ErrorKind::BrokenPipe.into()))?;
        let call = Call { program: program.clone(), child, output, deadline };
        // The end of the child is what counts: a process it left behind could hold the pipe open for ever.
        fcntl_setfl(&call.output, OFlags::NONBLOCK).map_err(|errno| failed(errno.into()))?;
        Ok(call)
    }

    /// Asking fails where the agent's parent made it ignore its children's ends: the system reaps them then.
    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it printed, once it has ended. Its exit code only repeats that some unit is not active.
    fn answer(mut self) -> Result<String, Error> {
        while self.is_running() {
            if Instant::now() >= self.deadline {
                let late = format!("{} did not answer within {DEADLINE:?}", self.program.display());
                return Err(Error::Unknown(late));
            }
            thread::sleep(POLL);
        }
        let mut printed = Vec::new();
        match self.output.by_ref().take(MAX_OUTPUT).read_to_end(&mut printed) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                Err(Error::Read { path: self.program.clone(), source: error })
            }
            _ => Ok(String::from_utf8_lossy(&printed).into_owned()),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let deadline = Instant::now() + REAP_TIMEOUT;
        // Once it is reaped, its number may be another process's.
        while self.is_running() && Instant::now() < deadline {
            let _ = self.child.kill();
            thread::sleep(POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_needs_its_line() {
        let text = "active\ninactive\nfailed\nunknown\nactivating\nreloading\nrefreshing\n";
        assert_eq!(parse_states(text, 7), Some(vec![true, false, false, false, false, true, true]));
        assert_eq!(parse_states(text, 6), None);
        assert_eq!(parse_states(text, 8), None);
        assert_eq!(parse_states("", 1), None);
    }
}
