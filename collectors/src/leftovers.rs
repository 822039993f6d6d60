//! Ends the processes that a command has left behind although its process group was
//! killed: those that have moved to a session of their own (`setsid`), as daemons do.
//! Otherwise a command that starts one each time would fill the host with them.
//!
//! A command's environment has a mark, which all of its children inherit.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::read::read_lossy;

/// The variable with the mark.
pub(crate) const VARIABLE: &str = "FLEETBEAT_COMMAND";

/// Kills each process whose mark is `mark` and a command's name, with a dot between them.
/// Gives the names. The processes in `groups` have been killed already. Nothing is killed if `proc` is that of other processes than this
/// one's, such as the host's in a container.
pub(crate) fn end(proc: &Path, mark: &str, groups: &[Pid]) -> Vec<String> {
    let own = getpid().as_raw_nonzero().to_string();
    let is_own =
        fs::read_link(proc.join("self")).is_ok_and(|link| link == Path::new(&own));
    if !is_own {
        return Vec::new();
    }

    let mut names = Vec::new();
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let number = entry.file_name().to_string_lossy().parse();
        let Some(pid) = number.ok().and_then(Pid::from_raw) else {
            continue;
        };
        // Other users' processes cannot be read, and are not this user's to end.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if let Some(name) = find_name(&environment, mark)
            && !read_group(&entry.path()).is_some_and(|group| groups.contains(&group))
            && kill_process(pid, Signal::KILL).is_ok()
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// The group of the process whose folder is `path`.
fn read_group(path: &Path) -> Option<Pid> {
    let stat = read_lossy(&path.join("stat")).ok()?;
    // The program's name is in parentheses, and may have some itself.
    let (_, fields) = stat.rsplit_once(") ")?;
    Pid::from_raw(fields.split(' ').nth(2)?.parse().ok()?)
}

/// The command's name in an environment with the mark.
fn find_name(environment: &[u8], mark: &str) -> Option<String> {
    let begin = format!("{VARIABLE}={mark}.");
    let mut variables = environment.split(|byte| *byte == 0);
    let name = variables.find_map(|variable| variable.strip_prefix(begin.as_bytes()))?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_whole() {
        for (environment, name) in [
            (&b"A=1\0FLEETBEAT_COMMAND=7.3.queue\0B=2"[..], Some("queue")),
            (b"FLEETBEAT_COMMAND=7.31.queue", None),
            (b"X_FLEETBEAT_COMMAND=7.3.queue", None),
            (b"", None),
        ] {
            assert_eq!(find_name(environment, "7.3").as_deref(), name);
        }
    }
}
