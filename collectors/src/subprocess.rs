//! Runs a program with a deadline and takes what it prints.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};

use crate::Error;

/// How often a program that outlasts the window is looked at.
const POLL: Duration = Duration::from_millis(10);

/// A running program with its own process group, which is killed when the call is
/// dropped: whatever it started ends with it.
pub(crate) struct Call {
    program: PathBuf,
    child: Child,
    /// The child's, and its group's.
    pid: Pid,
    output: ChildStdout,
    printed: Vec<u8>,
    started: Instant,
    timeout: Duration,
    max_bytes: usize,
    is_over: bool,
}

/// What a program that has ended leaves.
pub(crate) struct Answer {
    pub(crate) text: String,
    /// Not known where the agent's parent made it ignore its children's ends: the system
    /// reaps them then.
    pub(crate) status: Option<ExitStatus>,
}

impl Call {
    /// Starts `program` with `words` at `now`; it has to end within `timeout` and to
    /// print at most `max_bytes`. Of the environment it sees no more than that `PATH`: it
    /// has no business with the agent's own, where the key is.
    pub(crate) fn start(
        program: &Path,
        words: &[&str],
        path: Option<&OsStr>,
        (now, timeout): (Instant, Duration),
        max_bytes: usize,
    ) -> Result<Call, Error> {
        let failed = |source| Error::Start {
            program: program.to_owned(),
            source,
        };
        let mut command = Command::new(program);
        command.args(words).current_dir("/").process_group(0);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .envs(path.map(|path| ("PATH", path)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (Some(pid), Some(output)) = (pid, child.stdout.take()) else {
            return Err(failed(ErrorKind::BrokenPipe.into()));
        };
        let (program, printed) = (program.to_owned(), Vec::new());
        let call = Call {
            program,
            child,
            pid,
            output,
            printed,
            started: now,
            timeout,
            max_bytes,
            is_over: false,
        };
        // The end of the child is what counts: a process it left behind could hold the
        // pipe open for ever.
        match fcntl_setfl(&call.output, OFlags::NONBLOCK) {
            Ok(()) => Ok(call),
            Err(errno) => Err(Error::Start {
                program: call.program.clone(),
                source: errno.into(),
            }),
        }
    }

    /// What it printed, once it has ended.
    pub(crate) fn answer(mut self) -> Result<Answer, Error> {
        // Asked before reading: what it printed before its end is then in the pipe.
        while !self.has_ended() {
            self.read()?;
            if self.started.elapsed() >= self.timeout {
                let (program, timeout) = (self.program.display(), self.timeout);
                return Err(Error::Unknown(format!(
                    "{program} did not answer within {timeout:?}"
                )));
            }
            thread::sleep(POLL);
        }
        self.read()?;
        let status = self.end();
        Ok(Answer {
            text: String::from_utf8_lossy(&self.printed).into_owned(),
            status,
        })
    }

    fn read(&mut self) -> Result<(), Error> {
        let room = (self.max_bytes + 1).saturating_sub(self.printed.len());
        match self
            .output
            .by_ref()
            .take(room as u64)
            .read_to_end(&mut self.printed)
        {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                return Err(Error::Read {
                    path: self.program.clone(),
                    source: error,
                });
            }
            _ => {}
        }
        if self.printed.len() > self.max_bytes {
            let (program, max_bytes) = (self.program.display(), self.max_bytes);
            return Err(Error::Unknown(format!(
                "{program} prints more than {max_bytes} bytes"
            )));
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        !matches!(self.peek(), Ok(None))
    }

    /// Looks whether the child has ended, without reaping it.
    fn peek(&self) -> rustix::io::Result<Option<WaitIdStatus>> {
        let options =
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid), options)
    }

    /// Kills whatever of it still runs, and reaps the child. A process that hangs in the
    /// kernel can take for ever to end: the collector hangs then, and starts no others.
    fn end(&mut self) -> Option<ExitStatus> {
        if !std::mem::replace(&mut self.is_over, true) {
            // Once the child is reaped, its number may be another process's.
            if self.peek().is_ok() {
                let _ = kill_process_group(self.pid, Signal::KILL);
            }
        }
        self.child.wait().ok()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end();
    }
}
