//! The background threads, under one supervisor: each has a name, a stop and a sign of
//! life.
//!
//! A job is a thread that works until the server stops. Its sign of life is a [`Pulse`]:
//! busy with one round since some time, or idle. Waiting for work is idle, so only a round
//! that does not come to its end counts against a job.
//!
//! A job that ends without being asked to, panics, or is busy with one round for longer
//! than [`MAX_ROUND`] is a [`DeadJob`], and the server ends because of it: systemd then
//! starts a new server, whose jobs all live. Going on without the job would be worse, because
//! a server without its sweep or its snapshots looks well to everybody who asks.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_daemon::lock::lock;
use fleetbeat_daemon::thread::{Stop, Worker};

/// A job that is busy with one round for longer than this hangs.
const MAX_ROUND: Duration = Duration::from_secs(10 * 60);

/// Why a job no longer does its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeadJob {
    /// The job has returned without being asked to.
    #[error("the job {name} has ended without being asked to")]
    Ended {
        /// The job's name.
        name: String,
    },
    /// The job has panicked; the panic's message is in the log.
    #[error("the job {name} has panicked")]
    Panicked {
        /// The job's name.
        name: String,
    },
    /// The job does not come to the end of a round.
    #[error("the job {name} hangs: it has been at the same work for {} s", busy_for.as_secs())]
    Hangs {
        /// The job's name.
        name: String,
        /// How long ago the round began.
        busy_for: Duration,
    },
}

/// All jobs of a server.
pub(crate) struct Jobs {
    /// The steps of a stop, in the order of the starts.
    steps: Vec<Step>,
    pulses: Pulses,
    stopping: Arc<AtomicBool>,
    on_death: Arc<dyn Fn(DeadJob) + Send + Sync>,
}

/// One step of a stop.
enum Step {
    /// Asks a job to end, and waits until it has.
    Job {
        ask_to_end: Box<dyn FnOnce() + Send>,
        worker: Worker,
    },
    /// Something to do between the ends of two jobs.
    Then(Box<dyn FnOnce() + Send>),
}

impl Jobs {
    /// No jobs yet. `on_death` is told, in the dead job's own thread, of each job that
    /// ends before a stop.
    pub(crate) fn new(on_death: impl Fn(DeadJob) + Send + Sync + 'static) -> Jobs {
        Jobs {
            steps: Vec::new(),
            pulses: Pulses::default(),
            stopping: Arc::default(),
            on_death: Arc::new(on_death),
        }
    }

    /// Starts a job that waits for its time: `work` returns soon after its `Stop` says so.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(crate) fn start(
        &mut self,
        name: impl Into<String>,
        work: impl FnOnce(&Stop, &Pulse) + Send + 'static,
    ) -> io::Result<()> {
        self.add(name.into(), Box::new(|| {}), work)
    }

    /// Starts a job that waits for work in a queue: `work` returns soon after `close`,
    /// which closes the queue. Several jobs may share a queue.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(crate) fn start_at_queue(
        &mut self,
        name: impl Into<String>,
        close: impl FnOnce() + Send + 'static,
        work: impl FnOnce(&Pulse) + Send + 'static,
    ) -> io::Result<()> {
        self.add(name.into(), Box::new(close), |_, pulse| work(pulse))
    }

    /// Lets a stop do `work` after the jobs that have been started so far, and before
    /// those that are started later.
    pub(crate) fn then(&mut self, work: impl FnOnce() + Send + 'static) {
        self.steps.push(Step::Then(Box::new(work)));
    }

    /// Has a watchdog ask `find_ended` for a thread that has ended without being asked to,
    /// by name. For threads that a part of the server owns itself, such as a store's.
    pub(crate) fn watch(
        &mut self,
        find_ended: impl Fn() -> Option<&'static str> + Send + Sync + 'static,
    ) {
        self.pulses.others.push(Arc::new(find_ended));
    }

    /// The signs of life of the jobs that have been started so far, and of the threads
    /// that are watched besides.
    pub(crate) fn pulses(&self) -> Pulses {
        self.pulses.clone()
    }

    /// Stops the jobs one by one, in the order of their start.
    pub(crate) fn stop(self) {
        // For all at once, because jobs that share a queue end together.
        self.stopping.store(true, Ordering::Release);

        for step in self.steps {
            match step {
                Step::Job { ask_to_end, worker } => {
                    ask_to_end();
                    worker.stop();
                }
                Step::Then(work) => work(),
            }
        }
    }

    fn add(
        &mut self,
        name: String,
        ask_to_end: Box<dyn FnOnce() + Send>,
        work: impl FnOnce(&Stop, &Pulse) + Send + 'static,
    ) -> io::Result<()> {
        let pulse = Pulse::default();
        self.pulses.jobs.push((name.clone(), pulse.clone()));

        let (stopping, on_death) = (self.stopping.clone(), self.on_death.clone());
        let worker = Worker::start(name.clone(), move |stop| {
            let result = catch_unwind(AssertUnwindSafe(|| work(stop, &pulse)));
            if !stopping.load(Ordering::Acquire) {
                on_death(match result {
                    Ok(()) => DeadJob::Ended { name },
                    Err(_) => DeadJob::Panicked { name },
                });
            }
        })?;

        self.steps.push(Step::Job { ask_to_end, worker });
        Ok(())
    }
}

/// The sign of life of one job. The job itself sets it around each round of its work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse {
    /// When the round began that the job is busy with; `None` while it is idle.
    busy_since: Arc<Mutex<Option<Instant>>>,
}

impl Pulse {
    /// Does one round of the job's work.
    pub(crate) fn round<T>(&self, work: impl FnOnce() -> T) -> T {
        *lock(&self.busy_since) = Some(Instant::now());
        let result = work();
        *lock(&self.busy_since) = None;
        result
    }

    fn busy_for(&self, now: Instant) -> Option<Duration> {
        lock(&self.busy_since).map(|since| now.duration_since(since))
    }
}

/// The signs of life of several threads, for the watchdog.
#[derive(Clone, Default)]
pub(crate) struct Pulses {
    jobs: Vec<(String, Pulse)>,
    /// Each finds a thread that is not a job and has ended.
    others: Vec<Arc<dyn Fn() -> Option<&'static str> + Send + Sync>>,
}

impl Pulses {
    /// A job that hangs at `now`, or another thread that has ended, if there is one.
    pub(crate) fn find_dead(&self, now: Instant) -> Option<DeadJob> {
        let hanging = self.jobs.iter().find_map(|(name, pulse)| {
            let busy_for = pulse.busy_for(now).filter(|time| *time > MAX_ROUND)?;
            let name = name.clone();
            Some(DeadJob::Hangs { name, busy_for })
        });

        hanging.or_else(|| {
            let name = self.others.iter().find_map(|find_ended| find_ended())?;
            let name = name.to_owned();
            Some(DeadJob::Ended { name })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// Jobs, and the deaths that they have told.
    fn jobs() -> (Jobs, Receiver<DeadJob>) {
        let (tell, told) = mpsc::channel();
        let jobs = Jobs::new(move |dead| drop(tell.send(dead)));
        (jobs, told)
    }

    /// A job that does nothing until it is stopped.
    fn sleep(stop: &Stop, pulse: &Pulse) {
        while stop.wait(Duration::from_millis(1)) {
            pulse.round(|| {});
        }
    }

    #[test]
    fn a_job_that_panics_is_told_by_name() {
        let (mut jobs, told) = jobs();
        jobs.start("well", sleep).unwrap();
        jobs.start("ill", |_, pulse| pulse.round(|| panic!("on purpose")))
            .unwrap();
        let dead = told.recv_timeout(SOON).unwrap();
        let name = "ill".to_owned();
        assert_eq!(dead, DeadJob::Panicked { name });
        assert_eq!(dead.to_string(), "the job ill has panicked");
        jobs.stop();
        assert_eq!(told.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_job_that_ends_unasked_is_told_by_name() {
        let (mut jobs, told) = jobs();
        jobs.start("well", sleep).unwrap();
        jobs.start_at_queue("short", || {}, |_| {}).unwrap();
        let name = "short".to_owned();
        assert_eq!(told.recv_timeout(SOON), Ok(DeadJob::Ended { name }));
        jobs.stop();
        assert_eq!(told.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_job_that_is_busy_with_one_round_for_too_long_hangs() {
        let (mut jobs, told) = jobs();
        let (queue, work) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        jobs.start("well", sleep).unwrap();
        jobs.start_at_queue(
            "stuck",
            || drop(queue),
            move |pulse| {
                pulse.round(|| {
                    begun.send(()).unwrap();
                    let _ = work.recv();
                });
                assert_eq!(pulse.busy_for(Instant::now()), None, "the round is over");
            },
        )
        .unwrap();
        has_begun.recv_timeout(SOON).unwrap();

        let pulses = jobs.pulses();
        let now = Instant::now();
        assert_eq!(pulses.find_dead(now), None);
        assert_eq!(pulses.find_dead(now + MAX_ROUND - SOON), None);
        let dead = pulses.find_dead(now + MAX_ROUND + SOON).unwrap();
        assert!(
            matches!(&dead, DeadJob::Hangs { name, .. } if name == "stuck"),
            "{dead}"
        );
        jobs.stop();
        assert_eq!(pulses.find_dead(now + 2 * MAX_ROUND), None);
        assert_eq!(told.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_thread_of_another_owner_is_told_once_it_has_ended() {
        let (mut jobs, _told) = jobs();
        let has_ended = Arc::new(AtomicBool::new(false));
        let seen = has_ended.clone();
        jobs.watch(|| None);
        jobs.watch(move || seen.load(Ordering::Acquire).then_some("refresh"));

        let now = Instant::now();
        assert_eq!(jobs.pulses().find_dead(now), None);
        has_ended.store(true, Ordering::Release);
        let name = "refresh".to_owned();
        assert_eq!(jobs.pulses().find_dead(now), Some(DeadJob::Ended { name }));
        jobs.stop();
    }

    #[test]
    fn a_job_that_waits_for_hours_does_not_hang() {
        let (mut jobs, _told) = jobs();
        let (queue, work) = mpsc::channel::<()>();
        jobs.start_at_queue(
            "idle",
            || drop(queue),
            move |pulse| {
                while let Ok(()) = work.recv() {
                    pulse.round(|| {});
                }
            },
        )
        .unwrap();
        let later = Instant::now() + 100 * MAX_ROUND;
        assert_eq!(jobs.pulses().find_dead(later), None);
        jobs.stop();
    }

    #[test]
    fn a_stop_goes_through_jobs_and_steps_in_the_order_of_their_start() {
        let (mut jobs, told) = jobs();
        let (note, notes) = mpsc::channel();
        for name in ["first", "second"] {
            let (ended, between) = (note.clone(), note.clone());
            jobs.start(name, move |stop, pulse| {
                sleep(stop, pulse);
                ended.send(name).unwrap();
            })
            .unwrap();
            jobs.then(move || between.send("between").unwrap());
        }
        drop(note);
        jobs.stop();
        let notes: Vec<&str> = notes.iter().collect();
        assert_eq!(notes, ["first", "between", "second", "between"]);
        assert_eq!(told.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn jobs_that_share_a_queue_end_together_and_none_of_them_is_called_dead() {
        let (mut jobs, told) = jobs();
        let (queue, work) = mpsc::channel::<()>();
        let (queue, work) = (
            Arc::new(Mutex::new(Some(queue))),
            Arc::new(Mutex::new(work)),
        );
        for n in 0..4 {
            let (queue, work) = (queue.clone(), work.clone());
            let close = move || drop(lock(&queue).take());
            jobs.start_at_queue(format!("pool-{n}"), close, move |_| {
                while let Ok(()) = lock(&work).recv() {}
            })
            .unwrap();
        }
        jobs.stop();
        assert_eq!(told.recv_timeout(SOON), Err(RecvTimeoutError::Disconnected));
    }
}
