//! Runs a program with a deadline and takes the program's output.
//!
//! The program is started at the beginning of a sample's window and waited for at the
//! end, so that the window's second is not lost. Programs that hang, print without end or
//! leave children behind are the usual case in the life of a fleet: each has a deadline
//! and a limit of bytes, and is killed together with its process group when the
//! [`Subprocess`] is dropped.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};

use crate::error::Error;
use crate::leftovers;

/// How often a program that outlasts the window is looked at.
const POLL: Duration = Duration::from_millis(10);
/// Most bytes of a program's standard error that are looked at for the first line.
const MAX_STDERR_BYTES: usize = 4096;
/// Most reads of standard error for each look at a program: one that complains without
/// end must not keep the agent reading.
const MAX_STDERR_READS: usize = 256;
/// Longest complaint, in characters.
const MAX_COMPLAINT_CHARS: usize = 200;

/// A program to run, and the granted time and output.
pub(crate) struct Invocation<'a> {
    /// The program; a bare name is looked up in `path`.
    pub(crate) program: &'a Path,
    pub(crate) arguments: &'a [&'a str],
    /// The program's `PATH`. The program sees nothing of the agent's environment,
    /// because the server's key may be there.
    pub(crate) path: Option<&'a OsStr>,
    /// The mark by which what the program leaves behind is found.
    pub(crate) mark: Option<&'a str>,
    /// How long the program may take, from the start.
    pub(crate) timeout: Duration,
    /// Longest output of the program.
    pub(crate) max_bytes: usize,
}

/// A running program in a process group of its own. The group is killed when the
/// `Subprocess` is dropped, so that the program's children end, too. Only a child that
/// has moved to a group of its own (`setsid`) stays; see [`leftovers`].
pub(crate) struct Subprocess {
    program: PathBuf,
    child: Child,
    /// The number of the child, and of the child's group.
    pid: Pid,
    stdout: ChildStdout,
    stderr: ChildStderr,
    printed: Vec<u8>,
    complained: Vec<u8>,
    started: Instant,
    timeout: Duration,
    max_bytes: usize,
    /// Whether the group has been killed.
    is_over: bool,
}

/// The result of a program that has ended.
pub(crate) struct Output {
    /// The program's standard output.
    pub(crate) text: String,
    /// `None` where the agent's parent made the agent ignore the ends of its children:
    /// the system reaps them then.
    pub(crate) status: Option<ExitStatus>,
    /// The first line of the program's standard error.
    pub(crate) complaint: Option<String>,
}

impl Subprocess {
    /// Starts a program at `now`.
    pub(crate) fn start(
        invocation: &Invocation<'_>,
        now: Instant,
    ) -> Result<Subprocess, Error> {
        let program = invocation.program.to_owned();
        let failed = |source| Error::Start {
            program: program.clone(),
            source,
        };

        let mut child = command(invocation).spawn().map_err(failed)?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pipes = child.stdout.take().zip(child.stderr.take());
        let (Some(pid), Some((stdout, stderr))) = (pid, pipes) else {
            return Err(failed(ErrorKind::BrokenPipe.into()));
        };

        // Reading must not wait for the end of the pipe: a process left behind by the
        // child could hold the pipe open for ever. The end of the child is what counts.
        let non_blocking = fcntl_setfl(&stdout, OFlags::NONBLOCK)
            .and_then(|()| fcntl_setfl(&stderr, OFlags::NONBLOCK));
        let subprocess = Subprocess {
            program: program.clone(),
            child,
            pid,
            stdout,
            stderr,
            printed: Vec::new(),
            complained: Vec::new(),
            started: now,
            timeout: invocation.timeout,
            max_bytes: invocation.max_bytes,
            is_over: false,
        };
        match non_blocking {
            Ok(()) => Ok(subprocess),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// The process group, which is killed in the end.
    pub(crate) fn group(&self) -> Pid {
        self.pid
    }

    /// The program's output, once the program has ended.
    ///
    /// # Errors
    /// The program takes longer than the timeout, or prints more than the limit.
    pub(crate) fn wait(mut self) -> Result<Output, Error> {
        // In each round the end is looked for before reading: everything printed before
        // the end is then in the pipe already.
        while !self.has_ended() {
            self.read()?;
            if self.started.elapsed() >= self.timeout {
                let timeout = self.timeout;
                return Err(self.fault(&format!("did not answer within {timeout:?}")));
            }
            thread::sleep(POLL);
        }

        self.read()?;
        let status = self.end();
        Ok(Output {
            text: String::from_utf8_lossy(&self.printed).into_owned(),
            status,
            complaint: first_line(&self.complained),
        })
    }

    /// The error of the program that did what `what` says.
    fn fault(&self, what: &str) -> Error {
        Error::Detailed {
            message: format!("{} {what}", self.program.display()),
            detail: first_line(&self.complained),
        }
    }

    /// Takes the content of the pipes.
    fn read(&mut self) -> Result<(), Error> {
        // The rest of standard error is thrown away, so that a full pipe does not hold
        // the program up.
        let mut piece = [0; MAX_STDERR_BYTES];
        for _ in 0..MAX_STDERR_READS {
            let Ok(length @ 1..) = self.stderr.read(&mut piece) else {
                break;
            };
            let room = MAX_STDERR_BYTES.saturating_sub(self.complained.len());
            self.complained
                .extend_from_slice(&piece[..length.min(room)]);
        }

        let room = (self.max_bytes + 1).saturating_sub(self.printed.len());
        let mut pipe = self.stdout.by_ref().take(room as u64);
        match pipe.read_to_end(&mut self.printed) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                return Err(Error::read(&self.program, error));
            }
            _ => {}
        }

        if self.printed.len() > self.max_bytes {
            let max_bytes = self.max_bytes;
            return Err(self.fault(&format!("prints more than {max_bytes} bytes")));
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        !matches!(self.peek(), Ok(None))
    }

    /// Looks whether the child has ended, without reaping the child.
    fn peek(&self) -> rustix::io::Result<Option<WaitIdStatus>> {
        let options =
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid), options)
    }

    /// Kills the rest of the group, and reaps the child. A process that hangs
    /// in the kernel can take for ever to end. The collector hangs then, too, and starts
    /// no other program.
    fn end(&mut self) -> Option<ExitStatus> {
        if !std::mem::replace(&mut self.is_over, true) {
            // Once the child is reaped, the number may be that of another process.
            if self.peek().is_ok() {
                let _ = kill_process_group(self.pid, Signal::KILL);
            }
        }
        self.child.wait().ok()
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        self.end();
    }
}

/// The command with nothing of the agent's own: environment, folder, process group and
/// input.
fn command(invocation: &Invocation<'_>) -> Command {
    let mut command = Command::new(invocation.program);
    command
        .args(invocation.arguments)
        .current_dir("/")
        .process_group(0)
        .env_clear()
        .env("LC_ALL", "C")
        .envs(invocation.path.map(|path| ("PATH", path)))
        .envs(invocation.mark.map(|mark| (leftovers::VARIABLE, mark)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The first line with something in it, fit for a log: bounded, and without control
/// characters or characters that turn the direction of the text.
fn first_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let mut shown: String = line.chars().take(MAX_COMPLAINT_CHARS).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    let escaped = shown.chars().map(|c| match c {
        '"' | '\'' | '\\' => c.to_string(),
        _ => c.escape_debug().to_string(),
    });
    Some(escaped.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_complains_at_length_is_not_held_up() {
        let script = "head -c 700000 /dev/zero >&2; echo x 1";
        let invocation = Invocation {
            program: Path::new("/bin/sh"),
            arguments: &["-c", script],
            path: Some(OsStr::new("/usr/bin:/bin")),
            mark: None,
            timeout: Duration::from_secs(20),
            max_bytes: 100,
        };
        let started = Instant::now();
        let output = Subprocess::start(&invocation, started).unwrap();
        assert_eq!(output.wait().unwrap().text, "x 1\n");
        // A read of 4 KiB for each look took 1.7 s and more.
        assert!(started.elapsed() < Duration::from_millis(1600));
    }

    #[test]
    fn a_complaint_is_one_short_line_without_control_characters() {
        let long = "x".repeat(MAX_COMPLAINT_CHARS + 1);
        let cut = "x".repeat(MAX_COMPLAINT_CHARS) + "…";
        for (bytes, line) in [
            (&b""[..], None),
            (b" \n\r\n", None),
            (
                b"\n  it's \"so\" in C:\\x  \nmore",
                Some("it's \"so\" in C:\\x"),
            ),
            (b"a\x1b[31mb\x00c", Some("a\\u{1b}[31mb\\0c")),
            ("\u{202e}evil".as_bytes(), Some("\\u{202e}evil")),
            (b"caf\xe9", Some("caf\u{fffd}")),
            (long.as_bytes(), Some(cut.as_str())),
        ] {
            assert_eq!(first_line(bytes).as_deref(), line, "{bytes:?}");
        }
    }
}
